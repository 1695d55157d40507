"""Checks that the proxies of a run do the same work: each is started as the rows start it, gets requests, and is
looked at. A run is refused if one proxy logs and another does not, or if they differ in workers or versions of TLS."""

import re
import subprocess
from pathlib import Path

from .configs import BEFORE, COALESCE, FLOOR, HAPROXY, HAPROXY_SPLICE, LONGWIRE, NGINX, NGINX_64K, OUTLIVING
from .measures import wait_until_done
from .others import CADDY, ENVOY, OTHERS, version
from .programs import Proxy, Stand

LONGWIRES = (LONGWIRE, BEFORE, *COALESCE, *OUTLIVING)
# The words for the same setting, in the config or on the command line.
WORKERS = {
    **dict.fromkeys(LONGWIRES, r"^workers: (\d+)"),
    **dict.fromkeys((NGINX, NGINX_64K), r"worker_processes (\d+);"),
    **dict.fromkeys((HAPROXY, HAPROXY_SPLICE), r"nbthread (\d+)"),
    CADDY: r"GOMAXPROCS=(\d+)",
    ENVOY: r"--concurrency (\d+)",
}
TLS_VERSIONS = ("1.2", "1.3")


class Unequal(Exception):
    """The proxies do not do the same work."""


def checked(stand: Stand, names: list[str], shown: bool) -> dict[str, dict]:
    """The settings of each proxy, and what it was seen to do. Prints them, with the whole config if `shown`."""
    found = {name: look_at(stand, name, shown) for name in names if name != FLOOR}
    for name, facts in found.items():
        print(
            f"{name:15} workers {facts['workers']}, buffer {facts['buffer']}, TLS {facts['tls']}; log off: "
            f"{facts['lines_off']} lines; log on: {facts['lines_on']} of 2, e.g. {facts['line']}"
        )
    refuse(found)
    return found


def refuse(found: dict[str, dict]) -> None:
    for key, words in (
        ("workers", "workers"),
        ("tls", "versions of TLS"),
        ("lines_off", "lines with the log off"),
        ("lines_on", "lines with the log on"),
    ):
        values = {name: facts[key] for name, facts in found.items()}
        if len(set(values.values())) > 1:
            raise Unequal(f"the proxies differ in their {words}: {values}")
    for name, facts in found.items():
        if facts["lines_off"] != 0 or facts["lines_on"] != 2:
            raise Unequal(f"{name} wrote {facts['lines_off']} lines, log off, and {facts['lines_on']} of 2, log on")


def look_at(stand: Stand, name: str, shown: bool) -> dict:
    off, _, versions = asked(stand, name, tls=True, log=False)
    on, started, _ = asked(stand, name, tls=False, log=True)
    command, environment = started
    config = (stand.folder / f"{name}.conf").read_text()
    kept = stand.programs / "configs" / f"{name}.conf"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(config)
    if shown:
        print(f"== {name}, log on: {command}\n{config.strip()}\n")
    workers = re.search(WORKERS[name], f"{command}\n{environment}\n{config}", re.MULTILINE)
    return {
        "workers": int(workers[1]) if workers else None,
        "buffer": buffer_of(name, config),
        "tls": ", ".join(versions),
        **({"version": version(name, stand.programs)} if name in OTHERS else {}),
        "lines_off": len(off),
        "lines_on": len(on),
        "line": on[-1][:400] if on else "",
    }


def asked(stand: Stand, name: str, tls: bool, log: bool) -> tuple[list[str], list[str], list[str]]:
    """Sends one or a few handshakes with a Close, and plain GETs. Returns the lines that the proxy logged of the first of
    each, its command line and environment, and its versions of TLS."""
    with stand.proxy(name, tls=tls, log=log) as proxy:
        for mode in ("handshake", "http"):
            with stand.load(proxy, mode, connections=1, tls=tls) as clients:
                clients.tell("go")
                wait_until_done(clients, 1)
                clients.pause()
        versions = [version for version in TLS_VERSIONS if tls and speaks(proxy, version)]
        parts = [Path(f"/proc/{proxy.pid}/{part}").read_text() for part in ("cmdline", "environ")]
        started = [part.replace("\0", " ").strip() for part in parts]
    lines = (stand.folder / "access.log").read_text().splitlines()
    # More of them may have passed before the load could be stopped, so only the first of each is looked at.
    firsts = (next((line for line in lines if path in line), None) for path in ("/bench", "/plain"))
    return [line for line in firsts if line], started, versions


def speaks(proxy: Proxy, version: str) -> bool:
    flag = f"-tls{version.replace('.', '_')}"
    command = ["openssl", "s_client", flag, "-connect", f"127.0.0.1:{proxy.port}", "-servername", "localhost"]
    said = subprocess.run(command, check=False, input="", capture_output=True, text=True, timeout=10)
    return f"New, TLSv{version}" in said.stdout


def buffer_of(name: str, config: str) -> str:
    """The size of the buffer into which the proxy reads, if that can be set or asked for."""
    if name in (NGINX, NGINX_64K):
        return re.search(r"proxy_buffer_size (\w+);", config)[1]
    if name in (HAPROXY, HAPROXY_SPLICE):
        said = subprocess.run(["haproxy", "-vv"], check=False, capture_output=True, text=True).stdout
        return re.search(r"bufsize = (\d+)", said)[1]
    return "as built"
