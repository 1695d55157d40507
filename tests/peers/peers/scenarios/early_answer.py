"""An upload that its backend refuses without reading it: nginx, Python and Node answer 413 and close."""

import contextlib
import select
import shutil
import socket
from collections import Counter

from ..bench import Bench, Failed, free_port, wait_until
from ..proxy import Proxy

ROUNDS = 100
SIZE = 4 * 1024 * 1024

NGINX = """
daemon off; pid {folder}/nginx.pid; error_log stderr crit;
events {{}}
http {{
  access_log off; client_max_body_size 1k; lingering_close off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; location / {{ return 200; }} location /up {{ proxy_pass http://127.0.0.1:1; }} }}
}}
"""


def run(bench: Bench) -> None:
    for name, port in backends(bench):
        proxy = Proxy(bench, [port], upstream="balance: round_robin\nmax_fails: 0")
        for framing in ["length", "chunked"]:
            statuses = Counter(upload(proxy.port, framing) for _ in range(ROUNDS))
            bench.equal(dict(statuses), {413: ROUNDS}, f"{name}, an upload with {framing}")
        if not bench.direct:
            bench.equal(proxy.stop(), 0, "longwire's exit code")


def backends(bench: Bench):
    yield "Python", bench.python("refusing.py").port()
    yield "Node", bench.node("refusing.mjs").port()
    port = free_port()
    file = bench.folder / "nginx.conf"
    file.write_text(NGINX.format(folder=bench.folder, port=port))
    bench.start("nginx", shutil.which("nginx", path="/usr/sbin:/usr/bin"), "-c", file)

    def accepts() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    wait_until(accepts, 15, "nginx accepts connections")
    yield "nginx", port


def upload(port: int, framing: str) -> int | str:
    """Uploads until an answer comes, as curl does; its status."""
    field = f"Content-Length: {SIZE}" if framing == "length" else "Transfer-Encoding: chunked"
    piece = b"x" * 65536
    if framing == "chunked":
        piece = b"10000\r\n" + piece + b"\r\n"
    unsent = memoryview(f"POST /up HTTP/1.1\r\nHost: peers\r\n{field}\r\n\r\n".encode() + piece * (SIZE // 65536))
    answer = b""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.setblocking(False)
        while b"\r\n\r\n" not in answer:
            readable, writable, _ = select.select([connection], [connection] if unsent else [], [], 20)
            if not readable and not writable:
                raise Failed("no answer within 20 s")
            try:
                if readable:
                    chunk = connection.recv(65536)
                    if not chunk:
                        return "no answer"
                    answer += chunk
                else:
                    unsent = unsent[connection.send(unsent) :]
            except (BrokenPipeError, ConnectionResetError) as error:
                if not readable:
                    unsent = unsent[:0]
                    continue
                return type(error).__name__
    return int(answer.split(b" ", 2)[1])
