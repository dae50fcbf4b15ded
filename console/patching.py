"""Carry out a script: take old files, patch them batch by batch, check what came of it.

A crash between any two steps is survived: what a batch overwrites and someone still reads was
saved before, durably, so a batch that was begun can be done again from its start.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from chunks.chunk_id import CHUNK_ID_SIZE, digest_of
from console.durable import write_all, write_all_at
from console.installed import Installed, entries_of, stamp_of
from console.installer import Owned, Target, commit
from console.journal import Applied, Carried, Intent, Journal, Taken
from console.safe_paths import Folder, file_mode
from console.script import Batch, Check, File, Part, Patched, Script, Take, read_script
from console.seeds import read_exactly
from kit.buffers import Buffer
from kit.errors import Conflict
from manifests.model import ChunkTable

_STEP_SIZE = 1 << 20
"""Bytes held in memory at a time."""

_OPEN_FILES_MAX = 64


class PatchDisk(Protocol):
    """The files of a script, by index into :attr:`Script.files`. Every method may crash midway."""

    def read(self, part: Part) -> Buffer | None:
        """Return the bytes of a part; None if they are not there."""

    def write(self, target: Part, content: Buffer) -> None:
        """Write at the target; not durable before :meth:`sync`."""

    def sync(self, files: Iterable[int]) -> None:
        """Make what was written to these files durable."""

    def is_saved(self, file: int) -> bool:
        """Return whether :meth:`save` has made a file."""

    def save(self, file: int, parts: Sequence[Part]) -> None:
        """Copy parts, one after another, to a new file: durable and whole, or not there at all."""

    def shrink(self, kept: Iterable[Part]) -> None:
        """Cut files off behind what is kept of them; those that are gone are skipped."""

    def drop(self, files: Iterable[int]) -> None:
        """Remove files; those that are gone are skipped."""


class Progress(Protocol):
    """Remembers how far a script was carried out."""

    def append(self, record: Taken | Applied) -> None:
        """Add a record; durable when this returns."""


def apply_batches(script: Script, disk: PatchDisk, journal: Progress, done: int) -> None:
    """Do all batches but the first ``done``, of which nothing is left to do but removing files."""
    for batch in script.batches[:done]:
        _give_back(batch, disk)
    for number, batch in enumerate(script.batches[done:], start=done):
        for saved in batch.saved:
            if not disk.is_saved(saved.file):
                disk.save(saved.file, saved.parts)
        _move(batch, disk)
        disk.sync({move.target.file for move in batch.moves})
        journal.append(Applied(batches=number + 1))
        _give_back(batch, disk)


def carry_out(
    script: Script,
    top: Folder,
    staging: Folder,
    *,
    chunks: ChunkTable,
    journal: Journal,
    carried: Carried,
) -> tuple[tuple[int, int], ...]:
    """Do what ``carried`` says is not done yet; afterwards every taken file is as it should be.

    Returns the entries of which that could not be proved: they are to be mended.
    """
    if not carried.is_taken:
        taken = Taken(unsound=_take(script, top, staging))
        journal.append(taken)
        carried = Carried(is_taken=True, unsound=taken.unsound)
    if carried.batches > len(script.batches) or not script.patched:
        return carried.unsound
    disk = FolderDisk(script.files, top, staging)
    try:
        apply_batches(script, disk, journal, carried.batches)
        for patched in script.patched:
            _finish(patched, staging)
        unsound = tuple(sorted({*carried.unsound, *_unsound(script, disk, chunks)}))
    finally:
        disk.close()
    journal.append(Applied(batches=len(script.batches) + 1, unsound=unsound))
    return unsound


def commit_by_script(
    top: Folder,
    staging: Folder,
    target: Target,
    intent: Intent,
    old: Owned | None,
    *,
    journal: Journal,
    carried: Carried | None = None,
) -> Installed:
    """Carry out the script of ``intent``, if it has one, then commit; as often as need be.

    ``carried`` is what the journal says of an earlier attempt.
    """
    unsound: tuple[tuple[int, int], ...] = ()
    script = read_script(staging) if intent.has_script else None
    if intent.has_script and script is None:
        # Damaged. What came of the files nobody knows, so all of them are to be looked at.
        entries = entries_of(target.build, intent.groups)
        unsound = tuple((group, index) for group, index, _ in entries)
    elif script is not None:
        unsound = carry_out(
            script,
            top,
            staging,
            chunks=target.build.chunks,
            journal=journal,
            carried=carried or Carried(),
        )
    return commit(top, staging, target, intent, old, unsound=unsound)


class FolderDisk:
    """The files in the title's folder and in staging. Belongs to one thread; to be closed."""

    def __init__(self, files: Sequence[File], top: Folder, staging: Folder) -> None:
        self._files = files
        self._top = top
        self._staging = staging
        self._open: dict[int, int] = {}
        self._reading: tuple[int, int] | None = None

    def read(self, part: Part) -> Buffer | None:
        """Return the bytes of a part; None if they are not there."""
        fd = self._opened(part.file)
        found = memoryview(bytearray(part.size))
        return found if fd is not None and read_exactly(fd, found, part.offset) else None

    def write(self, target: Part, content: Buffer) -> None:
        """Write at the target; not durable before :meth:`sync`."""
        fd = self._writable(target.file)
        if fd is not None:
            write_all_at(fd, content, target.offset)

    def sync(self, files: Iterable[int]) -> None:
        """Make what was written to these files durable."""
        for file in files:
            fd = self._writable(file)
            if fd is not None:
                os.fsync(fd)

    def is_saved(self, file: int) -> bool:
        """Return whether :meth:`save` has made a file."""
        return self._staging.status(self._files[file].path) is not None

    def save(self, file: int, parts: Sequence[Part]) -> None:
        """Copy parts, one after another, to a new file: durable and whole, or not there at all."""
        name = self._files[file].path
        scratch = f"{name}.new"
        self._staging.remove_file(scratch)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(scratch, flags, 0o600, dir_fd=self._staging.fd)
        try:
            for step in _steps(parts):
                # What is not there any more keeps its length: the check at the end finds it.
                write_all(fd, self.read(step) or bytes(step.size))
            os.fsync(fd)
        finally:
            os.close(fd)
        self._staging.take_in(self._staging, scratch, name)
        self._staging.sync()

    def shrink(self, kept: Iterable[Part]) -> None:
        """Cut files off behind what is kept of them; those that are gone are skipped."""
        for part in kept:
            name = self._files[part.file].path
            found = self._staging.status(name)
            if found is None or not stat.S_ISREG(found.st_mode) or found.st_size <= part.end:
                continue
            flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(name, flags, dir_fd=self._staging.fd)
            try:
                os.ftruncate(fd, part.end)
            finally:
                os.close(fd)

    def drop(self, files: Iterable[int]) -> None:
        """Remove files; those that are gone are skipped."""
        for file in files:
            if self._reading is not None and self._reading[0] == file:
                self._close_reading()
            self._staging.remove_file(self._files[file].path)

    def close(self) -> None:
        """Close the files."""
        self._close_reading()
        while self._open:
            os.close(self._open.popitem()[1])

    def _opened(self, index: int) -> int | None:
        """Return a descriptor for reading; of files that are only read one is held at a time."""
        if index in self._open:
            return self._open[index]
        if self._reading is None or self._reading[0] != index:
            self._close_reading()
            file = self._files[index]
            fd = (self._staging if file.is_staged else self._top).open_file(file.path)
            if fd is None:
                return None
            self._reading = (index, fd)
        return self._reading[1]

    def _close_reading(self) -> None:
        if self._reading is not None:
            os.close(self._reading[1])
            self._reading = None

    def _writable(self, index: int) -> int | None:
        """Return a descriptor for writing; None if what was taken is gone or no file."""
        if index not in self._open:
            path = self._files[index].path
            found = self._staging.status(path)
            if found is None or not stat.S_ISREG(found.st_mode):
                return None
            if len(self._open) >= _OPEN_FILES_MAX:
                os.close(self._open.pop(next(iter(self._open))))
            flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
            self._open[index] = os.open(path, flags, dir_fd=self._staging.fd)
        return self._open[index]


def _take(script: Script, top: Folder, staging: Folder) -> tuple[tuple[int, int], ...]:
    """Bring old files to staging; return the entries whose file is not what was looked at."""
    for take in script.takes:
        if staging.status(take.name) is None:
            _rename(top, take, staging)
    for patched in script.patched:
        _make_writable(patched, staging)
    staging.sync()
    for path in {take.path.rpartition("/")[0] for take in script.takes}:
        with contextlib.suppress(Conflict, FileNotFoundError):
            top.sync(path)
    return tuple(
        (take.group, take.index) for take in script.takes if _stamp(staging, take) != take.stamp
    )


def _rename(top: Folder, take: Take, staging: Folder) -> None:
    folder, _, name = take.path.rpartition("/")
    with contextlib.suppress(Conflict, FileNotFoundError), top.inside(folder) as source:
        staging.take_in(source, name, take.name)


def _stamp(staging: Folder, take: Take) -> tuple[int, int] | None:
    found = staging.status(take.name)
    return None if found is None else stamp_of(found)


def _make_writable(patched: Patched, staging: Folder) -> None:
    fd = staging.open_file(patched.name)
    if fd is not None:
        try:
            os.fchmod(fd, file_mode(is_executable=patched.is_executable) | 0o600)
        finally:
            os.close(fd)


def _move(batch: Batch, disk: PatchDisk) -> None:
    for move in batch.moves:
        at = move.target.offset
        for source in move.sources:
            content = disk.read(source)
            if content is not None:
                disk.write(Part(move.target.file, at, source.size), content)
            at += source.size


def _give_back(batch: Batch, disk: PatchDisk) -> None:
    """Free the room of what is not needed once a batch is durable."""
    disk.shrink(batch.shrinks)
    disk.drop(batch.drops)


def _finish(patched: Patched, staging: Folder) -> None:
    """Give a patched file its size, if it was not put in place already."""
    fd = staging.open_file(patched.name)
    if fd is None:
        return
    os.close(fd)
    fd = os.open(patched.name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=staging.fd)
    try:
        os.ftruncate(fd, patched.size)
        os.fsync(fd)
    finally:
        os.close(fd)


def _unsound(script: Script, disk: PatchDisk, chunks: ChunkTable) -> Iterator[tuple[int, int]]:
    for check in script.checks:
        if not _holds(check, disk, chunks):
            yield check.group, check.index


def _holds(check: Check, disk: PatchDisk, chunks: ChunkTable) -> bool:
    found = disk.read(check.place)
    return found is not None and digest_of(found)[:CHUNK_ID_SIZE] == chunks.chunk_id(check.row)


def _steps(parts: Sequence[Part]) -> Iterator[Part]:
    for part in parts:
        for at in range(part.offset, part.end, _STEP_SIZE):
            yield Part(part.file, at, min(_STEP_SIZE, part.end - at))
