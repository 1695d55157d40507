"""Clients with longwire-client on a network that cuts every connection every few seconds: what arrives, and what is said to be lost."""

import signal
import subprocess
import time
from collections import Counter

from ..bench import Bench, Program
from ..proxy import Proxy

# Of a connection, seconds.
LEAST, MOST = 1.5, 4
# The library's first and longest wait here, ms.
MIN_DELAY, MAX_DELAY = 500, 2000
PAGES = 3


class Crowd:
    """Clients of three kinds behind a network of their own: with the package ws, with Node's WebSocket, and in Chromium."""

    def __init__(self, bench: Bench, name: str, port: int, nodes: int, resume: str):
        library = bench.root / "clients/js/dist/esm"
        bench.check((library / "resume.js").exists(), f"{name}: the library is built (clients/js/test --build)")
        self.name, self.count = name, 2 * nodes + PAGES
        self.path = bench.python("roaming_path.py", port, LEAST, MOST)
        url = f"ws://127.0.0.1:{self.path.port()}"
        self.clients = [
            bench.node("roaming_clients.mjs", library, url, "ws", nodes, resume),
            self.own(bench, library, url, nodes, resume),
            bench.node("roaming_page.mjs", library, url, PAGES, resume, bench.folder / f"chromium-{self.path.port()}"),
        ]

    def own(self, bench: Bench, library, url: str, nodes: int, resume: str) -> Program:
        actor = bench.root / "tests/peers/actors/roaming_clients.mjs"
        return bench.start("roaming_clients own", "node", *experimental(), actor, library, url, "own", nodes, resume)

    def roam(self) -> None:
        for program in self.clients:
            program.event("opened", 60)
        self.path.signal(signal.SIGUSR1)

    def stop(self) -> None:
        """The network rests, and the clients come to their end."""
        self.path.signal(signal.SIGUSR1)
        self.path.event("calm")
        for program in self.clients:
            program.signal(signal.SIGTERM)

    def seen(self, backend: Program) -> tuple[dict[str, dict], list[dict], dict]:
        """Each client by its name, the backend's sessions, and how often the network cut."""
        cuts = self.path.event("calm")["cuts"]
        clients = [client for program in self.clients for client in program.event("summary", 60)["clients"]]
        backend.signal(signal.SIGTERM)
        return {client["name"]: client for client in clients}, backend.event("summary")["sessions"], cuts


def plain(bench: Bench) -> None:
    """Without resume, and without longwire: the library comes back by itself, and what it does not deliver it says.

    Half of the clients ask for resume, in vain."""
    nodes, seconds = (100, bench.minutes * 60) if bench.minutes >= 3 else (20, 8)
    backends = [bench.node("roaming_server.mjs", 4) for _ in range(2)]
    proxy = Proxy(bench, [backends[0].port()], keepalive="ping_interval: 1s\npong_timeout: 4s")
    crowds = [
        Crowd(bench, "a route without resume", proxy.port, nodes, "off"),
        Crowd(bench, "no longwire", backends[1].port(), nodes, "off"),
    ]
    for crowd in crowds:
        crowd.roam()
    time.sleep(seconds)
    for crowd in crowds:
        crowd.stop()
    for crowd, backend in zip(crowds, backends, strict=True):
        clients, sessions, cuts = crowd.seen(backend)
        bench.say(f"{crowd.name}: {len(clients)} clients, {len(sessions)} sessions, cuts {cuts}")
        bench.equal(len(clients), crowd.count, f"{crowd.name}: clients")
        bench.check(len(cuts) == 3, f"{crowd.name}: cut by a reset, by FIN and by silence")
        judge_telling(bench, crowd.name, list(clients.values()))
        judge_losses(bench, crowd.name, clients, sessions)
    bench.equal(proxy.stop(), 0, "longwire's exit code")


def judge_telling(bench: Bench, name: str, clients: list[dict]) -> None:
    """Every loss is told, with a wait from a window that grows; no client gives up."""
    bench.equal(
        wrong(client["end"] != "4000 done" and client for client in clients), [], f"{name}: did not end as told"
    )
    lost = [[down for down in client["downs"] if down["wasOpen"]] for client in clients]
    bench.check(all(lost), f"{name}: every client lost its connection")
    uneven = [
        client["name"] for client, downs in zip(clients, lost, strict=True) if len(client["opens"]) != len(downs) + 1
    ]
    bench.equal(uneven, [], f"{name}: of {sum(map(len, lost))} losses, all told and followed by an opening, but of")
    early = [
        down
        for client in clients
        for failures, down in enumerate(client["downs"])
        if not 0 <= down["retryIn"] <= min(MAX_DELAY, MIN_DELAY * 2**failures)
    ]
    bench.equal(early, [], f"{name}: waits outside of their window")
    waits = sorted(down["retryIn"] for client in clients for down in client["downs"])
    bench.check(waits[-1] > MIN_DELAY, f"{name}: waits grow, from {waits[0]:.0f} to {waits[-1]:.0f} ms")
    bench.equal(
        sum(client["fresh"] for client in clients), sum(map(len, lost)), f"{name}: openings that say: not resumed"
    )
    bench.equal(sum(client["errors"] for client in clients), 0, f"{name}: errors told")
    reasons = Counter(down["reason"] for client in clients for down in client["downs"])
    bench.check(reasons["no heartbeat"] > 0, f"{name}: silence is found: {dict(reasons)}")


def judge_losses(bench: Bench, name: str, clients: dict[str, dict], sessions: list[dict]) -> None:
    """Nothing comes twice or out of order, and only what was on its way when a connection died is lost, or was refused."""
    by_attempt = {(session["name"], session["attempt"]): session for session in sessions}
    bench.equal(len(by_attempt), len(sessions), f"{name}: sessions of the backend, each of an attempt of its own")
    bench.equal(
        wrong(session["wrong"] and session for session in sessions), [], f"{name}: gaps within a connection, to it"
    )
    bench.equal(
        wrong(client["wrong"] and client for client in clients.values()), [], f"{name}: gaps within one, from it"
    )
    faults, totals = [], Counter()
    for client in clients.values():
        faults += compare(client, by_attempt, totals)
    opened = {(client["name"], attempt) for client in clients.values() for attempt, _, _ in client["opens"]}
    faults += [
        f"{who} said something before it was open" for who in by_attempt.keys() - opened if by_attempt[who]["next"]
    ]
    bench.equal(faults[:5], [], f"{name}: messages doubled, out of order, or lost without a word")
    bench.say(
        f"{name}: of {totals['numbers']} messages {totals['arrived']} arrived, {totals['refused']} were refused by `send`, "
        f"{totals['on_their_way']} were on their way when a connection died; of the backend's, {totals['back_lost']} were"
    )
    bench.check(
        totals["refused"] > 0 and totals["arrived"] > totals["numbers"] / 2, f"{name}: most arrived, some were refused"
    )


def compare(client: dict, by_attempt: dict, totals: Counter) -> list[str]:
    """What one client says beside what the backend saw of it."""
    faults = []
    refused = {number for first, behind in client["refused"] for number in range(first, behind)}
    totals["numbers"] += client["next"]
    totals["refused"] += len(refused)
    ends = {down["attempt"]: down["at"] for down in client["downs"] if down["wasOpen"]}
    # The number behind the last one that arrived, and the first one that was not handed to the connection before.
    arrived_to, handed_to = 0, 0
    has_queue = not refused
    for attempt, at, heard in client["opens"]:
        session = by_attempt.get((client["name"], attempt))
        who = f"{client['name']}, attempt {attempt}"
        if session is None:
            faults.append(f"{who}: the backend has no such session")
            continue
        totals["back_lost"] += session["sent"] - heard
        if heard > session["sent"]:
            faults.append(f"{who} heard {heard} of {session['sent']} messages")
        is_last = attempt not in ends
        end = ends.get(attempt, client["next"])
        if session["next"] is not None:
            first, behind = session["first"], session["next"]
            # Without a queue a connection begins with what is said when it is open, with one with all that was said since the last.
            if not arrived_to <= first <= (handed_to if has_queue else at):
                faults.append(f"{who} begins with {first}, after {arrived_to}, {handed_to} and {at}")
            if behind > end:
                faults.append(f"{who}: {behind} arrived of {end}")
            found = set(range(first, behind)) & refused
            if found:
                faults.append(f"{who}: {min(found)} was refused and arrived")
            arrived_to = behind
            totals["arrived"] += behind - first
        if is_last and (session["next"] or 0) != end and end > at:
            faults.append(f"{who}: the last connection has {session['next']} of {end}")
        if is_last and heard != session["sent"]:
            faults.append(f"{who}: the last connection heard {heard} of {session['sent']}")
        handed_to = end
    totals["on_their_way"] = totals["numbers"] - totals["refused"] - totals["arrived"]
    return faults


def resumed(bench: Bench) -> None:
    """With resume: each message once and in order both ways, and the backend sees one session of each client."""
    nodes, seconds, longest = (100, bench.minutes * 60, 30) if bench.minutes >= 3 else (20, 8, 20)
    backend = bench.node("roaming_server.mjs", longest)
    proxy = Proxy(
        bench,
        [backend.port()],
        keepalive="ping_interval: 1s\npong_timeout: 4s",
        routes=f"- {{ upstream: backends, resume: {{ for: {longest}s, replay: 64KiB, beat: 1s }} }}",
    )
    crowd = Crowd(bench, "a route with resume", proxy.port, nodes, "on")
    crowd.roam()
    time.sleep(seconds)
    crowd.stop()
    clients, sessions, cuts = crowd.seen(backend)
    everyone = list(clients.values())
    bench.say(f"{len(clients)} clients, cuts {cuts}")
    bench.equal(len(clients), crowd.count, "clients")
    bench.check(len(cuts) == 3, "cut by a reset, by FIN and by silence")
    losses = sum(down["wasOpen"] for client in everyone for down in client["downs"])
    bench.check(all(client["downs"] for client in everyone), f"every client lost its connection: {losses} losses")
    bench.equal(wrong(client["fresh"] and client for client in everyone), [], "clients that were not resumed")
    bench.equal(wrong(client["end"] != "4000 done" and client for client in everyone), [], "did not end as told")
    bench.equal(
        wrong(client["wrong"] and client for client in everyone), [], "doubled, lost or out of order at clients"
    )
    bench.equal(len(sessions), crowd.count, "sessions that the backend saw")
    bench.equal(wrong(session["wrong"] and session for session in sessions), [], "doubled, lost or out of order at it")
    bench.equal(wrong(session["code"] != 4000 and session for session in sessions), [], "ended otherwise")
    uneven = [
        (
            session["name"],
            session["next"],
            clients[session["name"]]["next"],
            clients[session["name"]]["heard"],
            session["sent"],
        )
        for session in sessions
        if (session["next"] or 0, session["sent"])
        != (clients[session["name"]]["next"], clients[session["name"]]["heard"])
    ]
    bench.equal(uneven, [], "clients of which a message is missing at an end")
    bench.equal(sum(client["resyncs"] + client["errors"] for client in everyone), 0, "resyncs and errors told")
    to, back = sum(session["next"] or 0 for session in sessions), sum(session["sent"] for session in sessions)
    bench.say(f"{to} messages of clients and {back} of the backend, each once and in order")
    records = proxy.wait_records(crowd.count, 20)
    bench.equal({record["close_code"] for record in records}, {4000}, f"the code of {len(records)} records")
    # A client need not have read what longwire answered.
    resumes, openings = (
        sum(record["resumes"] for record in records),
        sum(len(client["opens"]) - 1 for client in everyone),
    )
    bench.check(resumes >= openings > 0, f"{resumes} resumes in the records, {openings} seen by clients")
    bench.equal(proxy.stop(), 0, "longwire's exit code")


def wrong(found) -> list:
    """The first few of those that are not fine, shortened."""
    kept = [one for one in found if one][:3]
    return [{key: value for key, value in one.items() if key not in ("opens", "refused", "downs")} for one in kept]


def experimental() -> list[str]:
    """Node before 22 has its WebSocket behind a flag."""
    said = subprocess.run(["node", "-p", "typeof WebSocket"], capture_output=True, text=True, timeout=20, check=True)
    return [] if said.stdout.strip() == "function" else ["--experimental-websocket"]
