"""Another client of docs/resume.md, by Python websockets and nothing else of ours, and the backend that it has behind longwire.

Arguments: PORT-OF-THE-BACKEND URL. The routes below the URL: /off has no resume, /short waits a second, all others wait long. They keep
64 KiB, and beat each second."""

import asyncio
import json
import socket
import ssl
import struct
import sys
from contextlib import suppress

from say import check, equal, say
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

PORT, URL = int(sys.argv[1]), sys.argv[2]
OFFER = "longwire.resume.v1"
# How long anything may take, seconds.
PATIENCE = 10
AT_ONCE = struct.pack("ii", 1, 0)
arrived: asyncio.Queue = asyncio.Queue()


class Hand:
    """The library's part, done by hand: what it was told, and how many messages it was given."""

    def __init__(self) -> None:
        self.given, self.attempt, self.told = 0, 0, []
        self.hello: dict = {}
        self.wire = None

    async def connect(self, path="/", app=(), offers=None):
        wanted = [*app, *([OFFER] if offers is None else offers)]
        tls = {"ssl": ssl._create_unverified_context()} if URL.startswith("wss:") else {}
        self.wire = await connect(URL + path, subprotocols=wanted, ping_interval=None, max_size=2**22, **tls)
        return self

    async def start(self, path="/", app=(), offers=None):
        await self.connect(path, app, offers)
        self.hello = json.loads(await soon(self.wire.recv()))
        return self

    async def resume(self, path="/", given=None, attempt=None):
        """Whether it is the same session."""
        self.attempt = self.attempt + 1 if attempt is None else attempt
        count = self.given if given is None else given
        item = f"{OFFER}.{self.hello['token']}.{self.attempt}.{count}"
        before = self.hello
        await self.start(path, offers=[OFFER, item])
        if not self.hello["resumed"]:
            self.given = 0
            return False
        same = [before[key] == self.hello[key] for key in ("token", "secret", "protocol")]
        check(all(same), f"token, secret and subprotocol stay: {same}")
        return True

    async def heard(self, count: int) -> list:
        """The next messages of the backend."""
        found = []
        while len(found) < count:
            message = await soon(self.wire.recv())
            if not self.is_control(message):
                found.append(message)
                self.given += 1
        return found

    def is_control(self, message) -> bool:
        if isinstance(message, str) and message.startswith(self.hello["secret"]):
            self.told.append(message[23:])
            return True
        return False

    async def control(self) -> str:
        message = await soon(self.wire.recv())
        check(self.is_control(message), f"a control text: {message[23:]!r}")
        return self.told[-1]

    async def ack(self) -> None:
        await self.wire.send(f"{self.hello['secret']}{self.given}")

    async def end(self) -> tuple[int, str]:
        with suppress(ConnectionClosed):
            while True:
                self.is_control(await soon(self.wire.recv()))
        return self.wire.close_code, self.wire.close_reason

    def die(self, reset=False) -> None:
        raw = self.wire.transport.get_extra_info("socket")
        if reset:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        self.wire.transport.abort()


async def soon(waits):
    return await asyncio.wait_for(waits, PATIENCE)


def choose(_, offered):
    return "chat.v1" if "chat.v1" in offered else None


async def serve_one(wire) -> None:
    arrived.put_nowait(wire)
    await wire.wait_closed()


async def backend():
    return await soon(arrived.get())


async def fresh(path="/", app=()) -> tuple[Hand, object]:
    hand = await Hand().start(path, app)
    return hand, await backend()


async def main() -> None:
    async with serve(serve_one, "127.0.0.1", PORT, select_subprotocol=choose, ping_interval=None, max_size=2**22):
        for step in (
            greeting,
            replay,
            both_ways,
            attempts,
            silence,
            beats,
            pings,
            fragments,
            stalls,
            lies,
            large,
            ends,
            late,
            off,
            forged,
        ):
            await step()
    say("done")


async def greeting() -> None:
    hand, behind = await fresh(app=["chat.v1"])
    equal(hand.wire.subprotocol, OFFER, "the subprotocol of the 101")
    hello = hand.hello
    equal((hello["longwire"], hello["resume"], hello["resumed"]), (1, "on", False), "the hello of a new session")
    equal((hello["protocol"], hello["received"]), ("chat.v1", 0), "the backend's subprotocol, and what it got")
    equal((hello["beat_ms"], hello["replay"]), (1000, 65536), "the terms of the route")
    check(len(hello["secret"]) == 23 and hello["secret"].endswith(":"), "the secret has 22 letters and a colon")
    check(0 < len(hello["token"]) <= 200 and "." not in hello["token"], "the token fits into an offer")
    equal(behind.request.headers["Sec-WebSocket-Protocol"], "chat.v1", "what the backend sees of the offers")
    check("Sec-WebSocket-Extensions" not in behind.request.headers, "and no extension")
    await hand.wire.close(4000, "bye")
    await soon(behind.wait_closed())
    equal((behind.close_code, behind.close_reason), (4000, "bye"), "a client that closes ends the session")
    check(not await hand.resume(), "and its token is worth nothing then")
    await soon(arrived.get())


async def replay() -> None:
    hand, behind = await fresh()
    await behind.send("one")
    equal(await hand.heard(1), ["one"], "a message of the backend")
    await hand.wire.send("a")
    equal(await soon(behind.recv()), "a", "a message of the client")
    equal(await hand.control(), "1", "is acknowledged")
    hand.die()
    for message in ("two", b"\x00three", "four"):
        await behind.send(message)
    check(await hand.resume(), "a client that is back has its session")
    equal(hand.hello["received"], 1, "received")
    equal(await hand.heard(3), ["two", b"\x00three", "four"], "what the backend sent meanwhile")
    hand.given -= 2
    hand.die(reset=True)
    check(await hand.resume(), "by a reset, and with an older count")
    equal(await hand.heard(2), [b"\x00three", "four"], "what was not counted comes again")
    await hand.ack()
    await hand.wire.close()
    await soon(behind.wait_closed())


async def both_ways() -> None:
    """Deaths at any moment, and numbers both ways."""
    hand, behind = await fresh()
    got, sent, kept = [], 0, []

    async def listen() -> None:
        with suppress(ConnectionClosed):
            while True:
                got.append(int(await behind.recv()))

    async def talk() -> None:
        for number in range(300):
            await behind.send(str(number))
            await asyncio.sleep(0.005)

    listener, talker = asyncio.ensure_future(listen()), asyncio.ensure_future(talk())
    heard = []
    for turn in range(12):
        for _ in range(20):
            kept.append(str(sent))
            sent += 1
            await hand.wire.send(kept[-1])
        heard += await hand.heard(10)
        hand.die(reset=turn % 2 == 0)
        check(await hand.resume(), f"back after death {turn + 1}")
        for message in kept[hand.hello["received"] :]:
            await hand.wire.send(message)
        if turn % 3 == 0:
            await hand.ack()
    heard += await hand.heard(300 - len(heard))
    equal(heard, [str(number) for number in range(300)], "the backend's numbers, each once and in order")
    await soon(talker)
    while len(got) < sent:
        await asyncio.sleep(0.02)
    equal(got, list(range(sent)), "the client's numbers")
    await hand.wire.close()
    await soon(listener)


async def attempts() -> None:
    hand, behind = await fresh()
    hand.die()
    check(await hand.resume(attempt=7), "a first attempt may have any number")
    for number in (7, 3):
        other = Hand()
        other.hello = hand.hello
        try:
            await other.resume(attempt=number)
            check(False, f"attempt {number} was let in")
        except InvalidStatus as refused:
            equal(refused.response.status_code, 409, f"attempt {number}, which is not the latest")
    await behind.send("still here")
    equal(await hand.heard(1), ["still here"], "and the one that has the session keeps it")
    await hand.wire.close()


async def silence() -> None:
    hand, behind = await fresh()
    old = hand.wire
    # Nothing tells longwire that this connection is to be given up.
    check(await hand.resume(), "a client comes back while its old connection stands")
    await behind.send("new")
    equal(await hand.heard(1), ["new"], "and is told on the new one")
    with suppress(ConnectionClosed):
        while True:
            check(str(await soon(old.recv())).startswith(hand.hello["secret"]), "the old one hears nothing but a beat")
    check(True, "the old one is closed")
    await hand.wire.close()


async def beats() -> None:
    hand, _ = await fresh()
    equal([await hand.control(), await hand.control()], ["0", "0"], "after a second without anything: a beat")
    await hand.wire.close()


async def pings() -> None:
    hand, behind = await fresh()
    hand.die()
    await soon(await behind.ping("anybody there?"))
    check(True, "a backend that pings a client that is away has its Pong")
    check(await hand.resume(), "and the client comes back")
    await hand.wire.close()


async def fragments() -> None:
    hand, behind = await fresh()

    async def pieces():
        yield "half of "
        hand.die()
        yield "a message"

    with suppress(ConnectionClosed):
        await hand.wire.send(pieces())
    check(await hand.resume(), "a client that died within a message comes back")
    equal(hand.hello["received"], 0, "the half was not received")
    await hand.wire.send("a whole one")
    equal(await soon(behind.recv()), "a whole one", "and the backend has nothing of it")
    await hand.wire.close()


async def stalls() -> None:
    hand, behind = await fresh()
    hand.die()
    wanted = [f"{number}:{'x' * 1000}" for number in range(2000)]

    async def flood() -> None:
        for message in wanted:
            await behind.send(message)

    flooding = asyncio.ensure_future(flood())
    # So that it is under way.
    await asyncio.sleep(0.5)
    check(await hand.resume(), "back to a backend that sent more than is kept")
    found = []
    while len(found) < len(wanted):
        found += await hand.heard(min(50, len(wanted) - len(found)))
        await hand.ack()
    equal(found == wanted, True, f"its {len(wanted)} messages of a kilobyte, each once and in order")
    await soon(flooding)
    await hand.wire.close()


async def lies() -> None:
    hand, behind = await fresh()
    await hand.wire.send(f"{hand.hello['secret']}5")
    equal((await hand.end())[0], 1002, "who acknowledges what was not sent")
    await soon(behind.wait_closed())
    hand, behind = await fresh()
    hand.die()
    check(not await hand.resume(given=9), "who counts what was not sent begins anew")
    await soon(behind.wait_closed())
    await backend()
    token = hand.hello["token"]
    for name, rest in (
        ("letters for a number", f"{token}.x.0"),
        ("no count", f"{token}.1"),
        ("a long token", f"{'a' * 300}.1.0"),
    ):
        broken = await Hand().start(offers=[OFFER, f"{OFFER}.{rest}"])
        equal((broken.hello["resume"], broken.hello["resumed"]), ("on", False), f"an offer with {name}")
        await broken.wire.close()
        await backend()
    await hand.wire.close()


async def large() -> None:
    hand, behind = await fresh()
    await behind.send("x" * 70_000)
    equal([len(message) for message in await hand.heard(1)], [70_000], "a message that is longer than all that is kept")
    await hand.ack()
    await hand.wire.send("a")
    equal(await soon(behind.recv()), "a", "(the acknowledgement has arrived)")
    hand.die()
    check(await hand.resume(), "a client that has acknowledged it comes back")
    await behind.send("x" * 70_000)
    await hand.heard(1)
    hand.die()
    check(not await hand.resume(given=1), "one that does not have it begins anew")
    await soon(behind.wait_closed())
    behind = await backend()
    await hand.wire.send("y" * 300_000)
    equal(len(await soon(behind.recv())), 300_000, "such a message of the client")
    equal(await hand.control(), "1", "is counted")
    await hand.wire.close()


async def ends() -> None:
    hand, behind = await fresh()
    hand.die()
    # Only longwire can answer: it knows that the client is away.
    await soon(await behind.ping())
    await behind.send("last words")
    await soon(behind.close(4321, "that is all"))
    check(await hand.resume(), "a client comes back to a backend that has closed")
    equal(await hand.heard(1), ["last words"], "and is told what was before")
    equal(await hand.end(), (4321, "that is all"), "and then the end")


async def late() -> None:
    hand, behind = await fresh("/short")
    hand.die()
    await soon(behind.wait_closed())
    equal((behind.close_code, behind.close_reason), (1001, "client lost"), "a client that stays away")
    check(not await hand.resume("/short"), "and comes back too late, begins anew")
    await backend()
    await hand.wire.close()


async def off() -> None:
    hand, behind = await fresh("/off")
    equal((hand.wire.subprotocol, hand.hello["resume"]), (OFFER, "off"), "a route without resume says so")
    await behind.send("plain")
    equal(await soon(hand.wire.recv()), "plain", "and what follows is plain")
    await hand.wire.close()
    hand = await Hand().connect("/off", ["chat.v1"])
    behind = await backend()
    equal(hand.wire.subprotocol, "chat.v1", "with another subprotocol it is the backend's choice")
    await behind.send("plain")
    equal(await soon(hand.wire.recv()), "plain", "and no hello comes")
    await hand.wire.close()


async def forged() -> None:
    owner, _ = await fresh()
    token, codes = owner.hello["token"], []
    # Another signature under the same words.
    wrong = token[:-10] + ("B" if token[-10] == "A" else "A") + token[-9:]
    for _ in range(30):
        try:
            hand = await Hand().start(offers=[OFFER, f"{OFFER}.{wrong}.1.0"])
            codes.append(hand.hello["resumed"])
            await hand.wire.close()
        except InvalidStatus as refused:
            codes.append(refused.response.status_code)
    equal(set(codes), {False, 429}, "forged tokens begin anew, and are refused where they are many")
    check(codes.count(False) >= 10, f"but not the first ten: {codes.count(False)} began anew")
    await owner.wire.close()


asyncio.run(asyncio.wait_for(main(), 120))
