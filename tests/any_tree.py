"""Arbitrary small trees and arbitrary edits of them, for property tests."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hypothesis import strategies as st

NAMES = ["a", "b", "c", "d"]

paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)
sizes = st.sampled_from([0, 1, 10, 3_000, 70_000, 300_000])
kinds = st.sampled_from("ffffffxld")
steps = st.lists(st.tuples(paths, kinds, sizes, st.integers(0, 3)), max_size=12)


def build_tree(folder: Path, made: Sequence[tuple[str, str, int, int]]) -> None:
    """Do what the steps say, one after another; a later one overrules an earlier one."""
    folder.mkdir(exist_ok=True)
    for path, kind, size, seed in made:
        place = folder / path
        if any(p.is_symlink() or p.is_file() for p in place.parents if p != folder):
            continue
        _clear(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        if kind == "d":
            place.mkdir()
        elif kind == "l":
            place.symlink_to(f"target-of-{seed}")
        else:
            place.write_bytes(random.Random(seed).randbytes(size))
            place.chmod(0o755 if kind == "x" else 0o644)
    if not any(folder.iterdir()):
        (folder / "only").write_bytes(b"something")


def edit_tree(folder: Path, edits: Sequence[tuple[str, int, bytes]]) -> None:
    """Insert bytes into files, or delete them if there is nothing to insert."""
    for path, at, inserted in edits:
        place = folder / path
        if not place.is_file() or place.is_symlink():
            continue
        if not inserted:
            place.unlink()
            continue
        content = place.read_bytes()
        cut = at % (len(content) + 1)
        place.write_bytes(content[:cut] + inserted + content[cut:])
    if not any(folder.iterdir()):
        (folder / "only").write_bytes(b"something else")


def _clear(place: Path) -> None:
    if place.is_symlink() or place.is_file():
        place.unlink()
    elif place.is_dir():
        shutil.rmtree(place)


edits = st.lists(st.tuples(paths, st.integers(0, 10**6), st.binary(max_size=40)), max_size=8)


@contextmanager
def scratch() -> Iterator[Path]:
    # In memory where there is such a place: these tests are about order, not about disks.
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as folder:
        yield Path(folder)


def groups_by_first_letter(path: str) -> str:
    return "launch" if path.startswith("a") else f"group-{path[0]}"
