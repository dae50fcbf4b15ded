"""Bytes of a blob that the kernel sends from its memory to a socket, without a copy of ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edge.segment_files import OpenFile
from edge.segments import Segment


@dataclass(slots=True)
class SegmentSpan:
    """A :class:`kit.lane.FileSpan` of a segment; its file stays open until it is closed."""

    file: int
    offset: int
    end: int
    segment: Segment
    row: int
    opened: OpenFile
    release: Callable[[OpenFile], None]

    def close(self) -> bool:
        """Let go of the file; tell whether the blob is still there, so that its bytes were right.

        A blob is marked as dropped before its bytes are.
        """
        self.release(self.opened)
        return self.segment.table.is_live(self.row)
