"""What the choices in making deltas are worth: how much together, which packer, which search.

Publishes two builds to a folder, finds where new chunks come from, and encodes the same runs in
several ways. Only sizes and time of encoding are compared; nothing is kept.
"""

from __future__ import annotations

import asyncio
import lzma
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import bsdiff4.core
import hdiffpatch

from benchmarks.packaging import TITLE, run_push
from benchmarks.table import parser, show
from chunks.delta import BASE_SIZE_MAX, TARGET_SIZE_MAX, Effort, make_delta
from kit.object_storage.local import LocalStorage
from manifests.changes import missing_rows
from packager.chunk_source import ChunkSource
from packager.delta_runs import Limits, Run, runs_within
from packager.delta_sources import Sources, find_sources
from packager.title_store import TitleStore

MIB = 1 << 20
SAMPLE = 4
"""Of what takes long every so many runs are encoded, and the same ones in the way beside it."""

Encode = Callable[[bytes, bytes], int]
"""Takes base and target, returns the size of a delta."""


@dataclass(frozen=True)
class Builds:
    """Two published builds, and where the new one's chunks may come from."""

    old: ChunkSource
    new: ChunkSource
    sources: Sequence[Sources]

    def runs(self, size: int, base_size: int) -> list[Run]:
        """Return what deltas of at most ``size`` bytes would make."""
        based = [each for each in self.sources if each.old_rows]
        return list(runs_within(self.old, self.new, based, Limits(size, base_size)))


def main() -> None:
    """Measure and show."""
    options = parser(__doc__)
    options.add_argument("old", type=Path, help="a build")
    options.add_argument("new", type=Path, help="the build after it")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="choices-") as scratch:
        out = Path(scratch)
        run_push(chosen.old, out, "1")
        run_push(chosen.new, out, "2")
        asyncio.run(measure(out, chosen.old, chosen.new, save=chosen.save))


async def measure(out: Path, old: Path, new: Path, *, save: bool) -> None:
    """Encode in every way and show the table."""
    storage, threads = LocalStorage(out / "storage"), ThreadPoolExecutor(2)
    store = TitleStore(storage, TITLE)
    first, second = [await store.build(r.root) for r in await store.releases()]
    of_old, of_new = ChunkSource(store, first, threads), ChunkSource(store, second, threads)
    rows = missing_rows(second, first.row_of.__contains__).tolist()
    builds = Builds(of_old, of_new, await find_sources(of_old, of_new, rows, threads))
    table = [["deltas make up to", "packed by", "runs", "size", "beside LZMA2 outside", "CPU"]]
    for size in (4, 8, 16, 32):
        runs = builds.runs(size * MIB, size * MIB * 3 // 2)
        table.append(await row(builds, runs, f"{size} MiB", "LZMA2 outside", unforeseen))
    runs = builds.runs(TARGET_SIZE_MAX, BASE_SIZE_MAX)
    ways = (
        ("ours: addresses foreseen", ours),
        ("zstd 19 inside", inside_with(hdiffpatch.ZStdConfig(level=19))),
        ("zstd 22 inside", inside_with(hdiffpatch.ZStdConfig(level=22))),
        ("LZMA2 inside", inside_with(hdiffpatch.Lzma2Config(level=9))),
        ("LZMA2 outside, x86 filter before", filtered),
        ("zstd 3, old bytes as prefix (in haste)", in_haste),
    )
    for name, encode in ways:
        table.append(await row(builds, runs, "16 MiB", name, encode))
    whole_old = await of_old.read(range(len(of_old.sizes)))
    some = runs[::SAMPLE]
    table.append(
        await row(
            builds,
            some,
            "16 MiB",
            "LZMA2 outside, whole old build as base",
            against(whole_old),
        )
    )
    table.append(await row(builds, some[:1], "16 MiB", "bsdiff, LZMA2 outside", bsdiff))
    show(
        "delta_choices",
        "python -m benchmarks.delta_choices OLD NEW",
        table,
        save=save,
        notes=[
            f"{old.name} to {new.name}: {sum(of_new.sizes[r] for r in rows) / 1e6:.1f} MB of new"
            " chunks",
            "LZMA2 outside: what HDiffPatch finds, windows as bases, LZMA2 over the whole"
            " difference; ours foresees addresses besides",
            f"the whole old build is tried on every {SAMPLE}th run, bsdiff on the first",
        ],
    )
    threads.shutdown()
    await storage.close()


async def row(
    builds: Builds, runs: Iterable[Run], limit: str, name: str, encode: Encode
) -> list[str]:
    """Encode ``runs`` by ``encode``, and by what all ways are held against."""
    size = other_size = count = 0
    cpu_s = 0.0
    for run in runs:
        base, target = await builds.old.read(run.old_rows), await builds.new.read(run.rows)
        started_s = time.thread_time()
        size += encode(base, target)
        cpu_s += time.thread_time() - started_s
        other_size += 0 if encode is unforeseen else unforeseen(base, target)
        count += 1
    beside = "" if encode is unforeseen else f"{size / other_size - 1:+.1%}"
    return [limit, name, str(count), f"{size / 1e6:.3f} MB", beside, f"{cpu_s:.1f} s"]


def ours(base: bytes, target: bytes) -> int:
    """What is made when there is time."""
    return len(make_delta(target, base, Effort.BEST).payload)


def unforeseen(base: bytes, target: bytes) -> int:
    """HDiffPatch without compression, packed as a whole."""
    return packed_size(hdiffpatch.diff(base, target, None, validate=False))


def inside_with(config: hdiffpatch.BaseConfig) -> Encode:
    """HDiffPatch with a compressor of its own."""
    return lambda base, target: len(hdiffpatch.diff(base, target, config, validate=False))


def against(whole: bytes) -> Encode:
    """HDiffPatch, whatever the base, with another one."""
    return lambda _base, target: unforeseen(whole, target)


def filtered(base: bytes, target: bytes) -> int:
    """HDiffPatch, with jumps and calls made absolute on both sides first."""
    return unforeseen(_absolute(base), _absolute(target))


def in_haste(base: bytes, target: bytes) -> int:
    """What is made when there is no time left."""
    return len(make_delta(target, base, Effort.QUICK).payload)


def bsdiff(base: bytes, target: bytes) -> int:
    """Search as bsdiff does."""
    return packed_size(b"".join(bsdiff4.core.diff(base, target)))


def packed_size(plain: bytes) -> int:
    """Return what ``plain`` takes packed as deltas are."""
    options = {"dict_size": 8 * MIB, "lc": 3, "lp": 0, "pb": 0}
    lzma2 = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, **options}
    return len(lzma.compress(plain, lzma.FORMAT_RAW, filters=[lzma2]))


def _absolute(code: bytes) -> bytes:
    chain = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "preset": 0}]
    packed = lzma.compress(code, lzma.FORMAT_RAW, filters=chain)
    return lzma.decompress(packed, lzma.FORMAT_RAW, filters=chain[1:])


if __name__ == "__main__":
    main()
