"""What the kernel says about a process: its CPU, its memory, its calls, its sockets."""

import re
import subprocess
from contextlib import contextmanager
from pathlib import Path

RECEIVE = {"read", "readv", "recvfrom", "recvmsg", "recvmmsg"}
SEND = {"write", "writev", "sendto", "sendmsg", "sendmmsg"}
SPLICE = {"splice", "tee", "vmsplice", "sendfile"}
WAIT = {"epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll"}


def family(pid: int) -> list[int]:
    """The process and its children, because nginx works in a child."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(child for each in children for child in family(int(each)))]


def cpu_ns(pid: int) -> int:
    """The time of all threads on a CPU so far, in nanoseconds, without the time that they waited for a CPU."""
    total = 0
    for each in family(pid):
        for schedstat in Path(f"/proc/{each}/task").glob("*/schedstat"):
            total += int(schedstat.read_text().split()[0])
    return total


def memory(pid: int) -> dict[str, int]:
    """Bytes of user memory: the resident bytes, and the proportional share of the process in them."""
    totals = {"Rss": 0, "Pss": 0}
    for each in family(pid):
        for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
            key, *rest = line.split()
            if key[:-1] in totals:
                totals[key[:-1]] += int(rest[0]) * 1024
    return {"rss": totals["Rss"], "pss": totals["Pss"]}


def sockets_by_worker(pid: int, workers: int) -> list[int]:
    """How many sockets each worker waits for: the size of its epoll set. The sets of main threads and the like are small,
    so the largest sets are those of the workers."""
    sets = set()
    for each in family(pid):
        for info in Path(f"/proc/{each}/fdinfo").iterdir():
            watched = re.findall(r"^tfd:\s*(\d+)", info.read_text(), re.MULTILINE)
            # A duplicated descriptor shows the same set again.
            sets.add((each, frozenset(watched)))
    sizes = sorted((len(watched) for _, watched in sets), reverse=True)
    return sizes[:workers]


@contextmanager
def calls_counted(pid: int, folder: Path):
    """The system calls of the process during the block, counted by strace: {"receive", "send", "splice", "wait", "other"},
    and the names of the others. strace slows the process down, so nothing else is measured meanwhile."""
    summary = folder / "strace"
    pids = [argument for each in family(pid) for argument in ("-p", str(each))]
    command = ["strace", "-f", "-c", "-o", str(summary), *pids]
    strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for _ in family(pid):
        line = strace.stderr.readline()
        if "attached" not in line:
            raise RuntimeError(f"strace: {line.strip()}")
    counts = {"receive": 0, "send": 0, "splice": 0, "wait": 0, "other": 0, "others": {}}
    try:
        yield counts
    finally:
        strace.send_signal(2)
        strace.communicate(timeout=20)
    for name, number in call_table(summary.read_text()):
        kind = next((kind for kind, names in KINDS.items() if name in names), "other")
        counts[kind] += number
        if kind == "other":
            counts["others"][name] = number


KINDS = {"receive": RECEIVE, "send": SEND, "splice": SPLICE, "wait": WAIT}


def call_table(summary: str):
    """The rows of `strace -c`: share, seconds, microseconds per call, calls, errors (or nothing), name."""
    for line in summary.splitlines():
        fields = line.split()
        if len(fields) in (5, 6) and fields[3].isdigit() and fields[-1] != "total":
            yield fields[-1], int(fields[3])
