"""How fast a folder becomes a release, beside zstd alone at the same level on the same cores.

zstd gets a tar file made beforehand and writes one stream, and finds matches megabytes back. The
push scans, cuts, names and checks as well, writes objects and syncs them to the disk.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.synthetic import write_build
from benchmarks.table import parser, show
from chunks.chunk_id import digest_of
from chunks.chunker import cut
from chunks.codec import LEVEL_QUICK
from kit.clock import SystemClock
from kit.object_storage.local import LocalStorage
from kit.storage_lock import LockSettings
from manifests.names import Channel, TitleId, Version
from packager.ignore_rules import IgnoreRules
from packager.layout import arrange
from packager.push import PushReport, PushRequest, push
from packager.scan import scan
from packager.segments import segments_of
from packager.title_store import TitleStore
from packager.windows import WINDOW_SIZE, CutPart, WindowReader
from packager.writer_lock import WriterLock
from tests.vouchers import Notary

ROUNDS = 5
"""Of each, in turn, so that what else the machine does hits all alike; the median counts."""

TITLE = TitleId("bench")


@dataclass(frozen=True)
class Timed:
    """Seconds that passed, and seconds of all cores."""

    wall_s: float
    cpu_s: float


def main() -> None:
    """Measure and show."""
    options = parser(__doc__)
    options.add_argument("folder", nargs="?", type=Path, help="a build; default: 1 GiB made up")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="packaging-") as scratch:
        folder = chosen.folder or Path(scratch) / "build"
        if chosen.folder is None:
            write_build(folder, 1 << 30, 1000)
        measure(folder, Path(scratch), save=chosen.save)


def measure(folder: Path, scratch: Path, *, save: bool) -> None:
    """Run every case on ``folder`` and show the table."""
    tar = scratch / "build.tar"
    subprocess.run(["tar", "cf", tar, "-C", folder, "."], check=True)
    size = tar.stat().st_size
    cores = len(os.sched_getaffinity(0))
    peer = scratch / "build.tar.zst"
    squeeze = ["zstd", "-q", "-f", f"-{LEVEL_QUICK}", f"-T{cores}", str(tar), "-o", str(peer)]
    alone, pushed, again, named, read = [], [], [], [], []
    for _ in range(ROUNDS):
        alone.append(timed(lambda: subprocess.run(squeeze, check=True)))
        shutil.rmtree(scratch / "out", ignore_errors=True)
        pushed.append(timed(lambda: run_push(folder, scratch / "out")))
        again.append(timed(lambda: run_push(folder, scratch / "out")))
        read.append(timed(lambda: read_cut_and_name(folder)))
        named.append(cut_and_name(tar))
    report = run_push(folder, scratch / "out")
    assert report.read_size == 0
    peer_s = median(run.wall_s for run in alone)

    def row(what: str, runs: list[Timed], stored: int) -> list[str]:
        wall_s = median(run.wall_s for run in runs)
        cpu_s = median(run.cpu_s for run in runs)
        rate = size / wall_s / 1e9
        spread = (max(run.wall_s for run in runs) - min(run.wall_s for run in runs)) / wall_s
        figures = [f"{wall_s:.2f} s", f"{spread:.0%}", f"{cpu_s:.2f} s", f"{rate:.2f} GB/s"]
        return [what, *figures, f"{wall_s / peer_s:.2f}", f"{stored / 1e6:.1f} MB"]

    show(
        "packaging",
        "python -m benchmarks.packaging [FOLDER]",
        [
            ["", "wall", "spread", "CPU", "rate", "ratio to zstd", "stored"],
            row(f"zstd -{LEVEL_QUICK} -T{cores} of a tar", alone, peer.stat().st_size),
            row("push, new build", pushed, report.stored_size),
            row("push again, unchanged", again, report.stored_size),
            row("cut and name in memory, one thread", named, 0),
            row("scan, read, cut and name, one thread", read, 0),
        ],
        save=save,
        notes=[
            f"{report.build_size / 1e6:.0f} MB in {report.entry_count} files; "
            f"peak memory of the pushes {peak_memory() / 1e6:.0f} MB",
            f"median of {ROUNDS} rounds in turn; the push syncs to the disk, zstd does not",
            "chunks are packed apart, so that each can be fetched alone: that costs some size",
        ],
    )


def timed(call: Callable[[], object]) -> Timed:
    """Run ``call``; its children's CPU time counts."""
    before, started_s = os.times(), time.perf_counter()
    call()
    wall_s, after = time.perf_counter() - started_s, os.times()
    return Timed(wall_s, sum(after[:4]) - sum(before[:4]))


def run_push(folder: Path, out: Path, version: str = "1.0") -> PushReport:
    """Push ``folder`` to the directory ``out``, with a real lock."""

    async def pushed() -> PushReport:
        storage, clock = LocalStorage(out / "storage"), SystemClock()
        request = PushRequest(
            source=folder,
            version=Version(version),
            channel=Channel("live"),
            cache_folder=out / "cache",
        )
        lock = WriterLock(storage, TITLE, clock=clock, settings=LockSettings(), command="bench")
        try:
            return await push(
                TitleStore(storage, TITLE), request, lock=lock, clock=clock, voucher=Notary()
            )
        finally:
            await storage.close()

    return asyncio.run(pushed())


def cut_and_name(file: Path) -> Timed:
    """Time what unchanged bytes cost that are in memory already."""
    buffer = bytearray(WINDOW_SIZE)
    wall_s = 0.0
    with file.open("rb") as opened:
        while size := opened.readinto(buffer):
            started_s = time.perf_counter()
            view = memoryview(buffer)[:size]
            name_chunks(view, cut(view, is_last=True))
            wall_s += time.perf_counter() - started_s
    return Timed(wall_s, wall_s)


def read_cut_and_name(folder: Path) -> None:
    """Do all that a push does to a build whose chunks are known but whose files are not."""
    segments = segments_of(arrange(scan(folder, IgnoreRules()), None))
    reader = WindowReader(folder, segments, lambda _: None)
    buffer = bytearray(WINDOW_SIZE)
    while window := reader.fill(buffer):
        for part in window.parts:
            assert isinstance(part, CutPart)
            name_chunks(memoryview(buffer)[part.start :], part.sizes)


def name_chunks(view: memoryview, sizes: Sequence[int]) -> None:
    """Hash chunks that lie end to end."""
    start = 0
    for size in sizes:
        digest_of(view[start : start + size])
        start += size


def peak_memory() -> int:
    """Return the most bytes this process ever held."""
    (line,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(line) * 1024


if __name__ == "__main__":
    main()
