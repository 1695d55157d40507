"""Three longwires share `sessions_per_client` on a real Valkey, behind a layer-4 balancer, whatever happens to one of them or to Valkey."""

import json
import time
from collections import Counter

from ..bench import Bench, parsed, wait_until
from ..counting import Counts, Crowd
from ..instances import Balancer, Instance
from ..valkey import Valkey

# Sessions of an address.
MOST = 10
CLIENTS, ADDRESSES = 1000, 50
NAMES = "abc"
# In which a machine may stand still without the loss of a count, s.
LEASE = 9
# About how long a client of the crowd waits until it tries again, and the longest that it does, s.
PAUSE, LONGEST_PAUSE = 2, 3
# Longer than any question takes, also where the machine stands still for a moment: Valkey answers all.
PATIENT = "3s"
HASTY_MS = 50
HASTY = f"{HASTY_MS}ms"
# By so much more than it takes while Valkey answers, and than the timeout, a handshake may be late on a busy machine, s. It is less than the
# third of the lease after which a connection that hangs is given up: who waits for that is found.
LATE = 2.5
# What each longwire lets in of an address while Valkey is away: its share of three, or all that it may let in by itself.
ALONE = {"share": 4, "open": MOST}
BY_ITSELF = f"limits: {{ sessions_per_client: {MOST} }}\ntimeouts: {{ drain: 10s }}\ndrain: {{ spread: 1s }}"
# Addresses, and clients of each, that come while Valkey is away.
FEW, EAGER = 5, 40


def run(bench: Bench) -> None:
    is_long = bench.minutes >= 2
    fleet = Fleet(bench)
    fleet.tries(40 if is_long else 2)
    crowd = fleet.crowd()
    fleet.tells_the_truth("at rest")
    fleet.crash()
    crowd.look()
    fleet.deny("stopped")
    if is_long:
        fleet.deny("hung")
        fleet.emptied()
        fleet.stutters()
    bench.equal(crowd.look()["ended"], {}, "sessions that ended while Valkey was away")
    if is_long:
        fleet.reload_and_hand_over(crowd)
    bench.equal(set(crowd.leave()["ended"]), {"1000 done"}, "how the sessions of all addresses ended")
    if is_long:
        fleet.turned_off_and_on()
        for on_loss in ("share", "open"):
            for what in ("hung", "stopped"):
                fleet.lets_in(on_loss, what)
        fleet.emptied_sharing()
    fleet.stop()


class Fleet:
    """The three of them, what they share, and what the backend sees."""

    def __init__(self, bench: Bench):
        self.bench, self.valkey, self.counts = bench, Valkey(bench), Counts(bench, len(NAMES))
        self.peak = 0
        pairs = zip(NAMES, self.counts.ports, strict=True)
        self.instances = [Instance(bench, name, port, self.settings("deny", PATIENT)) for name, port in pairs]
        self.port = Balancer(bench, self.instances).port
        for instance in self.instances:
            wait_until(
                lambda instance=instance: self.connected(instance), 15, f"{instance.name} is connected to Valkey"
            )

    def settings(self, on_loss: str, timeout: str, prefix: str = "longwire") -> str:
        terms = f"prefix: {prefix}, lease: {LEASE}s, on_loss: {on_loss}, timeout: {timeout}"
        return f'{BY_ITSELF}\nfleet: {{ valkey: "{self.valkey.url}", instance: NAME, {terms} }}'

    def connected(self, instance: Instance) -> bool:
        return instance.status()["fleet"]["connected"]

    def knows_all(self, instance: Instance) -> bool:
        return instance.status()["fleet"]["living"] == len(self.instances)

    def wait_connected(self, wanted: bool, what: str) -> None:
        for instance in self.instances:
            wait_until(lambda instance=instance: self.connected(instance) == wanted, 60, f"{instance.name}: {what}")

    def reload(self, on_loss: str, timeout: str) -> None:
        for instance in self.instances:
            instance.reload(self.settings(on_loss, timeout))

    def decisions(self) -> Counter:
        """How many handshakes each has decided, all longwires together."""
        sums = Counter()
        for instance in self.instances:
            sums.update(instance.samples("longwire_fleet_decisions_total", "by"))
        return sums

    def look(self) -> dict:
        seen = self.counts.look()
        self.peak = max(self.peak, seen["peak"])
        return seen

    def check_peak(self, what: str) -> None:
        self.look()
        self.bench.equal(self.peak, MOST, f"{what}: the most sessions that an address had at any moment")
        self.peak = 0

    def rests(self, what: str, addresses: int = ADDRESSES) -> None:
        """Each address has all that it may have, and the backend has seen no more at any moment."""

        def is_full() -> bool:
            sums = [sum(places) for places in self.look()["here"].values()]
            return sums == [MOST] * addresses

        wait_until(is_full, 60, f"{what}: {MOST} sessions of each address, at the end {self.look()['here']}")
        self.check_peak(what)

    def tries(self, each: int) -> None:
        self.look()
        self.peak = 0
        before, began = self.decisions(), time.monotonic()
        crowd = Crowd(self.bench, self.port, 1, CLIENTS, ADDRESSES, tries=each, stay=3000)
        told = crowd.done(300)
        self.bench.say(f"{CLIENTS * each} tries in {time.monotonic() - began:.1f} s, ms of a handshake: {told['took']}")
        self.bench.equal((told["failed"], set(told["refused"])), ({}, {"429"}), "handshakes that failed, and refusals")
        opened = told["opened"]
        self.bench.equal(
            sum(told["refused"].values()) + opened, CLIENTS * each, f"tries, of which {opened} got a session"
        )
        self.bench.equal(told["ended"], {"1000 done": opened}, "how these ended")
        self.bench.equal(set(self.decisions() - before), {"valkey"}, "who decided")
        self.look()
        what = f"{CLIENTS} clients on {ADDRESSES} addresses try {each} times each: the most sessions of an address"
        self.bench.check(self.peak <= MOST, f"{what}: {self.peak}")
        crowd.leave()

    def crowd(self) -> Crowd:
        """All the clients, who want a session and keep it. Half of them find no room, and go on to try."""
        crowd = Crowd(self.bench, self.port, 1, CLIENTS, ADDRESSES, pause=PAUSE * 1000)
        self.rests("at rest")
        crowd.look()
        crowd.wait_refused(ADDRESSES, "429")
        self.rests("at rest, while others try")
        return crowd

    def tells_the_truth(self, what: str) -> None:
        """Each longwire says of all of them what the backend counts."""
        truth = dict(zip(NAMES, self.counts.by_place(), strict=True))
        for instance in self.instances:
            wait_until(lambda instance=instance: told(instance.status()) == truth, 20, f"{instance.name} says {truth}")
            by_command = json.loads(instance.command("status", "--json"))
            self.bench.equal(
                told(by_command), truth, f"{what}: sessions of all, says longwire status of {instance.name}"
            )

    def crash(self) -> None:
        """One is killed. What it had is free again after its lease, and not at once."""
        *rest, killed = self.instances
        place = NAMES.index(killed.name)
        others = sum(self.counts.sums()) - self.counts.by_place()[place]
        killed.kill()
        began = time.monotonic()
        self.instances = rest
        wait_until(lambda: self.counts.by_place()[place] == 0, 20, "the backend has none of its sessions")
        while True:
            found = sum(self.counts.sums())
            # It has renewed its lease within the third of it that came before.
            if time.monotonic() - began > LEASE / 3:
                break
            if found != others:
                self.bench.equal(found, others, "one is killed: sessions, as long as its own still count")
            time.sleep(0.1)
        self.rests("one is killed")
        took = time.monotonic() - began
        # That it heals within the lease is promised, so this bound is no measurement. What is lost is free one lease after the kill at the
        # latest, and each client tries again within the longest pause. One more lease is for a machine that stands still: if it stood
        # still for longer, the counts of the living would be lost too.
        most = LEASE + LONGEST_PAUSE + LEASE
        self.bench.check(
            took <= most, f"one is killed: all is as it was after {took:.1f} s, within {most} s, lease {LEASE} s"
        )
        names = {one.name for one in rest}
        wait_until(lambda: set(told(rest[0].status())) == names, 20, f"one is killed: only {names} are left")
        killed.begin()
        self.instances = [*rest, killed]
        wait_until(lambda: self.connected(killed), 15, "it is back")
        self.tells_the_truth("it is back")

    def reload_and_hand_over(self, crowd: Crowd) -> None:
        self.reload("share", PATIENT)
        self.rests("after a reload")
        self.tells_the_truth("after a reload")
        self.bench.equal(crowd.look()["ended"], {}, "sessions that the reload ended")
        one = self.instances[0]
        old = one.program
        one.begin()
        self.bench.equal(old.wait(20), 0, "a hand-over: the old process drains and exits")
        self.rests("after a hand-over")
        self.bench.equal(set(crowd.look()["ended"]), {"1012 drain"}, "how its sessions ended")
        self.tells_the_truth("after a hand-over")

    def turned_off_and_on(self) -> None:
        """Under sessions, and then the counts are at another place too."""
        wait_until(lambda: not self.look()["here"], 20, "all have left")
        kept = self.newcomers()
        self.ends(kept, {"429": FEW * (EAGER - MOST)}, FEW * MOST, "before fleet is turned off")
        for instance in self.instances:
            instance.reload(BY_ITSELF)
            self.bench.check("fleet" not in instance.status(), f"{instance.name}: fleet is turned off")
        for prefix in ("longwire", "another"):
            for instance in self.instances:
                instance.reload(self.settings("deny", PATIENT, prefix))
            self.wait_connected(True, "connected again")
            self.tells_the_truth(f"turned on, prefix {prefix}")
            self.ends(self.newcomers(), {"429": FEW * EAGER}, 0, f"turned on, prefix {prefix}")
        kept.leave()
        wait_until(lambda: not self.look()["here"], 20, "all have left")
        self.tells_the_truth("all have left")

    def emptied(self) -> None:
        self.valkey.empty()
        # All this time others try. For more than a lease a fleet does not believe what it finds.
        until = time.monotonic() + LEASE + 3
        while time.monotonic() < until:
            self.look()
            time.sleep(0.2)
        self.wait_connected(True, "believes Valkey again")
        self.rests("Valkey was emptied")
        self.tells_the_truth("Valkey was emptied")

    def stutters(self) -> None:
        """Valkey stands still for a moment, again and again: many answers come too late, and what they grant is given back."""
        self.reload("deny", HASTY)
        self.look()
        self.peak = 0
        crowd = Crowd(self.bench, self.port, 3, 400, 20, pause=100, stay=2000)
        for stop in range(40):
            self.valkey.hang()
            time.sleep(0.02 + stop % 8 * 0.04)
            self.valkey.go_on()
            time.sleep(0.1)
        told = crowd.leave()
        self.bench.say(f"tries while Valkey stutters: {told['opened']} sessions, refused: {told['refused']}")
        self.bench.check(
            {"429", "503"} <= set(told["refused"]), "Valkey stutters: some answers come in time, some do not"
        )
        wait_until(lambda: len(self.look()["here"]) == ADDRESSES, 20, "those have left")
        self.bench.equal(self.peak, MOST, "Valkey stutters: the most sessions that an address had at any moment")
        self.reload("deny", PATIENT)
        self.tells_the_truth("Valkey stuttered")

    def deny(self, what: str) -> None:
        """Valkey is away, and each address of the crowd is full: newcomers are refused, though there would be room for them."""
        tried = self.newcomers()
        with_it = self.ends(tried, {"429": FEW * (EAGER - MOST)}, FEW * MOST, "Valkey answers")
        tried.leave()
        self.reload("deny", HASTY)
        marks = self.marks()
        self.lose(what)
        began = time.monotonic()
        without = self.ends(self.newcomers(), {"503": FEW * EAGER}, 0, f"Valkey is {what}, deny")
        self.check_times(with_it, without, f"Valkey is {what}, deny")
        self.check_slowest(marks, f"Valkey is {what}, deny")
        # So long that all leases are over.
        time.sleep(max(0, began + LEASE + 1 - time.monotonic()))
        self.find_again(what)
        self.reload("deny", PATIENT)
        self.rests(f"Valkey was {what}")
        self.tells_the_truth(f"Valkey was {what}")

    def lets_in(self, on_loss: str, what: str) -> None:
        """Nobody has a session, and Valkey is away."""
        tried = self.newcomers()
        with_it = self.ends(tried, {"429": FEW * (EAGER - MOST)}, FEW * MOST, "Valkey answers")
        tried.leave()
        self.reload(on_loss, HASTY)
        # What a share is of. Who has not reached Valkey yet knows only itself.
        for instance in self.instances:
            wait_until(lambda instance=instance: self.knows_all(instance), 30, f"{instance.name} knows the others")
        wait_until(lambda: not self.look()["here"], 20, "all have left")
        self.look()
        before, marks = self.decisions(), self.marks()
        self.lose(what)
        here = (ALONE[on_loss],) * len(NAMES)
        # As long as it takes until each longwire was tried often enough.
        crowd = Crowd(self.bench, self.port, 2, FEW * EAGER, FEW, pause=300)
        wait_until(
            lambda: places(self.counts.look()) == [here] * FEW, 30, f"{on_loss}: sessions of each address: {here}"
        )
        self.check_times(with_it, crowd.look()["took"], f"Valkey is {what}, {on_loss}")
        crowd.wait_refused(EAGER, "429")
        what_of = f"Valkey is {what}, {on_loss}: sessions of each address at each longwire, while others try"
        self.bench.equal(places(self.counts.look()), [here] * FEW, what_of)
        self.bench.equal(set(self.decisions() - before), {on_loss}, "who decided")
        self.find_again(what)
        self.reload("deny", PATIENT)
        self.tells_the_truth(f"Valkey was {what}, {on_loss}")
        self.ends(self.newcomers(), {"429": FEW * EAGER}, 0, "beyond the limit by then, so others are refused")
        self.bench.equal(set(crowd.leave()["ended"]), {"1000 done"}, "how the sessions ended")
        wait_until(lambda: not self.look()["here"], 20, "all have left")
        self.check_slowest(marks, f"Valkey was {what}, {on_loss}")
        self.peak = 0
        crowd = Crowd(self.bench, self.port, 2, FEW * EAGER, FEW, pause=300)
        self.rests(f"after Valkey was {what}, {on_loss}", FEW)
        crowd.leave()

    def emptied_sharing(self) -> None:
        """Valkey is emptied while sessions come and go, and the shares decide until all have told it their counts again."""
        self.reload("share", PATIENT)
        for instance in self.instances:
            wait_until(lambda instance=instance: self.knows_all(instance), 30, f"{instance.name} knows the others")
        before = self.decisions()
        crowd = Crowd(self.bench, self.port, 2, FEW * EAGER, FEW, pause=300, stay=2000)
        wait_until(lambda: self.look()["peak"] == MOST, 20, "an address has all that it may have")
        self.valkey.empty()
        began = time.monotonic()
        share, most = ALONE["share"], ALONE["share"] * len(NAMES)
        # Those of before end within their stay.
        wait_until(lambda: max(map(max, places(self.look())), default=0) <= share, 20, "each longwire has its share")
        self.look()
        peaks = peaks_here = 0
        while True:
            seen = self.look()
            # Until then no other count can be believed.
            if time.monotonic() - began > LEASE:
                break
            peaks, peaks_here = max(peaks, seen["peak"]), max(peaks_here, seen["peak_here"])
            time.sleep(0.1)
        self.bench.equal(peaks_here, share, "Valkey was emptied, share: the most of an address at a longwire")
        self.bench.check(MOST < peaks <= most, f"and at all of them, where {most} are allowed: {peaks}")
        self.bench.equal(set(self.decisions() - before), {"share", "valkey"}, "who decided")
        self.wait_connected(True, "believes Valkey again")
        wait_until(lambda: max(self.counts.sums(), default=0) <= MOST, 20, "those beyond the limit have left")
        self.look()
        self.peak = 0
        until = time.monotonic() + 3
        while time.monotonic() < until:
            self.look()
            time.sleep(0.1)
        self.check_peak("Valkey was emptied, share, while sessions come and go")
        crowd.leave()
        wait_until(lambda: not self.look()["here"], 20, "all have left")
        self.look()
        self.peak = 0
        crowd = Crowd(self.bench, self.port, 2, FEW * EAGER, FEW, pause=300)
        self.rests("Valkey was emptied, share", FEW)
        self.tells_the_truth("Valkey was emptied, share")
        crowd.leave()

    def check_times(self, with_it: dict, without: dict, what: str) -> None:
        """No handshake takes longer than `timeout` more than where Valkey answers."""
        self.bench.say(f"ms of a handshake: {with_it} while Valkey answers, {without}: {what}")
        longest = with_it["max"] + HASTY_MS + LATE * 1000
        self.bench.check(without["max"] < longest, f"{what}: no handshake takes {longest:.0f} ms: {without['max']:.0f}")

    def marks(self) -> list[int]:
        """How much each has recorded so far."""
        return [len(instance.program.lines) for instance in self.instances]

    def check_slowest(self, marks: list[int], what: str) -> None:
        """By the records since then: how long longwire itself took, until it refused or its client had the 101."""
        since = [
            parsed(line) for one, mark in zip(self.instances, marks, strict=True) for line in one.program.lines[mark:]
        ]
        times = [record.get("handshake_ms", record["duration_ms"]) for record in since if record]
        most = HASTY_MS + LATE * 1000
        self.bench.check(
            max(times) < most,
            f"{what}: of {len(times)} handshakes longwire took less than {most:.0f} ms: {max(times):.0f}",
        )

    def newcomers(self) -> Crowd:
        """Clients at addresses of their own, of whom each tries once, and keeps what it gets."""
        return Crowd(self.bench, self.port, 2, FEW * EAGER, FEW, tries=1)

    def ends(self, crowd: Crowd, refused: dict[str, int], opened: int, what: str) -> dict:
        told = crowd.done(60)
        found = told["opened"], told["refused"], told["failed"]
        self.bench.equal(found, (opened, refused, {}), f"{what}: newcomers that got a session, were refused, failed")
        return told["took"]

    def lose(self, what: str) -> None:
        self.valkey.hang() if what == "hung" else self.valkey.stop()

    def find_again(self, what: str) -> None:
        self.valkey.go_on() if what == "hung" else self.valkey.start()
        self.wait_connected(True, "connected again")

    def stop(self) -> None:
        for instance in self.instances:
            self.bench.equal(instance.proxy.stop(), 0, f"exit code of {instance.name}")


def told(status: dict) -> dict[str, int]:
    """The sessions by name: over a hand-over two have one."""
    sums = Counter()
    for one in status["fleet"]["instances"]:
        sums[one["name"]] += one["sessions"]
    return dict(sums)


def places(seen: dict) -> list[tuple[int, ...]]:
    """The sessions of each address at each longwire."""
    return [tuple(places) for places in seen["here"].values()]
