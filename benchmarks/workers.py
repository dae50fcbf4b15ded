"""One worker and two: what they bring, what a request costs each, and whether both have as much.

So that two cores are enough to tell, a worker has three tenths of a core, alone or not; what loads
them has the rest. Without the rights to hold a process to that, throughput tells nothing here.
"""

from __future__ import annotations

import re
import statistics
import tempfile
import urllib.request
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.core_share import core_share
from benchmarks.load import Load, cpu_s, has_wrk, load
from benchmarks.one_fetch import children
from benchmarks.staged import Staged, staged
from benchmarks.table import parser, show
from manifests.lease import HEADER
from playhead.roles import Role
from tests.polling import eventually_sync

BUILD_SIZE = 64_000_000
CONNECTIONS = 128
"""The kernel spreads them by chance: of 64 one worker easily has 40."""
FILLING_CONNECTIONS = 16
"""A player that asks for very much that is not there is put off."""
GATE = 1.8
SHARE = 0.3
"""Of a core, for each worker."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: what it brought, what each worker used of the processor, and hops between them."""

    load: Load
    cpu_s: list[float]
    hops: float
    is_held: bool
    """Whether each worker had its share of a core and no more."""

    @property
    def least_share(self) -> float:
        """Of the work, what the worker with the least had."""
        return min(self.cpu_s) / sum(self.cpu_s)


def main() -> None:
    """Load an edge of one worker and one of two, in turn."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=int, default=3)
    chosen = options.parse_args()
    if not has_wrk():
        raise SystemExit("this benchmark needs wrk: apt-get install wrk")
    found: dict[tuple[str, int], list[Measured]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as made, staged(Path(made), BUILD_SIZE) as stage:
        kinds = {
            "64 KiB": stage.spans(64 << 10, every=16),
            "1 MiB": [(path, "") for path in stage.slices()],
        }
        for number in range(chosen.rounds):
            for workers in (1, 2):
                with stage.edge(f"{workers}-{number}", f"edge.workers={workers}") as edge:
                    _until_ready(stage.scratch / f"{workers}-{number}.log")
                    for name, asked in kinds.items():
                        _measure(stage, edge, asked, 1, FILLING_CONNECTIONS)
                        found[name, workers].append(_measure(stage, edge, asked, chosen.seconds))
    rows, notes = _table(found)
    show("workers", "python -m benchmarks.workers", rows, save=chosen.save, notes=notes)


def _until_ready(log: Path) -> None:
    eventually_sync(lambda: b"workers.ready" in log.read_bytes())


def _measure(
    stage: Staged,
    edge: Role,
    asked: list[tuple[str, str]],
    seconds: int,
    connections: int = CONNECTIONS,
) -> Measured:
    pids = children(edge.pid)
    with ExitStack() as stack:
        held = [stack.enter_context(core_share([pid], 0, SHARE)) for pid in pids]
        before, hops = [cpu_s([pid]) for pid in pids], _hops(edge)
        brought = load(
            edge.url,
            asked,
            pids,
            header=(HEADER, stage.lease),
            seconds=seconds,
            connections=connections,
            scratch=stage.scratch,
        )
        used = [cpu_s([pid]) - was for pid, was in zip(pids, before, strict=True)]
    return Measured(brought, used, _hops(edge) - hops, all(held))


def _hops(edge: Role) -> float:
    """Return how often workers asked each other so far."""
    with urllib.request.urlopen(edge.url + "/metrics") as reply:
        page = reply.read().decode()
    samples = re.findall(r"^playhead_edge_sibling_fetches_total\{[^}]*\} (\S+)", page, re.M)
    return sum(map(float, samples))


def _table(
    found: dict[tuple[str, int], list[Measured]],
) -> tuple[list[list[str]], list[str]]:
    rows = [["workers", "CPU s/GB", "MB/s", "least of both has", "asked of each other"]]
    notes = []
    for (name, workers), runs in found.items():
        cost = statistics.median(each.load.cpu_s_per_gb for each in runs)
        speed = statistics.median(each.load.size / each.load.seconds / 1e6 for each in runs)
        share = statistics.median(each.least_share for each in runs)
        told = f"{share:.0%}" if workers > 1 else "-"
        hops = f"{max(each.hops for each in runs):.0f}"
        rows.append([f"{name}, {workers}", f"{cost:.3f}", f"{speed:.0f}", told, hops])
        if workers > 1:
            worth = statistics.median(
                two.load.size / two.load.seconds / (one.load.size / one.load.seconds)
                for one, two in zip(found[name, 1], runs, strict=True)
            )
            verdict = "kept" if worth >= GATE else "missed"
            notes.append(
                f"{name}: two workers bring {worth:.2f} times as much as one; at least {GATE}:"
                f" {verdict}"
            )
            if not all(each.is_held for each in runs):
                notes.append(f"{name}: not so, a worker could not be held to {SHARE} of a core")
    return sorted(rows[:1]) + sorted(rows[1:]), notes


if __name__ == "__main__":
    main()
