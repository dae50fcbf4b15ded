"""What others would have a player download for the same update, each with its own command.

All get the same bytes in the same order: both trees as tar files without times and owners, sorted
by path; or, per file, the files that changed against those of the same path, with all new files
as one tar packed by ``zstd -19``. Every patch is applied again and must give the new bytes.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import msgspec

from benchmarks.costs import Costs, TooSlowError

BSDIFF_SIZE_MAX = 64 << 20
"""bsdiff needs 17 times the old file, and minutes for every 100 MB."""
HDIFFZ_MEMORY_FACTOR = 7
"""hdiffz needs about six times the old build; Python holds both once more."""
XDELTA_WINDOW_MIN, XDELTA_WINDOW_MAX = 64 << 20, 2047 << 20
XDELTA_STEP = 64 << 20


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """What a peer made of a pair; None where it was not measured, and ``note`` says why."""

    size: int | None = None
    """The bytes to download."""
    make_cpu_s: float | None = None
    apply_cpu_s: float | None = None
    peak_rss_bytes: int | None = None
    """Of the making."""
    note: str = ""


class SkippedError(Exception):
    """A peer is not run on this pair; the message says why."""


@dataclass
class Bench:
    """A pair on the bench: its trees, their tars, and what peers' programs have cost so far."""

    old: Path
    new: Path
    scratch: Path
    making: Costs = field(default_factory=Costs)
    applying: Costs = field(default_factory=Costs)

    @cached_property
    def old_tar(self) -> Path:
        """The old tree as one file."""
        return write_tar(self.old, files_of(self.old), self.scratch / "old.tar")

    @cached_property
    def new_tar(self) -> Path:
        """The new tree as one file."""
        return write_tar(self.new, files_of(self.new), self.scratch / "new.tar")

    @cached_property
    def changed(self) -> list[str]:
        """Paths that both trees have, with other bytes."""
        return [path for path in self._shared if not same_bytes(self.old / path, self.new / path)]

    @cached_property
    def new_files_tar(self) -> Path:
        """The files whose path is new, as one file."""
        paths = [path for path in files_of(self.new) if path not in set(self._shared)]
        return write_tar(self.new, paths, self.scratch / "new-files.tar")

    @cached_property
    def _shared(self) -> list[str]:
        before = set(files_of(self.old))
        return [path for path in files_of(self.new) if path in before]


@dataclass(frozen=True, slots=True)
class Peer:
    """One way of others: its name, the command as a reader would type it, and how to measure it."""

    name: str
    command: str
    tool: str
    measure: Callable[[Bench], int]
    """Return the bytes to download; raises ``SkippedError``."""

    def figure(self, bench: Bench) -> Figure:
        """Measure it, or say why not."""
        if self.tool and shutil.which(self.tool) is None:
            return Figure(note=f"{self.tool} is not installed")
        bench.making, bench.applying = Costs(), Costs()
        with tempfile.TemporaryDirectory(dir=bench.scratch) as work:
            mine = Bench(bench.old, bench.new, Path(work), bench.making, bench.applying)
            mine.__dict__.update(_made(bench))
            try:
                size = self.measure(mine)
            except (SkippedError, TooSlowError) as reason:
                return Figure(note=f"skipped: {reason}")
        return Figure(
            size=size,
            make_cpu_s=round(bench.making.cpu_s, 1),
            apply_cpu_s=round(bench.applying.cpu_s, 2) or None,
            peak_rss_bytes=bench.making.peak_rss_bytes,
        )


def _made(bench: Bench) -> dict[str, object]:
    names = ("old_tar", "new_tar", "changed", "new_files_tar")
    return {name: getattr(bench, name) for name in names}


def files_of(folder: Path) -> list[str]:
    """Return the paths of all files and links below ``folder``, sorted."""
    paths = (path for path in folder.rglob("*") if path.is_symlink() or path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def write_tar(folder: Path, paths: Iterable[str], out: Path) -> Path:
    """Write ``paths`` as a tar that says nothing of times and owners."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.mtime = member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mode = 0o755 if member.mode & 0o100 else 0o644
        return member

    with tarfile.open(out, "w", format=tarfile.GNU_FORMAT) as tar:
        for path in paths:
            tar.add(folder / path, path, recursive=False, filter=plain)
    return out


def same_bytes(one: Path, other: Path) -> bool:
    """Compare two files, or two links."""
    if one.is_symlink() or other.is_symlink():
        return one.is_symlink() and other.is_symlink() and one.readlink() == other.readlink()
    return filecmp.cmp(one, other, shallow=False)


def _full(bench: Bench) -> int:
    return _packed(bench, bench.new_tar, check=True)


def _patch_from(bench: Bench) -> int:
    patch, out = bench.scratch / "patch", bench.scratch / "out"
    base = f"--patch-from={bench.old_tar}"
    bench.making.run(["zstd", "-q", "-19", "--long=31", base, bench.new_tar, "-o", patch])
    bench.applying.run(["zstd", "-q", "-d", "--long=31", base, patch, "-o", out])
    return _checked(patch, out, bench.new_tar)


def _xdelta(bench: Bench) -> int:
    patch, out = bench.scratch / "patch", bench.scratch / "out"
    window = f"-B{xdelta_window(bench.old_tar.stat().st_size)}"
    words = ["xdelta3", "-q", "-9", window, "-e", "-s"]
    bench.making.run([*words, bench.old_tar, bench.new_tar, patch])
    bench.applying.run(["xdelta3", "-q", window, "-d", "-s", bench.old_tar, patch, out])
    return _checked(patch, out, bench.new_tar)


def xdelta_window(size: int) -> int:
    """Return the window that holds a whole old build of ``size`` bytes."""
    return max(XDELTA_WINDOW_MIN, min(XDELTA_WINDOW_MAX, -(-size // XDELTA_STEP) * XDELTA_STEP))


def _hdiffz_whole(bench: Bench) -> int:
    return _hdiffz(bench, [(bench.old_tar, bench.new_tar)])


def _hdiffz_per_file(bench: Bench) -> int:
    pairs = [(bench.old / path, bench.new / path) for path in bench.changed]
    return _packed(bench, bench.new_files_tar) + _hdiffz(bench, pairs)


def _hdiffz(bench: Bench, pairs: Sequence[tuple[Path, Path]]) -> int:
    _need_memory(max((old.stat().st_size for old, _ in pairs), default=0))
    program = [sys.executable, "-m", "benchmarks.hdiffz"]
    making, applying = bench.scratch / "making", bench.scratch / "applying"
    patches = [bench.scratch / f"{index}.patch" for index in range(len(pairs))]
    outs = [patch.with_suffix(".out") for patch in patches]
    rows = list(zip(pairs, patches, outs, strict=True))
    making.write_text("".join(f"{old}\t{new}\t{patch}\n" for (old, new), patch, _ in rows))
    applying.write_text("".join(f"{old}\t{out}\t{patch}\n" for (old, _), patch, out in rows))
    bench.making.run([*program, "make", making])
    bench.applying.run([*program, "apply", applying])
    return sum(_checked(patch, out, new) for (_, new), patch, out in rows)


def _bsdiff(bench: Bench) -> int:
    for path in bench.changed:
        size = (bench.old / path).stat().st_size
        if size > BSDIFF_SIZE_MAX:
            raise SkippedError(f"{Path(path).name} of {size / 1e6:.0f} MB is too large for it")
    return _per_file(bench, _bsdiff_one)


def _bsdiff_one(bench: Bench, old: Path, new: Path, scratch: Path) -> int:
    patch, out = scratch / "patch", scratch / "out"
    bench.making.run(["bsdiff", old, new, patch])
    bench.applying.run(["bspatch", old, out, patch])
    return _checked(patch, out, new)


def _rdiff(bench: Bench) -> int:
    return _per_file(bench, _rdiff_one)


def _rdiff_one(bench: Bench, old: Path, new: Path, scratch: Path) -> int:
    signature, delta, out = scratch / "signature", scratch / "delta", scratch / "out"
    bench.making.run(["rdiff", "-f", "signature", old, signature])
    bench.making.run(["rdiff", "-f", "delta", signature, new, delta])
    bench.applying.run(["rdiff", "-f", "patch", old, delta, out])
    _checked(delta, out, new)
    return _packed(bench, delta)


def _casync(bench: Bench) -> int:
    stores = {}
    for name, tar in (("old", bench.old_tar), ("new", bench.new_tar)):
        store, index = bench.scratch / f"{name}.castr", bench.scratch / f"{name}.caibx"
        bench.making.run(["casync", f"--store={store}", "make", index, tar])
        stores[name] = {path.name: path.stat().st_size for path in store.rglob("*.cacnk")}
    fetched = stores["new"].keys() - stores["old"].keys()
    index_size = (bench.scratch / "new.caibx").stat().st_size
    return index_size + sum(stores["new"][name] for name in fetched)


def _chunks(kind: str) -> Callable[[Bench], int]:
    def measure(bench: Bench) -> int:
        answer = bench.scratch / "answer"
        program = [sys.executable, "-m", "benchmarks.chunk_stores", kind]
        bench.making.run([*program, bench.old, bench.new], into=answer)
        return int(answer.read_text())

    return measure


def _per_file(bench: Bench, patch: Callable[[Bench, Path, Path, Path], int]) -> int:
    """Sum the patches of what changed, and all new files packed."""
    size = _packed(bench, bench.new_files_tar)
    for path in bench.changed:
        with tempfile.TemporaryDirectory(dir=bench.scratch) as work:
            size += patch(bench, bench.old / path, bench.new / path, Path(work))
    return size


def _packed(bench: Bench, file: Path, *, check: bool = False) -> int:
    with tempfile.TemporaryDirectory(dir=bench.scratch) as work:
        packed, out = Path(work, "packed"), Path(work, "out")
        bench.making.run(["zstd", "-q", "-19", file, "-o", packed])
        if check:
            bench.applying.run(["zstd", "-q", "-d", packed, "-o", out])
            return _checked(packed, out, file)
        return packed.stat().st_size


def _checked(patch: Path, out: Path, wanted: Path) -> int:
    if not filecmp.cmp(out, wanted, shallow=False):
        raise RuntimeError(f"a patch for {wanted.name} gave other bytes")
    out.unlink()
    return patch.stat().st_size


def _need_memory(old_size: int) -> None:
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) << 10
    if old_size * HDIFFZ_MEMORY_FACTOR > free:
        raise SkippedError(
            f"needs {old_size * HDIFFZ_MEMORY_FACTOR / 1e9:.1f} GB of memory,"
            f" {free / 1e9:.1f} GB are free"
        )


PEERS = [
    Peer("full download", "zstd -19 NEW.tar", "zstd", _full),
    Peer(
        "fixed chunks", "1 MiB of each file, those not in OLD, zstd -19 each", "", _chunks("fixed")
    ),
    Peer("casync", "casync make NEW.caibx NEW.tar; new chunks and index", "casync", _casync),
    Peer(
        "our plain chunks", "as cut by a push, those not in OLD, zstd -19 each", "", _chunks("cut")
    ),
    Peer("rdiff, per file", "rdiff signature, delta; zstd -19 of the delta", "rdiff", _rdiff),
    Peer("xdelta3", "xdelta3 -9 -B(size of OLD.tar) -e -s OLD.tar NEW.tar", "xdelta3", _xdelta),
    Peer(
        "zstd --patch-from", "zstd -19 --long=31 --patch-from=OLD.tar NEW.tar", "zstd", _patch_from
    ),
    Peer("bsdiff, per file", "bsdiff OLD NEW", "bsdiff", _bsdiff),
    Peer(
        "hdiffz, per file",
        "hdiffpatch.diff(old, new); the smaller of zstd 19 and lzma2 9",
        "",
        _hdiffz_per_file,
    ),
    Peer(
        "hdiffz, whole",
        "hdiffpatch.diff(OLD.tar, NEW.tar); the smaller of zstd 19 and lzma2 9",
        "",
        _hdiffz_whole,
    ),
]
