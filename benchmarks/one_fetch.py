"""Ten thousand consoles and a new slice: how often an origin is asked, and when all have it.

The origin stands still until every console has asked an edge of two workers that has nothing; then
it goes on. What it was asked is in its log. Consoles that are told to come later do so.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from benchmarks.crowd import Outcome, Task
from benchmarks.load import wait_until_quiet
from benchmarks.staged import Staged, staged
from benchmarks.table import parser, show
from chunks.slices import SLICE_SIZE
from playhead.roles import Role
from tests.polling import eventually_sync

CONSOLES = 10_000
BUILD_SIZE = 8_000_000
WORKERS = 2
PATIENT = [
    "edge.fill_within=120s",
    "edge.client.stall_after=120s",
    "edge.hedge_after_max=0s",
]
"""The origin stands still for longer than one that works ever does."""


def main() -> None:
    """Have them all ask for one slice."""
    options = parser(__doc__)
    options.add_argument("--consoles", type=int, default=CONSOLES)
    options.add_argument("--workers", type=int, default=WORKERS)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as made, staged(Path(made), BUILD_SIZE) as stage:
        flags = [*PATIENT, f"edge.workers={chosen.workers}"]
        with stage.edge("edge", *flags) as edge:
            row = _measure(stage, edge, chosen.consoles)
    head = ["consoles", "fetches of the slice", "origin bytes a byte of it"]
    head += ["told to come later", "half had it after", "all after", "edge memory, peak"]
    show("one_fetch", "python -m benchmarks.one_fetch", [head, row], save=chosen.save)


def _measure(stage: Staged, edge: Role, consoles: int) -> list[str]:
    [path, *_] = stage.slices()
    where = urlsplit(edge.url)
    assert where.hostname is not None
    assert where.port is not None
    eventually_sync(lambda: b"workers.ready" in (stage.scratch / "edge.log").read_bytes())
    requests = [stage.request(path, lease=lease) for lease in stage.leases(consoles)]
    task = Task(where.hostname, where.port, requests, SLICE_SIZE)
    pids = [edge.pid, *children(edge.pid)]
    os.kill(stage.origin_pid, signal.SIGSTOP)
    try:
        words = [sys.executable, "-m", "benchmarks.crowd"]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(msgspec.json.encode(task))
            child.stdin.close()
            assert child.stdout.readline() == b"sent\n"
            wait_until_quiet(pids)
            went_on = time.monotonic()
            os.kill(stage.origin_pid, signal.SIGCONT)
            outcome = msgspec.json.decode(child.stdout.readline(), type=Outcome)
    finally:
        os.kill(stage.origin_pid, signal.SIGCONT)
    if outcome.whole != consoles:
        raise RuntimeError(f"{outcome.whole} of {consoles} have it: {outcome}")
    asked = _asked(stage.scratch / "origin.log")
    return [
        f"{consoles:,}",
        str(asked[path][0]),
        f"{asked[path][1] / SLICE_SIZE:.3f}",
        f"{outcome.told_later:,}",
        f"{outcome.half_at_s - went_on:.2f} s",
        f"{outcome.last_at_s - went_on:.2f} s",
        f"{sum(map(_peak, pids)) / 1e6:.0f} MB",
    ]


def _asked(log: Path) -> dict[str, tuple[int, int]]:
    """Return how often the origin was asked for each path, and the bytes it sent."""
    counts, sizes = Counter[str](), Counter[str]()
    for line in log.read_text().splitlines():
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("event") == "request.served":
            counts[event["path"]] += 1
            sizes[event["path"]] += event["sent_bytes"]
    return {path: (count, sizes[path]) for path, count in counts.items()}


def children(pid: int) -> list[int]:
    """Return the processes that ``pid`` started, the first first."""
    tasks = Path(f"/proc/{pid}/task")
    return [
        int(each) for task in tasks.iterdir() for each in (task / "children").read_text().split()
    ]


def _peak(pid: int) -> int:
    """Return the most memory a process held, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [line] = [line for line in lines if line.startswith("VmHWM")]
    return int(line.split()[1]) << 10


if __name__ == "__main__":
    main()
