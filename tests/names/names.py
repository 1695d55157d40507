"""Runs longwire before a name with three addresses. To be run in namespaces of its own: see `run`."""

import collections
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time

BINARY, IPTABLES = sys.argv[1:]
ADDRESSES = ["10.53.0.1", "10.53.0.2", "10.53.0.3"]
PORT, FRONT = 8000, 9000
# Far above what an answer takes, far below `timeouts.connect`: who waits for a black hole is seen.
CONNECT, PATIENCE = "20s", 10
results = []
# By address: how many connections its server has accepted.
accepted = collections.Counter()


def case(name):
    def run(test):
        began = time.monotonic()
        try:
            test()
            results.append(True)
            print(f"ok    {name} ({time.monotonic() - began:.1f} s)")
        except (AssertionError, OSError) as error:
            results.append(False)
            print(f"FAILED {name}: {error!r}")

    return run


def call(*command):
    subprocess.run(command, check=True, capture_output=True)


def serve(address):
    """Answers each request with this address, a handshake too."""
    listener = socket.create_server((address, PORT), backlog=128)

    def answer(connection):
        with connection, contextlib.suppress(OSError):
            stream = connection.makefile("rb")
            while True:
                lines = []
                while line := stream.readline().strip():
                    lines.append(line)
                if not lines:
                    return
                body = address.encode()
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    def accept():
        while True:
            connection, _ = listener.accept()
            accepted[address] += 1
            threading.Thread(target=answer, args=[connection], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


@contextlib.contextmanager
def black_hole(address):
    rule = ["INPUT", "-d", address, "-p", "tcp", "-j", "DROP"]
    call(IPTABLES, "-A", *rule)
    try:
        yield
    finally:
        call(IPTABLES, "-D", *rule)


@contextlib.contextmanager
def longwire(upstream):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(
            f"workers: 2\nlisteners: [{{ bind: '127.0.0.1:{FRONT}' }}]\nroutes: [{{ upstream: app }}]\n"
            f"trusted_proxies: [127.0.0.1/32]\ntimeouts: {{ connect: {CONNECT}, drain: 1s }}\n"
            f"upstreams: {{ app: {{ {upstream}, backends: [{{ address: 'app.test:{PORT}' }}] }} }}\n"
        )
        file.flush()
        process = subprocess.Popen([BINARY, "run", "-c", file.name], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        messages = []
        reader = threading.Thread(target=lambda: messages.extend(process.stderr), daemon=True)
        reader.start()
        try:
            wait_for_listener()
            yield messages
        finally:
            process.terminate()
            process.wait(timeout=20)
            reader.join()


def wait_for_listener():
    deadline = time.monotonic() + 20
    while True:
        try:
            return socket.create_connection(("127.0.0.1", FRONT)).close()
        except OSError:
            assert time.monotonic() < deadline, "longwire does not listen"
            time.sleep(0.05)


def get(client="198.51.100.1", more=""):
    """The backend that answers one request of this client."""
    with socket.create_connection(("127.0.0.1", FRONT), timeout=PATIENCE) as connection:
        request = f"GET / HTTP/1.1\r\nHost: app.test\r\nX-Forwarded-For: {client}\r\n{more}Connection: close\r\n\r\n"
        if more:
            request = request.replace("Connection: close", "Connection: Upgrade")
        connection.sendall(request.encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    head, _, body = answer.decode().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200"), head
    return body


HANDSHAKE = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

call("ip", "link", "set", "lo", "up")
for number in ADDRESSES:
    call("ip", "address", "add", f"{number}/32", "dev", "lo")
with tempfile.NamedTemporaryFile("w", delete=False) as hosts:
    hosts.write("127.0.0.1 localhost\n" + "".join(f"{address} app.test\n" for address in ADDRESSES))
os.chmod(hosts.name, 0o644)
call("mount", "--bind", hosts.name, "/etc/hosts")
for number in ADDRESSES:
    serve(number)


@case("an address that is a black hole does not hide the others, for requests and for handshakes")
def _():
    for hole in ADDRESSES:
        with black_hole(hole), longwire("balance: round_robin, reuse: never"):
            for more in ["", HANDSHAKE] * 3:
                assert get(more=more) != hole


@case("without a hash the addresses take turns, requests and handshakes alike")
def _():
    for upstream in ["balance: round_robin, reuse: never", "balance: least_conn, reuse: never"]:
        with longwire(upstream):
            for more in ["", HANDSHAKE]:
                count = collections.Counter(get(more=more) for _ in range(30))
                assert count == dict.fromkeys(ADDRESSES, 10), count


@case("by a hash a client stays at one address, over all connections, and the clients share them")
def _():
    with longwire("balance: ip_hash"):
        homes = collections.Counter()
        for last in range(1, 61):
            client = f"198.51.100.{last}"
            home = get(client)
            homes[home] += 1
            for more in ["", HANDSHAKE, ""]:
                assert get(client, more) == home
        assert all(homes[address] >= 5 for address in ADDRESSES), homes


def wait_until(is_so, what):
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@case("a check passes where one address is a black hole and the others serve")
def _():
    for kind in ["tcp", "http"]:
        check = f"health_check: {{ kind: {kind}, interval: 100ms, jitter: 0s, timeout: 5s, rise: 1, fall: 1 }}"
        for hole in ADDRESSES:
            with black_hole(hole), longwire(f"balance: round_robin, {check}") as messages:
                before = accepted.total()
                wait_until(
                    lambda before=before: accepted.total() >= before + 3, "three checks reach an address that serves"
                )
                assert get() != hole
            assert not any(b"checks fail" in line for line in messages), messages


@case("a check that fails says why in the words of a request, and passes again once one address serves")
def _():
    check = "health_check: { kind: http, interval: 100ms, jitter: 0s, timeout: 1s, rise: 1, fall: 1 }"

    def says(messages, *words):
        return lambda: any(all(word in line for word in words) for line in messages)

    with contextlib.ExitStack() as holes:
        for address in ADDRESSES:
            holes.enter_context(black_hole(address))
        with longwire(f"balance: round_robin, {check}") as messages:
            wait_until(says(messages, b"its checks fail", b"connect_timeout"), "the check fails by its time")
            holes.close()
            wait_until(says(messages, b"its checks pass"), "the check passes again")
            assert get() in ADDRESSES


print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
sys.exit(0 if all(results) else 1)
