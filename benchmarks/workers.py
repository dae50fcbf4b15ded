"""One worker and two: what a request costs each, whether both have as much, and what they bring.

Two workers are worth two cores if a request costs no more by two than by one, and if the kernel
gives both as many connections. Throughput says it only where there are cores for the load besides.
"""

from __future__ import annotations

import re
import statistics
import tempfile
import urllib.request
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import Load, cpu_s, has_wrk, load
from benchmarks.one_fetch import children
from benchmarks.staged import Staged, staged
from benchmarks.table import parser, show
from kit.concurrency import core_count
from manifests.lease import HEADER
from playhead.roles import Role
from tests.polling import eventually_sync

BUILD_SIZE = 64_000_000
CONNECTIONS = 128
"""The kernel spreads them by chance: of 64 one worker easily has 40."""
FILLING_CONNECTIONS = 16
"""A player that asks for very much that is not there is put off."""
GATE = 1.8


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: what it brought, what each worker used of the processor, and hops between them."""

    load: Load
    cpu_s: list[float]
    hops: float

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
    return Measured(brought, used, _hops(edge) - hops)


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
            alone = found[name, 1]
            worth = 2 * statistics.median(
                one.load.cpu_s_per_gb / two.load.cpu_s_per_gb
                for one, two in zip(alone, runs, strict=True)
            )
            # Both stand still together at the latest when the busier one can do no more.
            worth *= min(1.0, 0.5 / (1 - share))
            verdict = "kept" if worth >= GATE else "missed"
            notes.append(
                f"{name}: two workers on cores of their own are worth {worth:.2f} of one, by what"
                f" a gigabyte costs and how even they are loaded; at least {GATE}: {verdict}"
            )
    cores = core_count()
    if cores < 4:
        notes.append(
            f"{cores} cores, of which the load takes one: MB/s of two workers is what is left"
        )
    return sorted(rows[:1]) + sorted(rows[1:]), notes


if __name__ == "__main__":
    main()
