"""Compare two folders as a player would mind: every path, kind, byte, link and executable bit."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from manifests.paths import STATE_FOLDER

READ_SIZE = 1 << 20


def differences(expected: Path, actual: Path) -> Iterator[str]:
    """Yield one line for each difference; nothing if the trees are identical."""
    wanted, found = _entries(expected), _entries(actual)
    for path in sorted(wanted.keys() | found.keys()):
        if path not in found:
            yield f"{path}: missing"
        elif path not in wanted:
            yield f"{path}: should not be there"
        elif wanted[path] != found[path]:
            yield f"{path}: is {found[path]}, should be {wanted[path]}"
        elif wanted[path][0] == "file" and not _same_bytes(expected / path, actual / path):
            yield f"{path}: other bytes"


def size_of(folder: Path) -> int:
    """Return the bytes of all files below ``folder``."""
    return sum(int(entry[1]) for entry in _entries(folder).values() if entry[0] == "file")


def _entries(folder: Path) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for parent, folders, files in os.walk(folder):
        if Path(parent) == folder and STATE_FOLDER in folders:
            folders.remove(STATE_FOLDER)
        for name in [*folders, *files]:
            path = Path(parent, name)
            status = path.lstat()
            relative = path.relative_to(folder).as_posix()
            if stat.S_ISLNK(status.st_mode):
                found[relative] = ("link", str(path.readlink()))
            elif stat.S_ISDIR(status.st_mode):
                found[relative] = ("folder",)
            else:
                is_executable = "executable" if status.st_mode & 0o100 else "plain"
                found[relative] = ("file", str(status.st_size), is_executable)
    return found


def _same_bytes(one: Path, other: Path) -> bool:
    with one.open("rb") as a, other.open("rb") as b:
        while True:
            left, right = a.read(READ_SIZE), b.read(READ_SIZE)
            if left != right:
                return False
            if not left:
                return True
