"""What a longwire process has in memory for handshakes that nobody answers."""

import os
import pathlib
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "reconnect"))
from crowd import free_ports, start, wait_for

# What is there with the first count is not counted: pools and pages that are there only once.
FEW, MANY = 500, 2500
HANDSHAKE = (
    b"GET /chat HTTP/1.1\r\nHost: chat.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nOrigin: https://chat.example.com\r\nSec-WebSocket-Version: 13\r\n"
    b"Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en\r\nCookie: session=0123456789abcdef0123456789abcdef\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)


@dataclass
class Memory:
    """Bytes."""

    process: float
    plain: float
    tls: float


def measure_memory(binary: pathlib.Path) -> Memory:
    process, plain = in_flight(binary, is_tls=False)
    _, tls = in_flight(binary, is_tls=True)
    return Memory(process, plain, tls)


def in_flight(binary: pathlib.Path, is_tls: bool) -> tuple[float, float]:
    """Bytes of the process before, and of one handshake."""
    with (
        tempfile.TemporaryDirectory(prefix="longwire-memory-") as name,
        socket.create_server(("127.0.0.1", 0), backlog=4096) as mute,
    ):
        folder, (port,) = pathlib.Path(name), free_ports(1)
        accepted: list[socket.socket] = []
        threading.Thread(target=accept, args=(mute, accepted), daemon=True).start()
        tls = ", tls: { cert: dev.crt, key: dev.key, self_signed: true }" if is_tls else ""
        lines = [
            "workers: 1",
            f"listeners: [{{ bind: 127.0.0.1:{port}{tls} }}]",
            f'upstreams: {{ mute: {{ backends: [{{ address: "127.0.0.1:{mute.getsockname()[1]}" }}] }} }}',
            "routes: [{ upstream: mute }]",
            "log: { level: warn, access: false }",
        ]
        (folder / "proxy.yaml").write_text("\n".join(lines) + "\n")
        process = start([binary, "run", "-c", folder / "proxy.yaml"], stderr=subprocess.DEVNULL)
        clients: list[socket.socket] = []
        try:
            wait_for(port)
            before = resident(process.pid)
            counts = []
            for count in (FEW, MANY):
                clients += [client(port, is_tls) for _ in range(count - len(clients))]
                wait_for_all(accepted, count)
                counts.append(resident(process.pid))
            return before, (counts[1] - counts[0]) / (MANY - FEW)
        finally:
            for each in [*clients, *accepted]:
                each.close()
            process.kill()
            process.wait()


def accept(mute: socket.socket, accepted: list[socket.socket]) -> None:
    while True:
        try:
            accepted.append(mute.accept()[0])
        except OSError:
            return


def wait_for_all(accepted: list[socket.socket], count: int) -> None:
    deadline = time.monotonic() + 30
    while len(accepted) < count:
        if time.monotonic() > deadline:
            raise SystemExit(f"{len(accepted)} of {count} handshakes have reached the backend")
        time.sleep(0.05)
    # Their heads are on the way still.
    time.sleep(0.5)


def client(port: int, is_tls: bool) -> socket.socket:
    stream = socket.create_connection(("127.0.0.1", port), 10)
    if is_tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        stream = context.wrap_socket(stream)
    stream.sendall(HANDSHAKE)
    return stream


def resident(pid: int) -> int:
    """Bytes."""
    pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
