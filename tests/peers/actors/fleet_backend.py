"""The backend of several longwires, which counts the sessions of each client's address. Arguments: PORT... (one for each longwire)

It sees each session for as long as longwire counts it, or less: a session is over when its Close has come, before the answer to it
leaves. So what it counts is never more than what longwire let in. An echo of each message comes back.

SIGUSR1 asks for `counts`: the sessions of each address by port, and the most since the last question: of an address (`peak`), and, when
a session was opened, of an address at its port (`peak_here`)."""

import asyncio
import base64
import hashlib
import signal
import sys

from say import say

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
UPGRADE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
PORTS = [int(port) for port in sys.argv[1:]]
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA


class Counts:
    """Of each address, how many sessions it has at each port."""

    def __init__(self):
        self.here: dict[str, list[int]] = {}
        self.forget()

    def forget(self) -> None:
        """The peaks begin anew, from what is open now."""
        self.opened = self.closed = self.peak_here = 0
        self.peak = max(map(sum, self.here.values()), default=0)

    def begin(self, address: str, place: int) -> None:
        here = self.here.setdefault(address, [0] * len(PORTS))
        here[place] += 1
        self.opened += 1
        self.peak, self.peak_here = max(self.peak, sum(here)), max(self.peak_here, here[place])

    def end(self, address: str, place: int) -> None:
        self.here[address][place] -= 1
        self.closed += 1

    def tell(self) -> None:
        here = {address: places for address, places in self.here.items() if any(places)}
        peaks = {"peak": self.peak, "peak_here": self.peak_here}
        say("counts", here=here, **peaks, opened=self.opened, closed=self.closed)
        self.forget()


class Session(asyncio.Protocol):
    def __init__(self, counts: Counts, place: int):
        self.counts, self.place, self.read, self.address = counts, place, b"", ""
        self.is_counted = False

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.read += data
        if not self.address:
            head, end, rest = self.read.partition(b"\r\n\r\n")
            if not end:
                return
            self.begin(head)
            self.read = rest
        while frame := self.frame():
            self.take(*frame)

    def begin(self, head: bytes) -> None:
        lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
        fields = {name.strip().lower(): value.strip() for name, _, value in lines}
        self.address = fields[b"x-forwarded-for"].decode()
        self.counts.begin(self.address, self.place)
        self.is_counted = True
        key = hashlib.sha1(fields[b"sec-websocket-key"] + GUID).digest()
        self.transport.write(UPGRADE + base64.b64encode(key) + b"\r\n\r\n")

    def frame(self) -> tuple[int, bytes] | None:
        """The next one that is whole; a client sends short and masked ones."""
        if len(self.read) < 6:
            return None
        length = self.read[1] & 0x7F
        if length > 125:
            raise ValueError("a long message")
        end = 6 + length
        if len(self.read) < end:
            return None
        mask, masked, opcode = self.read[2:6], self.read[6:end], self.read[0] & 0xF
        self.read = self.read[end:]
        return opcode, bytes(byte ^ mask[index % 4] for index, byte in enumerate(masked))

    def take(self, opcode: int, payload: bytes) -> None:
        if opcode == CLOSE:
            self.end()
        answer = {PING: PONG}.get(opcode, opcode)
        if opcode in (TEXT, CLOSE, PING):
            self.transport.write(bytes([0x80 | answer, len(payload)]) + payload)
        if opcode == CLOSE:
            self.transport.close()

    def end(self) -> None:
        if self.is_counted:
            self.is_counted = False
            self.counts.end(self.address, self.place)

    def connection_lost(self, _error) -> None:
        self.end()


async def main() -> None:
    loop, counts = asyncio.get_running_loop(), Counts()
    loop.add_signal_handler(signal.SIGUSR1, counts.tell)
    for place, port in enumerate(PORTS):
        await loop.create_server(lambda place=place: Session(counts, place), "127.0.0.1", port, backlog=4096)
    say("listening", ports=PORTS)
    await asyncio.Event().wait()


asyncio.run(main())
