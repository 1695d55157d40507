"""Middleboxes that are the kernel's: connection tracking that forgets a silent connection, by nftables.

In a network namespace of its own. Each box is an address of lo: what goes to it or comes from it passes the box."""

import subprocess

from peers.bench import Failed

from .rows import Row

# By how a connection dies: the network of its boxes, and what becomes of a packet that belongs to no connection.
NETWORKS = {"silent": ("127.64.0", "drop"), "forgotten": ("127.64.1", "reject with tcp reset")}
LOOSE = "/proc/sys/net/netfilter/nf_conntrack_tcp_loose"


def address(row: Row) -> str:
    network, _ = NETWORKS[row.kind.dies]
    return f"{network}.{row.number + 1}"


def why_not() -> str:
    """What this machine lacks for such boxes; empty: nothing."""
    attempt = ruleset("attempt", {1: ["127.64.0.1"]})
    try:
        nft(attempt)
        nft("delete table ip attempt\n")
        strict()
    except (OSError, Failed) as lack:
        return str(lack)
    return ""


def strict() -> None:
    """Only a SYN begins a connection: what was forgotten stays so."""
    with open(LOOSE, "w") as loose:
        loose.write("0")


def install(rows: list[Row]) -> None:
    limits: dict[int, list[str]] = {}
    for row in rows:
        limits.setdefault(int(row.limit), []).append(address(row))
    nft(ruleset("boxes", limits))


def ruleset(name: str, limits: dict[int, list[str]]) -> str:
    """A table of boxes, by their limits in seconds."""
    lines = [f"table ip {name} {{"]
    for seconds in limits:
        policy = f"policy = {{ established : {seconds} }}"
        lines += [f"ct timeout for{seconds} {{", "protocol tcp", "l3proto ip", policy, "}"]
    lines += ["set unplugged {", "type ipv4_addr . inet_service", "}"]
    lines += ["chain out {", "type filter hook output priority 0"]
    for seconds, addresses in limits.items():
        lines.append(f'ip daddr {{ {", ".join(addresses)} }} ct timeout set "for{seconds}"')
    lines += ["}", "chain in {", "type filter hook input priority 0"]
    lines += ["ip saddr . tcp dport @unplugged drop", "ip daddr . tcp sport @unplugged drop"]
    # The resets of the next rules belong to no connection either.
    lines.append("tcp flags & rst == rst accept")
    for network, verdict in NETWORKS.values():
        lines += [f"ip {direction} {network}.0/24 ct state invalid {verdict}" for direction in ("saddr", "daddr")]
    return "\n".join([*lines, "}", "}", ""])


def unplug(row: Row, port: int) -> None:
    """From now on no packet passes between this box and the port of the end that connected to it."""
    nft(f"add element ip boxes unplugged {{ {address(row)} . {port} }}\n")


def nft(script: str) -> None:
    done = subprocess.run(["nft", "-f", "-"], check=False, input=script, text=True, capture_output=True, timeout=20)
    if done.returncode:
        raise Failed(f"nft: {done.stderr.strip().splitlines()[0]}")
