"""Bytes of a blob that the kernel sends from its memory to a socket, without a copy of ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edge.store.segment_files import OpenFile
from edge.store.segments import Segment


@dataclass(slots=True)
class InMemory:
    """A blob of a segment that was in memory when it was looked at, a moment ago."""

    file: OpenFile
    segment: Segment
    row: int
    offset: int
    """In the file."""
    size: int
    release: Callable[[OpenFile], None]

    def span(self, start: int, end: int) -> SegmentSpan | None:
        """Return its bytes ``[start, end)``; None if it is gone or in doubt, or its file closed.

        It counts as a use. Whoever gets a span closes it.
        """
        segment, row, file = self.segment, self.row, self.file
        end = min(end, self.size)
        if start >= end or not file.is_kept or not segment.verified[row]:
            return None
        if not segment.table.use(row):
            return None
        file.users += 1
        return SegmentSpan(file.number, self.offset + start, self.offset + end, self)


class SegmentSpan:
    """A :class:`kit.lane.FileSpan` of a segment; its file stays open until it is closed."""

    __slots__ = ("_blob", "end", "file", "offset")

    def __init__(self, file: int, offset: int, end: int, blob: InMemory) -> None:
        self.file = file
        self.offset = offset
        self.end = end
        self._blob = blob

    def close(self) -> bool:
        """Let go of the file; tell whether the blob is still there, so that its bytes were right.

        A blob is marked as dropped before its bytes are.
        """
        blob = self._blob
        blob.release(blob.file)
        return blob.segment.table.is_live(blob.row)
