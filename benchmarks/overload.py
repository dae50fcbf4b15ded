"""What becomes of what can be served in time when twice, and five times, as much is asked for.

Thousands of clients keep a connection each. What is answered when 64 of them at a time ask is the
peak. Then the load is open: requests come by a schedule, not when others were answered, as many
as that, twice and five times as many, of clients that do not wait when they are told to. An
answer counts if it is complete within a second; a client that has none does not ask again.

A machine that does other things besides gives the server now more, now less: so what it answered
in time for each second that it had of the processor is shown beside.

The server has a part of one core and the load the other core, so that five times can
be asked for.
"""

from __future__ import annotations

import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.core_share import core_share
from benchmarks.edge_peers import is_installed, running_nginx
from benchmarks.load import wait_until_quiet
from benchmarks.open_loop import Outcome, Task, run
from benchmarks.staged import TITLE, Staged, staged
from benchmarks.table import parser, show
from playhead.dev_certificates import make_dev_certificate

BUILD_SIZE = 64_000_000
CONNECTIONS = 6_000
TIMES = (1, 2, 5)
GATE = 0.9
SHARE = 0.5
SERVER_CORE, LOAD_CORE = 0, 1


@dataclass(frozen=True, slots=True)
class Kind:
    """What is asked for, and of whom."""

    name: str
    server: str
    requests: list[bytes]


def main() -> None:
    """Load an edge, and nginx where it is installed, with each kind of request."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=4)
    options.add_argument("--kinds", default="", help="only those whose name holds this")
    options.add_argument("--share", type=float, default=SHARE, help="of a core, for the server")
    options.add_argument("--set", action="append", default=[], help="a setting of the edge")
    options.add_argument("--connections", type=int, default=CONNECTIONS)
    chosen = options.parse_args()
    found: dict[tuple[str, str], list[list[Outcome]]] = defaultdict(list)
    has_share = True
    with tempfile.TemporaryDirectory() as made, staged(Path(made), BUILD_SIZE) as stage:
        for kind in _kinds(stage):
            if chosen.kinds not in f"{kind.name} {kind.server}":
                continue
            for _ in range(chosen.rounds):
                # A server of its own each time: what one round did to it is not the next one's.
                with _running(stage, kind, chosen.share, chosen.set) as (url, pids, has_share):
                    outcomes = _round(kind, url, pids, chosen.seconds, chosen.connections)
                found[kind.name, kind.server].append(outcomes)
    rows, notes = _table(found)
    if not has_share:
        notes.append("no rights to share a core: the server had all of it")
    show("overload", "python -m benchmarks.overload", rows, save=chosen.save, notes=notes)


def _kinds(stage: Staged) -> list[Kind]:
    spans = stage.spans(64 << 10, every=16)
    slices = stage.slices()
    wish = b'{"format":1}'
    start = stage.request(f"/t/{TITLE}/h/live/start", method="POST", body=wish)
    kinds = [
        Kind("64 KiB", "edge", [stage.request(path, span) for path, span in spans]),
        Kind("1 MiB", "edge", [stage.request(path) for path in slices]),
        Kind("head", "edge", [stage.request(f"/t/{TITLE}/h/live")]),
        Kind("start call", "edge", [start]),
    ]
    if is_installed("nginx"):
        files = [f"/{index}" for index in range(len(slices))]
        kinds += [
            Kind("64 KiB", "nginx", [stage.request(path, "bytes=0-65535") for path in files]),
            Kind("1 MiB", "nginx", [stage.request(path) for path in files]),
        ]
    return kinds


@contextmanager
def _running(
    stage: Staged, kind: Kind, share: float, settings: list[str]
) -> Iterator[tuple[str, Sequence[int], bool]]:
    """Run who serves ``kind``, with all of it in memory."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=stage.scratch)))
        if kind.server == "nginx":
            files = scratch / "files"
            files.mkdir()
            for index in range(len(stage.slices())):
                (files / str(index)).write_bytes(bytes(1 << 20))
            made = make_dev_certificate(scratch / "tls")
            peer = stack.enter_context(
                running_nginx(scratch / "nginx", files, made.certificate, made.key)
            )
            url, pids = peer.url, peer.pids
        else:
            edge = stack.enter_context(stage.edge(scratch.name, *settings))
            url, pids = edge.url, (edge.pid,)
        _ask(url, kind.requests, pids, connections=8, seconds=1.0)
        yield url, pids, stack.enter_context(core_share(pids, SERVER_CORE, share))


def _round(
    kind: Kind, url: str, pids: Sequence[int], seconds: float, connections: int
) -> list[Outcome]:
    """Return what became of the peak, and of each multiple of it."""
    peak = _ask(url, kind.requests, pids, connections=connections, seconds=seconds)
    outcomes = [peak]
    for times in TIMES:
        rate = times * peak.goodput
        wait_until_quiet(pids)
        outcomes.append(
            _ask(url, kind.requests, pids, connections=connections, seconds=seconds, rate=rate)
        )
        told = outcomes[-1]
        print(
            f"{kind.name}, {kind.server}, {times}x: {told.goodput / peak.goodput:.2f}, by CPU"
            f" {told.good_per_cpu_s / peak.good_per_cpu_s:.2f}, of"
            f" {peak.goodput:.0f}/s, due {told.due}, unsent {told.unsent}, shed {told.shed},"
            f" late {told.late}, failed {told.failed},"
            f" p50 {told.percentile_ms(0.5):.0f} ms, p99 {told.percentile_ms(0.99):.0f} ms",
            flush=True,
        )
    return outcomes


def _ask(
    url: str,
    requests: list[bytes],
    pids: Sequence[int],
    *,
    connections: int,
    seconds: float,
    rate: float = 0.0,
) -> Outcome:
    where = urlsplit(url)
    assert where.hostname is not None
    assert where.port is not None
    task = Task(where.hostname, where.port, requests, connections, seconds, rate, pids=[*pids])
    return run(task, core=LOAD_CORE)


def _table(
    found: dict[tuple[str, str], list[list[Outcome]]],
) -> tuple[list[list[str]], list[str]]:
    head = [
        "answered in time, of the peak; the same for each CPU second",
        "peak, /s",
        *(f"{times}x" for times in TIMES),
    ]
    rows, notes = [head], []
    for (name, server), rounds in found.items():
        peak = statistics.median(outcomes[0].goodput for outcomes in rounds)
        row = [f"{name}, {server}", f"{peak:.0f}"]
        for number, times in enumerate(TIMES, start=1):
            share = statistics.median(each[number].goodput / each[0].goodput for each in rounds)
            shed = statistics.median(each[number].shed / each[number].due for each in rounds)
            p50, p99 = (
                statistics.median(each[number].percentile_ms(point) for each in rounds)
                for point in (0.5, 0.99)
            )
            by_cpu = statistics.median(
                each[number].good_per_cpu_s / each[0].good_per_cpu_s for each in rounds
            )
            row.append(
                f"{share:.2f}, {by_cpu:.2f} (503: {shed:.0%}; p50 {p50:.0f} ms, p99 {p99:.0f} ms)"
            )
            if times > 1 and server == "edge":
                verdict = "kept" if share >= GATE else "missed"
                notes.append(
                    f"gate {name} {times}x: {share:.2f}, at least {GATE}: {verdict};"
                    f" for each second of the processor {by_cpu:.2f}"
                )
        rows.append(row)
    return rows, notes


if __name__ == "__main__":
    main()
