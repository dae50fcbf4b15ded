"""One segment: a file of blobs, each at a multiple of 4 KiB, and the table that says where."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from edge.store.segment_table import SegmentTable
from kit.buffers import B, Buffer, Room
from kit.file_holes import HOLE_SIZE
from kit.page_cache import PageCache
from kit.units import GIB, KIB, MIB

SEGMENT_SIZE_MAX = GIB
SEGMENT_SIZE_MIN = MIB
SEGMENTS_PER_SHELF = 4
"""A small budget has smaller segments: room comes back when a whole one is empty at the latest."""
BYTES_PER_ROW = 32 * KIB
ROWS_MIN = 128
"""Rows are set aside when a segment is begun: 3 MB a GiB, and 12 KiB for the smallest."""


def size_on_disk(size: int) -> int:
    """Return what a blob of ``size`` bytes takes from the disk, in bytes."""
    return max(HOLE_SIZE, -(-size // HOLE_SIZE) * HOLE_SIZE)


def segment_size_for(shelf_size: int) -> int:
    """Return at how many bytes the segments of a shelf of ``shelf_size`` bytes are full."""
    return min(SEGMENT_SIZE_MAX, max(SEGMENT_SIZE_MIN, shelf_size // SEGMENTS_PER_SHELF))


def rows_for(segment_size: int) -> int:
    """Return how many blobs a segment of so many bytes has rows for."""
    return max(ROWS_MIN, segment_size // BYTES_PER_ROW)


class Segment:
    """A segment that this process has mapped: its own, or another worker's."""

    __slots__ = ("data_path", "number", "paths_path", "shelf", "table", "table_path", "verified")

    def __init__(self, folder: Path, shelf: int, number: int, table: SegmentTable) -> None:
        self.shelf = shelf
        self.number = number
        self.table = table
        self.verified = bytearray(table.rows_max)
        """By row: whether this process held the blob's bytes against its digest."""
        self.data_path = data_path(folder, number)
        self.table_path = table_path(folder, number)
        self.paths_path = paths_path(folder, number)

    @classmethod
    def open(cls, folder: Path, shelf: int, number: int) -> Segment:
        """Map a segment that exists. Blocks.

        Raises:
            OSError: It cannot be read, or is gone.
            FormatError: Its table is none of ours.
        """
        return cls(folder, shelf, number, SegmentTable.open(table_path(folder, number)))

    def read_cached(  # noqa: PLR0917 - a span of a row, whence, and where to
        self, file: int, page_cache: PageCache, row: int, start: int, end: int, room: Room[B]
    ) -> B | None:
        """Return the bytes ``[start, end)`` of a blob if all are in memory. Never waits for a disk.

        Whoever calls has seen that the row is live; it may have been dropped since, and is looked
        at again.
        """
        offset, size = self.table.place(row)
        content = room(max(0, min(end, size) - start))
        if content and not _read_nowait(file, page_cache, content, offset + start):
            # To ask for it may have begun to bring it from the disk: it is verified again.
            self.verified[row] = False
            return None
        return content if self.table.is_live(row) else None


def shelf_folder(cache_dir: Path, shelf: int) -> Path:
    """Return where the segments of a shelf are."""
    return cache_dir / "segments" / f"{shelf:02}"


def data_path(folder: Path, number: int) -> Path:
    """Return where the blobs of a segment are."""
    return folder / f"{number:06}.data"


def table_path(folder: Path, number: int) -> Path:
    """Return where the table of a segment is."""
    return folder / f"{number:06}.index"


def paths_path(folder: Path, number: int) -> Path:
    """Return where it is noted where upstream has the blobs of a segment."""
    return folder / f"{number:06}.paths"


def write_all(file: int, content: Buffer, offset: int) -> None:
    """Write ``content`` at ``offset``. Blocks.

    Raises:
        OSError: The disk did not take all of it.
    """
    view, at = memoryview(content).cast("B"), 0
    while at < len(view):
        at += os.pwrite(file, view[at:], offset + at)


def _read_nowait(
    file: int, page_cache: PageCache, into: bytearray | memoryview, offset: int
) -> bool:
    try:
        return os.preadv(file, [into], offset, _NOWAIT) == len(into)
    except OSError as error:
        # tmpfs knows no such reads, but can be asked; all else is for a thread to see.
        if error.errno != errno.EOPNOTSUPP or not page_cache.holds(file, offset, len(into)):
            return False
    try:
        return os.preadv(file, [into], offset) == len(into)
    except OSError:
        return False


_NOWAIT = getattr(os, "RWF_NOWAIT", 0)
