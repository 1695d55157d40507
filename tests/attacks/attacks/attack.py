"""One attack: what it is called, what is sent, which memory it may take, and the test that plays it in Rust."""

from collections.abc import Callable
from dataclasses import dataclass

from peers.bench import Bench, Failed, Program

from .target import Target


@dataclass
class Scene:
    bench: Bench
    target: Target
    backend: Program
    backend_port: int

    @property
    def port(self) -> int:
        return self.target.port


@dataclass
class Attack:
    name: str
    sent: str
    # The test of tests/it that plays the same: file::function.
    test: str
    # Connections held at a time, and KiB that each may take.
    connections: int
    each_kib: int
    # What came back, in words; raises `Failed` if that is not what is promised.
    run: Callable[[Scene], str]


ATTACKS: list[Attack] = []


def attack(name: str, sent: str, test: str, connections: int = 1, each_kib: int = 64):
    def declare(run):
        ATTACKS.append(Attack(name, sent, test, connections, each_kib, run))
        return run

    return declare


def promise(holds, found: str) -> str:
    """What was found, if it is what is promised."""
    if not holds:
        raise Failed(found)
    return found
