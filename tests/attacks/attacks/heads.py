"""What a head can say: injected fields, absurd hosts and paths, forged addresses, too much of everything."""

import json
from collections import Counter

from peers.bench import wait_until

from . import wire
from .attack import attack, promise


def get(path: bytes, fields: bytes = b"", host: bytes = b"chat") -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n" + fields + b"\r\n"


def all_of(scene, requests: dict, allowed: set[str]) -> Counter:
    found = Counter()
    for name, request in requests.items():
        answer, end = wire.ask(scene.port, request)
        status = wire.status(answer)
        promise(
            status in allowed and end != "silence", f"{name}: {status}, {end}; allowed: {', '.join(sorted(allowed))}"
        )
        found[status] += 1
    return found


FIELDS = {
    "NUL in a value": b"X-Name: a\0b",
    "CR in a value": b"X-Name: a\rX-Injected: 1",
    "CR at the end": b"X-Name: a\r",
    "NUL in a name": b"X-\0Name: 1",
    "a space in a name": b"X Name: 1",
    "a space before the colon": b"X-Name : 1",
    "a byte above 0x7f in a name": b"X-N\xc3\xa4me: 1",
    "DEL in a value": b"X-Name: \x7f",
    "no name": b": 1",
    "no colon": b"X-Name",
}


@attack(
    "header injection",
    f"{len(FIELDS)} kinds of fields that hide another, and CR LF in paths",
    "known_bugs::malformed_fields_are_refused",
)
def header_injection(scene):
    found = all_of(scene, {name: get(b"/", field + b"\r\n") for name, field in FIELDS.items()}, {"400", "nothing"})
    answer, _ = wire.ask(scene.port, get(b"/a%0d%0aX-Injected:%201"))
    promise(b'"x-injected"' not in answer and wire.status(answer) == "200", "an encoded CR LF stays encoded")
    found += all_of(scene, {"CR in the path": get(b"/a\rb"), "NUL in the path": get(b"/a\0b")}, {"400", "nothing"})
    return f"{wire.words(found)}; an encoded CR LF stays encoded"


HOSTS = {
    "a path": b"chat/other",
    "a user": b"user@chat",
    "two names": b"chat, other",
    "a space": b"ch at",
    "a port of words": b"chat:port",
    "a port beyond all": b"chat:99999999",
    "an open bracket": b"[::1",
    "bytes above 0x7f": b"ch\xc3\xa4t",
    "a quote": b'chat"x',
    "a tag": b"<script>",
    "8 KiB": b"a" * 8192,
    "dots": b"....",
    "a percent": b"%63hat",
    "a backslash": b"chat\\other",
    "a NUL": b"chat\0",
}


@attack(
    "absurd hosts",
    f"{len(HOSTS)} kinds of Host, none, two, and another than the target's",
    "known_bugs::host_is_there_once_and_agrees_with_the_target",
)
def absurd_hosts(scene):
    requests = {name: get(b"/", host=host) for name, host in HOSTS.items()}
    found = all_of(scene, requests, {"400", "200", "404", "431", "nothing"})
    refused = {
        "missing": b"GET / HTTP/1.1\r\n\r\n",
        "doubled": get(b"/", b"Host: other\r\n"),
        "another than the target's": get(b"http://other/"),
        "CONNECT": b"CONNECT internal:443 HTTP/1.1\r\nHost: internal:443\r\n\r\n",
    }
    return wire.words(found + all_of(scene, refused, {"400"}))


PATHS = {
    "up and out": b"/../../../etc/passwd",
    "encoded up": b"/%2e%2e/%2e%2e/etc/passwd",
    "slashes": b"//////",
    "NUL encoded": b"/%00",
    "no slash": b"etc",
    "empty": b"",
    "an asterisk": b"*",
    "a fragment": b"/a#b",
    "a backslash": b"/a\\b",
    "a space": b"/a b",
    "above 0x7f": b"/\xff\xfe",
    "8 KiB": b"/" + b"a" * 8192,
    "60 KiB": b"/" + b"a" * 60_000,
    "a scheme": b"file:///etc/passwd",
    "an escape sequence": b"/\x1b[2J",
    "a tag": b"/<script>alert(1)</script>",
    "half an escape": b"/%",
    "a quote": b'/"',
}


@attack(
    "absurd paths",
    f"{len(PATHS)} kinds of targets",
    "hostile::absurd_paths_are_refused_or_pass_as_they_are_and_break_no_line_of_the_log",
)
def absurd_paths(scene):
    found = all_of(
        scene, {name: get(path) for name, path in PATHS.items()}, {"200", "400", "404", "414", "431", "nothing"}
    )
    bad = [line for line in scene.target.program.lines if not is_json(line)]
    promise(not bad, f"lines of the log that are no JSON: {bad[:2]}")
    return wire.words(found) + "; every line of the log is whole"


def is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return line.isprintable()


@attack(
    "endless heads",
    "heads of 1 MiB, of 10,000 fields, of one field of 1 MiB",
    "plain_http::head_over_the_limits_is_refused_and_reaches_no_backend",
    3,
    256,
)
def endless_heads(scene):
    requests = {
        "fields": get(b"/", b"".join(b"X-%d: 1\r\n" % number for number in range(10_000))),
        "one field": get(b"/", b"X-Long: " + b"a" * (1 << 20) + b"\r\n"),
        "the target": get(b"/" + b"a" * (1 << 20)),
        "a handshake": wire.handshake("/", more="X-Long: " + "a" * (1 << 20) + "\r\n"),
    }
    return wire.words(all_of(scene, requests, {"431", "414", "400", "nothing"}))


FORGED = (
    b"X-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Forwarded-Proto: https\r\n"
    b"X-Forwarded-Host: evil\r\nX_Forwarded_For: 6.6.6.6\r\nX-Forwarded-For : 6.6.6.6\r\n"
)


@attack(
    "forged forwarding headers",
    "X-Forwarded-*, X-Real-IP, Forwarded, their imitations, and Connection naming ours",
    "forwarding::forwarding_fields_of_a_stranger_are_replaced",
)
def forged(scene):
    for name in (b"X-Forwarded-For", b"x-forwarded-for, X-Real-IP, x-forwarded-proto"):
        fields = FORGED.rpartition(b"X-Forwarded-For :")[0] + b"Connection: " + name + b"\r\n"
        answer, _ = wire.ask(scene.port, get(b"/", fields))
        told = json.loads(answer.partition(b"\r\n\r\n")[2])
        ours = (told.get("x-forwarded-for"), told.get("x-real-ip"), told.get("x-forwarded-proto"))
        promise(ours == (["127.0.0.1"], ["127.0.0.1"], ["http"]), f"the backend was told {told}")
        promise("6.6.6.6" not in str(told) and "evil" not in str(told), f"the backend was told {told}")
    answer, _ = wire.ask(scene.port, get(b"/", FORGED))
    promise(wire.status(answer) in ("400", "nothing"), f"a space before the colon: {wire.status(answer)}")
    records = wait_until(
        lambda: [r for r in scene.target.program.lines if '"client":"6.6.6.6"' in r] or ["none"], 1, "records"
    )
    promise(records == ["none"], f"the log believes it: {records[0]}")
    return "the backend and the log have the true address and nothing forged"


@attack("garbage", "20 kinds of bytes that are no HTTP", "hostile::bytes_that_are_no_http_end_their_connection_only")
def garbage(scene):
    kinds = [bytes([n]) * 4096 for n in (0, 10, 13, 32, 65, 127, 128, 255)]
    kinds += [bytes((n * step) % 256 for n in range(8192)) for step in (1, 3, 7, 11)]
    kinds += [
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + bytes(160),
        b"SSH-2.0-x\r\n",
        b"HELO x\r\n",
        b"GET\r\n\r\n",
    ]
    kinds += [
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/0.9\r\n\r\n",
        b"\x81\x85\0\0\0\0hello",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ]
    return wire.words(
        all_of(scene, {repr(kind[:20]): kind for kind in kinds}, {"400", "408", "505", "431", "414", "nothing"})
    )
