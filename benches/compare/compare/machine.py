"""This machine: its cores and who uses them, its limits, and what is installed on it."""

import atexit
import os
import platform
import re
import resource
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .configs import BEFORE, COALESCE, OUTLIVING


@dataclass(frozen=True)
class Cores:
    """The core of each program. A proxy shares a core with its load only if it may use two and there are only two."""

    proxy: int
    load: int
    backend: int

    @classmethod
    def shared_out(cls) -> "Cores":
        usable = sorted(os.sched_getaffinity(0))
        if len(usable) < 2:
            raise SystemExit("the comparison needs two cores: one for the proxy, one for load and backend")
        return cls(proxy=usable[0], load=usable[1], backend=usable[2] if len(usable) > 2 else usable[1])

    def first(self, count: int) -> set[int]:
        """The cores for a proxy that may use `count`. If there are only two, the second is also that of load and backend."""
        return {self.proxy, max(os.sched_getaffinity(0))} if count > 1 else {self.proxy}


AUTOGROUP = Path("/proc/self/autogroup")


def raise_priority() -> str:
    """Raises the priority of this process and of all that it starts, so that other work on the machine changes little.
    Returns the priority that was reached. A run that was started with `nice` keeps its low priority."""
    if nice := os.getpriority(os.PRIO_PROCESS, 0):
        return f"nice {nice}"
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    except PermissionError:
        return "normal"
    # If the kernel groups processes by session, nice counts only within the session. The group has a nice of its own.
    if AUTOGROUP.exists():
        AUTOGROUP.write_text("-20")
        atexit.register(AUTOGROUP.write_text, "0")
    return "nice -20"


def idle_sessions(wanted: int) -> int:
    """As many of the wanted sessions as the limit of open files allows. A proxy needs two files for each, and a few more."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(wanted, (hard - 500) // 2)


def absent(longwire: Path, before: Path | None) -> dict[str, str]:
    """The proxies that cannot be measured in this run, each with the reason."""
    reasons = {} if before else {BEFORE: "no --before FILE names it"}
    if why := refused(longwire, "coalesce: 500us", ""):
        reasons |= dict.fromkeys(COALESCE, f"this longwire does not take `coalesce: 500us` ({why})")
    for proxy, key in OUTLIVING.items():
        if why := refused(longwire, "", key):
            reasons[proxy] = f"this longwire does not take `{key}` ({why})"
    return reasons


def refused(longwire: Path, key: str, key_of_route: str) -> str:
    """Why longwire does not take a key, or nothing."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(
            f"{key}\n"
            "listeners: [{ bind: 127.0.0.1:0 }]\n"
            'upstreams: { echo: { backends: [{ address: "127.0.0.1:1" }] } }\n'
            f"routes: [{{ upstream: echo, {key_of_route} }}]\n"
        )
        file.flush()
        checked = subprocess.run([longwire, "check", "-c", file.name], check=False, capture_output=True, text=True)
    return first_match(r"error: (.*)", checked.stderr) if checked.returncode != 0 else ""


def description(longwire: Path, built_here: bool) -> dict:
    """What a reader needs to judge the figures. The commit of a longwire that was built elsewhere is not known."""
    return {
        "cpu": first_match(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        "longwire": version([longwire, "--version"], r"longwire (\S+)"),
        "commit": commit() if built_here else "built elsewhere",
        "nginx": version(["nginx", "-v"], r"nginx/(\S+)"),
        "haproxy": version(["haproxy", "-v"], r"version (\S+)"),
        "openssl": version(["openssl", "version"], r"OpenSSL (\S+)"),
        "gcc": version(["gcc", "--version"], r"\) (\S+)"),
    }


def version(command: list, pattern: str) -> str:
    output = subprocess.run(command, check=False, capture_output=True, text=True)
    return first_match(pattern, output.stdout + output.stderr)


def commit() -> str:
    """The commit of this working tree, with a plus if the tree has further changes."""
    here = Path(__file__).parent
    head = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], check=False, cwd=here, capture_output=True, text=True
    )
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--", ":/src", ":/Cargo.lock"],
        check=False,
        cwd=here,
        capture_output=True,
        text=True,
    )
    return (head.stdout.strip() or "unknown") + ("+" if changed.stdout else "")


def first_match(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1].strip() if found else "unknown"
