"""Walk a folder and list what a build of it holds, at the cost of one stat for each file."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kit.errors import InvalidInput
from manifests.assembly import check_entries
from manifests.documents import ENTRY_COUNT_MAX
from manifests.model import Entry, EntryKind
from manifests.paths import PathRules
from packager.ignore_rules import IgnoreRules
from packager.problems import Problems

_AS_EFFECTIVE = os.access in os.supports_effective_ids
"""Ask for the rights the process acts with, where the system can tell."""

_READABLE_BY_ALL = 0o444


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """An entry of the build to be, and how to tell later whether its file is still the same."""

    entry: Entry
    inode: int
    mtime_ns: int
    ctime_ns: int

    def is_same_as(self, status: os.stat_result) -> bool:
        """Tell whether an open file is the one that was scanned, unchanged.

        The time of change of the inode is left out: whoever adds a hard link changes it.
        """
        found = (status.st_size, status.st_mtime_ns, status.st_ino)
        return found == (self.entry.size, self.mtime_ns, self.inode)


def scan(source: Path, ignore: IgnoreRules) -> list[ScannedFile]:
    """Return the files, links and empty folders below ``source``, by path in order of bytes.

    A folder counts as empty if nothing in it is part of the build.

    Raises:
        InvalidInput: There is nothing, or something that no build may hold: the message names
            up to twenty such things.
    """
    problems = Problems(str(source))
    found = list(_walk(source, ignore, problems))
    found.sort(key=_path)  # code points sort as their UTF-8 does
    _check_paths(found, problems)
    problems.raise_any()
    if not found:
        raise InvalidInput(f"{source} holds nothing to publish")
    if len(found) > ENTRY_COUNT_MAX:
        raise InvalidInput(f"{source} holds {len(found)} files; at most {ENTRY_COUNT_MAX}")
    return found


def _walk(source: Path, ignore: IgnoreRules, problems: Problems) -> Iterator[ScannedFile]:
    folders = [""]
    while folders:
        folder = folders.pop()
        is_empty = True
        for found in _listed(source, folder, problems):
            path = f"{folder}/{found.name}" if folder else found.name
            is_folder = found.is_dir(follow_symlinks=False)
            if ignore.ignores_folder(path) if is_folder else ignore.ignores_file(path):
                continue
            is_empty = False
            if is_folder:
                folders.append(path)
                continue
            try:
                yield _scanned(found, path)
            except OSError as error:
                problems.add(f"{path!r}: {error.strerror}")
            except InvalidInput as error:
                problems.add(str(error))
        if is_empty and folder:
            yield ScannedFile(Entry(folder, EntryKind.DIRECTORY), 0, 0, 0)


def _listed(source: Path, folder: str, problems: Problems) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(source / folder) as entries:
            return list(entries)
    except OSError as error:
        problems.add(f"{folder or str(source)!r}: {error.strerror}")
        return []


def _scanned(found: os.DirEntry[str], path: str) -> ScannedFile:
    status = found.stat(follow_symlinks=False)
    mode = status.st_mode
    if stat.S_ISLNK(mode):
        entry = Entry(path, EntryKind.LINK, 0, str(Path(found.path).readlink()))
    elif stat.S_ISREG(mode):
        if mode & _READABLE_BY_ALL != _READABLE_BY_ALL and not os.access(
            found.path, os.R_OK, effective_ids=_AS_EFFECTIVE
        ):
            raise InvalidInput(f"{path!r}: this user may not read it")
        kind = EntryKind.EXECUTABLE if mode & stat.S_IXUSR else EntryKind.FILE
        entry = Entry(path, kind, status.st_size)
    else:
        raise InvalidInput(f"{path!r} is {_kind_name(mode)}: only files, folders and links")
    return ScannedFile(entry, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)


def _check_paths(found: list[ScannedFile], problems: Problems) -> None:
    rules = PathRules()
    for file in found:
        try:
            check_entries(rules, (file.entry,))
        except InvalidInput as error:
            problems.add(str(error))
    for clash in rules.clashes():
        problems.add(clash)


def _kind_name(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "a named pipe"
    if stat.S_ISSOCK(mode):
        return "a socket"
    return "a device"


def _path(file: ScannedFile) -> str:
    return file.entry.path
