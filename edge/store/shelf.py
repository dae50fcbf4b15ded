"""One shelf of the segment store, for the worker that owns it: the only one that writes there.

Everything here blocks, and is called by one thread at a time.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from edge.store.segment_paths import write_path
from edge.store.segment_table import LIVE, NewRow, Rows, SegmentTable
from edge.store.segments import (
    Segment,
    data_path,
    paths_path,
    rows_for,
    size_on_disk,
    table_path,
    write_all,
)
from kit.buffers import Buffer
from kit.errors import FormatError, SettingsError
from kit.file_holes import HOLE_SIZE, Punch, punch_hole, size_taken
from kit.telemetry import get_logger

log = get_logger("edge.store")

_TABLE = re.compile(r"(\d{6,})\.index")
_DATA = re.compile(r"(\d{6,})\.data")


@dataclass(frozen=True, slots=True)
class Found:
    """What an earlier run left in one segment: its live rows, and which they are."""

    segment: Segment
    numbers: list[int]
    rows: Rows


@dataclass(slots=True)
class _Held:
    """A segment and what is in it."""

    segment: Segment
    live_count: int = 0
    next_row: int = 0
    end: int = 0
    """Where the next blob goes, in bytes."""
    unfreed: int = 0
    """Dropped bytes that the file still takes."""
    writer: int | None = None


class Shelf:
    """A folder of segments. Open it before use."""

    def __init__(
        self, folder: Path, number: int, *, segment_size: int, punch: Punch = punch_hole
    ) -> None:
        """Have the segments in ``folder``; ``punch`` gives parts of a file back, where it can."""
        self._punch_hole = punch
        self._folder = folder
        self._number = number
        self._segment_size = segment_size
        self._lock: BinaryIO | None = None
        self._held: dict[int, _Held] = {}
        self._current: _Held | None = None
        self._last_number = 0

    def open(self) -> list[Found]:
        """Make the shelf ours, and return what an earlier run left, the oldest first.

        What is of no use any more is deleted: half-written blobs, empty segments, damaged tables.

        Raises:
            SettingsError: The folder cannot be made or read, or another edge works on it.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = open(self._folder / "lock", "ab", opener=_private)  # noqa: SIM115 - kept
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return [found for number in self._numbers() if (found := self._take_up(number))]
        except BlockingIOError as error:
            self.close()
            raise SettingsError(
                f"edge.cache_dir: another edge works on {self._folder}; stop it, or give this one"
                " its own"
            ) from error
        except OSError as error:
            self.close()
            raise SettingsError(
                f"edge.cache_dir: {error.filename or self._folder}: {error.strerror}"
            ) from error

    def close(self) -> None:
        """Let go of the shelf; another process may take it up."""
        for held in self._held.values():
            self._end_writing(held)
        self._held.clear()
        self._current = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def append(self, new: NewRow, content: Buffer, *, born: int) -> tuple[Segment, int]:
        """Write a blob, and return where; ``new.offset`` is filled in here.

        A segment begun for it is numbered ``born``, or by the next number that is free.

        Raises:
            OSError: The disk did not take it. Nothing is there then.
        """
        held = self._room_for_one(born)
        file = self._writer(held)
        offset, row = held.end, held.next_row
        try:
            write_all(file, content, offset)
        except OSError:
            self._undo(file, offset, held)
            raise
        with suppress(OSError):  # it is kept all the same, and not mended by itself
            write_path(held.segment.paths_path, row, new.path)
        held.segment.table.write(row, replace(new, offset=offset))
        held.next_row += 1
        held.live_count += 1
        held.end = offset + size_on_disk(len(content))
        return held.segment, row

    def free(self, blobs: Iterable[tuple[int, int]]) -> list[Segment]:
        """Give the room of dropped blobs back, each named by segment and row.

        Return the segments that are empty now, and gone. What the disk refuses to free is
        :meth:`unfreed`.
        """
        by_segment: dict[int, list[int]] = {}
        for number, row in blobs:
            by_segment.setdefault(number, []).append(row)
        gone: list[Segment] = []
        for number, rows in by_segment.items():
            held = self._held.get(number)
            if held is None:
                continue
            held.live_count -= len(rows)
            if held.live_count == 0:
                self._end(held)
                gone.append(held.segment)
            else:
                self._punch(held, rows)
        return gone

    def unfreed(self) -> dict[Segment, int]:
        """Return how many dropped bytes each segment still takes, where that is any.

        It may be called by any thread.
        """
        return {held.segment: held.unfreed for held in list(self._held.values()) if held.unfreed}

    def _numbers(self) -> list[int]:
        names = os.listdir(self._folder)  # noqa: PTH208 - names are enough
        tables = {int(match[1]) for name in names if (match := _TABLE.fullmatch(name))}
        data = {int(match[1]) for name in names if (match := _DATA.fullmatch(name))}
        for number in tables ^ data:  # killed between the making of one and of the other
            self._delete(number)
        return sorted(tables & data)

    def _take_up(self, number: int) -> Found | None:
        self._last_number = max(self._last_number, number)
        try:
            segment = Segment.open(self._folder, self._number, number)
        except FormatError as error:
            log.warning("cache.segment_dropped", reason=str(error))
            self._delete(number)
            return None
        rows = segment.table.used_rows()
        next_row = len(rows)
        numbers = _sound_rows(rows, self._number, segment.data_path.stat().st_size)
        if not numbers:
            self._delete(number)
            return None
        live = rows[numbers]
        end = int((live["offset"] + live["size"]).max())
        held = _Held(segment, len(numbers), next_row, size_on_disk(end))
        self._held[number] = held
        self._current = held  # the youngest is last
        _clear_gaps(segment.data_path, live, self._punch_hole)
        return Found(segment, numbers, live)

    def _room_for_one(self, born: int) -> _Held:
        held = self._current
        if (
            held is None
            or held.end >= self._segment_size
            or held.next_row >= held.segment.table.rows_max
            or os.fstat(self._writer(held)).st_nlink == 0  # somebody deleted the cache
        ):
            if held is not None:
                self._end_writing(held)
            held = self._current = self._begin(born)
        return held

    def _begin(self, born: int) -> _Held:
        number = max(born, self._last_number + 1)
        self._folder.mkdir(parents=True, exist_ok=True)
        table = SegmentTable.create(table_path(self._folder, number), rows_for(self._segment_size))
        self._last_number = number
        held = _Held(Segment(self._folder, self._number, number, table))
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            held.writer = os.open(held.segment.data_path, flags, 0o600)
        except OSError:
            held.segment.table_path.unlink(missing_ok=True)
            raise
        self._held[number] = held
        return held

    def _writer(self, held: _Held) -> int:
        if held.writer is None:
            held.writer = os.open(held.segment.data_path, os.O_RDWR | os.O_CLOEXEC)
        return held.writer

    def _end_writing(self, held: _Held) -> None:
        if held.writer is not None:
            os.close(held.writer)
            held.writer = None

    def _undo(self, file: int, offset: int, held: _Held) -> None:
        """Free what a write that failed has left."""
        try:
            os.ftruncate(file, offset)
        except OSError:
            held.next_row = held.segment.table.rows_max  # nothing more is put behind it

    def _end(self, held: _Held) -> None:
        self._end_writing(held)
        del self._held[held.segment.number]
        if self._current is held:
            self._current = None
        with suppress(OSError):  # found again, and tried again, by the next run
            self._delete(held.segment.number)

    def _punch(self, held: _Held, rows: Iterable[int]) -> None:
        for row in rows:
            offset, size = held.segment.table.place(row)
            end = offset + size_on_disk(size)
            try:
                is_freed = self._punch_hole(self._writer(held), offset, end)
            except OSError:
                is_freed = False
            if not is_freed:
                held.unfreed += end - offset
        if held is not self._current:
            self._end_writing(held)

    def _delete(self, number: int) -> None:
        for path in (paths_path, data_path, table_path):
            path(self._folder, number).unlink(missing_ok=True)


def _sound_rows(rows: Rows, shelf: int, data_size: int) -> list[int]:
    """Return the numbers of the live rows that make sense; the disk may have rotted."""
    names = np.ascontiguousarray(rows["name"]).view("u1").reshape(len(rows), 32)
    offset, size = rows["offset"], rows["size"].astype("u8")
    is_sound = (
        (rows["state"] == LIVE)
        & (names[:, 0] % 16 == shelf)
        & (offset % HOLE_SIZE == 0)
        & (offset <= data_size)
        & (offset + size <= data_size)
    )
    numbers: list[int] = is_sound.nonzero()[0].tolist()
    return numbers


def _clear_gaps(path: Path, live: Rows, punch: Punch) -> None:
    """Free what no live row has: a run that was killed may not have come to that."""
    ordered = live[live["offset"].argsort()]
    taken = sum(map(size_on_disk, ordered["size"].tolist()))
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        if size_taken(file) <= taken:
            return
        at = 0
        for offset, size in zip(ordered["offset"].tolist(), ordered["size"].tolist(), strict=True):
            if offset > at and not punch(file, at, offset):
                return
            at = offset + size_on_disk(size)
        os.ftruncate(file, at)
    finally:
        os.close(file)


def _private(path: str, flags: int) -> int:
    """Open a file that others of this machine could not even lock."""
    return os.open(path, flags, 0o600)
