"""train.py BINARY PROGRAMS SECONDS: runs a longwire under the loads of the comparison, each so long, for a build by profile."""

import os
import sys
import tempfile
from pathlib import Path

from compare import machine
from compare.__main__ import make_certificate
from compare.configs import LONGWIRE
from compare.programs import Broken, Stand
from compare.rows import ROWS, Settings

# Rows that connect, exchange messages, stream, and send plain requests, with and without TLS and with and without the log.
TRAINED = (
    "handshake-1",
    "handshake-16",
    "handshake-16-log",
    "echo-64",
    "fixed-64",
    "pipelined",
    "bulk-64k",
    "bulk-1m",
    "http",
    "http-1",
    "tls-echo",
    "tls-full",
    "tls-resumed",
)


def train(binary: Path, programs: Path, seconds: float) -> None:
    settings = Settings(seconds=seconds, sessions=1000, ping_interval=5, ping_periods=2)
    machine.raise_priority()
    cores = machine.Cores.shared_out()
    os.sched_setaffinity(0, {cores.load, cores.backend})
    with tempfile.TemporaryDirectory(prefix="longwire-pgo-") as folder:
        stand = Stand(Path(folder), programs, binary, cores, patience=30.0)
        make_certificate(stand.folder)
        for row in (row for row in ROWS if row.name in TRAINED):
            try:
                sample = row.measure(stand, LONGWIRE, settings)
                said = f"{sample['errors']} ERRORS" if sample["errors"] else "done"
            except Broken as why:
                # The counts so far remain valid. On a busy machine, a load may end early.
                said = f"CUT SHORT: {why}"
            print(f"{row.name:18} {row.title}: {said}")


if len(sys.argv) != 4:
    sys.exit(__doc__)
train(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
