"""The backend that counts the sessions of each address, and clients at many addresses."""

import signal

from .bench import Bench, free_port, wait_until
from .instances import answer

# Handshakes of a crowd that are on their way: more would wait for the crowd itself.
AT_ONCE = 50


class Counts:
    """What the backend sees of the clients' addresses."""

    def __init__(self, bench: Bench, places: int):
        self.ports = [free_port() for _ in range(places)]
        self.program = bench.python("fleet_backend.py", *self.ports)
        self.program.event("listening")

    def look(self) -> dict:
        """Now, and the peaks since the last look."""
        return answer(self.program, signal.SIGUSR1, "counts")

    def sums(self) -> list[int]:
        """Of each address that has a session."""
        return [sum(places) for places in self.look()["here"].values()]

    def by_place(self) -> list[int]:
        """All sessions of each longwire."""
        here = self.look()["here"].values()
        return [sum(places[place] for places in here) for place in range(len(self.ports))]


class Crowd:
    """Clients at many addresses, `fleet_clients.mjs`: at 127.0.`network`.1 and on."""

    def __init__(
        self, bench: Bench, port: int, network: int, clients: int, addresses: int, *, tries=0, pause=0, stay=0
    ):
        arguments = clients, addresses, tries, pause, stay, AT_ONCE
        self.program = bench.node("fleet_clients.mjs", port, network, *arguments)
        self.program.event("begun")

    def done(self, seconds: float) -> dict:
        """What became of all tries."""
        return self.program.event("done", seconds)

    def look(self) -> dict:
        """What came since the last look."""
        return answer(self.program, signal.SIGUSR2, "so_far")

    def wait_refused(self, count: int, status: str) -> None:
        """So many further tries are refused."""
        refused = 0

        def are_refused() -> bool:
            nonlocal refused
            refused += self.look()["refused"].get(status, 0)
            return refused >= count

        wait_until(are_refused, 30, f"{count} further tries are refused with {status}")

    def leave(self) -> dict:
        self.program.signal(signal.SIGTERM)
        told = self.program.event("left", 30)
        self.program.wait(10)
        return told
