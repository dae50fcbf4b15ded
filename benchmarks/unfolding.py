"""What it buys to look inside archives: deltas between two builds that are packed before they ship.

Packs both builds as several programs do, and makes a delta for every 8 MiB of the new archive from
the same place in the old one, as it is and unfolded. The delta is what zstd at level 3 makes of the
new bytes behind the old ones. What is unfolded pays for its recipes; the smaller of the two counts.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import zstandard

from benchmarks.table import parser, show
from chunks.archives import fold, unfold
from chunks.deflate import Parameters
from chunks.deflate_search import ParameterSearch
from chunks.deflate_streams import DeflateStream, find_streams
from chunks.unfolding import UnfoldingPlan, plan_unfolding, whole_streams

RUN_SIZE = 8 << 20
MARGIN = 1 << 20
CONTEXT_SIZE = 8 << 20
WINDOW_LOG = 27


@dataclass
class Tally:
    """What one archive came to: bytes, and seconds of processor time."""

    size: int = 0
    folded_delta_size: int = 0
    delta_size: int = 0
    unfolded_size: int = 0
    refolded_size: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Add what the block takes."""
        start = time.process_time()
        yield
        self.seconds[what] = self.seconds.get(what, 0.0) + time.process_time() - start

    def speed(self, what: str, size: int) -> str:
        """Return MB/s."""
        seconds = self.seconds.get(what, 0.0)
        return f"{size / 1e6 / seconds:.0f}" if seconds else "-"


def main() -> None:
    """Pack, find, make again, compare."""
    options = parser(__doc__)
    options.add_argument("old", type=Path, help="a build")
    options.add_argument("new", type=Path, help="the build after it")
    chosen = options.parse_args()
    rows = [["packed by", "size", "streams made again", "delta folded", "delta unfolded", "times",
             "find MB/s", "plan MB/s", "unfold MB/s", "fold MB/s"]]  # fmt: skip
    for name, pack in packers().items():
        with tempfile.TemporaryDirectory() as scratch:
            old, new = (
                pack(build, Path(scratch) / f"{index}.zip")
                for index, build in enumerate((chosen.old, chosen.new))
            )
        rows.append([name, *_row(old, new)])
    show(
        "unfolding",
        "python -m benchmarks.unfolding OLD NEW",
        rows,
        save=chosen.save,
        notes=[
            "find and plan: MB of packed bytes; unfold: of unfolded bytes; fold: of streams"
            " inflated. All in processor time of one core.",
            "zip and gzip at the command line have a deflate of their own, which zlib cannot make"
            " again: there nothing is gained, and looking costs its time.",
        ],
    )


def packers() -> dict[str, Callable[[Path, Path], bytes]]:
    """Return each program that packs a folder into the bytes of one archive."""
    packs = {
        "pak of zlib, level 6": lambda build, _: b"".join(
            zlib.compress(path.read_bytes(), 6) for path in _files(build)
        ),
        **{f"zip of zlib, level {level}": _zipped(level) for level in (1, 6, 9)},
    }
    if shutil.which("zip"):
        packs["zip at the command line"] = _zipped_by_command
    return packs


def _files(build: Path) -> list[Path]:
    return sorted(path for path in build.rglob("*") if path.is_file() and not path.is_symlink())


def _zipped(level: int) -> Callable[[Path, Path], bytes]:
    def pack(build: Path, out: Path) -> bytes:
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
            for path in _files(build):
                archive.write(path, path.relative_to(build))
        return out.read_bytes()

    return pack


def _zipped_by_command(build: Path, out: Path) -> bytes:
    names = "\n".join(str(path.relative_to(build)) for path in _files(build))
    subprocess.run(["zip", "-qX6@", out], cwd=build, input=names.encode(), check=True)
    return out.read_bytes()


def _row(old: bytes, new: bytes) -> list[str]:
    tally = Tally(len(new))
    with tally.timed("find"):
        streams = find_streams(new)
    made_size = _made_again(new, streams)
    hints: tuple[Parameters, ...] = ()
    for start in range(0, len(new), RUN_SIZE):
        hints = _delta(old, new, start, hints, tally)
    stream_size = sum(stream.folded_size for stream in streams)
    return [
        f"{len(new) / 1e6:.1f} MB",
        f"{made_size / max(1, stream_size):.1%} of {len(streams)}",
        f"{tally.folded_delta_size / 1e6:.2f} MB",
        f"{tally.delta_size / 1e6:.2f} MB",
        f"{tally.folded_delta_size / tally.delta_size:.1f}",
        tally.speed("find", len(new)),
        tally.speed("plan", len(new)),
        tally.speed("unfold", tally.unfolded_size),
        tally.speed("fold", tally.refolded_size),
    ]


def _made_again(data: bytes, streams: list[DeflateStream]) -> int:
    """Return how many bytes of the streams zlib makes again."""
    search, made_size = ParameterSearch(), 0
    for stream in streams:
        deflated = data[stream.start : stream.end]
        if search.probe(zlib.decompress(deflated, -15), deflated, stream.window_bits):
            made_size += stream.folded_size
    return made_size


def _delta(
    old: bytes, new: bytes, start: int, hints: tuple[Parameters, ...], tally: Tally
) -> tuple[Parameters, ...]:
    """Make one run's delta both ways; return the hints for the next."""
    end = min(start + RUN_SIZE, len(new))
    shift = (len(old) - len(new)) * start // len(new)
    base_start = max(0, min(start, start + shift) - MARGIN)
    base_end = min(len(old), max(end, end + shift) + MARGIN)
    base = old[slice(*whole_streams(old, base_start, base_end))]
    folded_size = _delta_size(base, new[start:end])
    tally.folded_delta_size += folded_size
    before = max(0, start - CONTEXT_SIZE)
    with tally.timed("plan"):
        around = new[before : end + CONTEXT_SIZE]
        plan = plan_unfolding(around, start - before, end - before, base, hints=hints)
    if plan is None:
        tally.delta_size += folded_size
        return hints
    unfolded_size = _unfolded_delta(base, around, plan, tally)
    tally.delta_size += min(folded_size, unfolded_size)
    return plan.hints


def _unfolded_delta(base: bytes, around: bytes, plan: UnfoldingPlan, tally: Tally) -> int:
    with tally.timed("unfold"):
        target = unfold(around[plan.start : plan.end], plan.recipe.folds)
        source = unfold(base, plan.base_folds)
    tally.unfolded_size += len(target) + len(source)
    with tally.timed("fold"):
        folded = fold(target, plan.recipe)
    tally.refolded_size += sum(stream.unfolded_size for stream in plan.recipe.folds.streams)
    wanted_start = plan.start + plan.recipe.head_cut_size
    assert folded == around[wanted_start : wanted_start + plan.recipe.size]
    recipes_size = len(plan.recipe.encode()) + len(plan.base_folds.encode())
    return _delta_size(source, target) + recipes_size


def _delta_size(base: bytes, target: bytes) -> int:
    """Return what the target takes behind the base, in one frame whose window holds both."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        3, window_log=WINDOW_LOG, enable_ldm=True
    )
    frame = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    frame.compress(base)
    frame.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    return len(frame.compress(target)) + len(frame.flush())


if __name__ == "__main__":
    main()
