"""Read segments in order, through a buffer of fixed size, and cut them as they come."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from chunks.chunk_id import Digest
from chunks.chunker import CHUNK_SIZE_MAX, cut
from kit.errors import InvalidInput
from packager.file_cache import SegmentChunks
from packager.scan import ScannedFile
from packager.segments import Segment

WINDOW_SIZE = 8 << 20
"""A thread's batch. It reads in 2 ms, hashes in 2 and compresses in 30: long against the 0.1 ms
that a hop between threads costs. Of each window up to 1 MiB, on average 0.5, is cut twice."""

assert WINDOW_SIZE > 2 * CHUNK_SIZE_MAX

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(slots=True)
class CutPart:
    """Consecutive chunks of a segment: their sizes, from ``start`` in the window on."""

    segment: Segment
    start: int
    sizes: list[int]
    digests: list[Digest] = field(default_factory=list)
    """Filled in by whoever hashes the window."""


@dataclass(slots=True)
class CachedPart:
    """A whole segment that was not read, for its chunks are in the file cache and in storage."""

    segment: Segment
    chunks: SegmentChunks


@dataclass(slots=True)
class Window:
    """A stretch of the build in stream order."""

    buffer: bytearray
    parts: list[CutPart | CachedPart] = field(default_factory=list)
    size: int = 0
    """Bytes of the build it stands for."""
    read_size: int = 0
    """Bytes read from files."""


class WindowReader:
    """Fills windows. Owned by one thread; holds at most one file open and one chunk's bytes."""

    def __init__(
        self,
        source: Path,
        segments: Iterable[Segment],
        cached: Callable[[Segment], SegmentChunks | None],
    ) -> None:
        """Read files below ``source``, but of segments that ``cached`` knows take its word."""
        self._source = source
        self._segments = iter(segments)
        self._cached = cached
        self._stream: _SegmentStream | None = None
        self._carried = b""
        """The end of the last window, which is cut again with more bytes behind it."""

    def fill(self, buffer: bytearray) -> Window | None:
        """Return the next stretch of the build in ``buffer``, or None after the last one.

        Raises:
            InvalidInput: A file changed, vanished or cannot be read.
        """
        window, view, end = Window(buffer), memoryview(buffer), 0
        while end < len(buffer):
            stream = self._stream or self._next_stream(window)
            if stream is None:
                break
            end = self._cut_part(stream, window, view, end)
        return window if window.parts or self._stream else None

    def close(self) -> None:
        """Close the file that is open, if any."""
        if self._stream is not None:
            self._stream.close()

    def _next_stream(self, window: Window) -> _SegmentStream | None:
        """Begin the next segment that must be read, and note those that need not be."""
        for segment in self._segments:
            chunks = self._cached(segment)
            if chunks is None:
                self._stream = _SegmentStream(self._source, segment)
                return self._stream
            window.parts.append(CachedPart(segment, chunks))
            window.size += segment.size
        return None

    def _cut_part(
        self, stream: _SegmentStream, window: Window, view: memoryview, start: int
    ) -> int:
        """Read and cut as much of a segment as there is room for; return where it ends."""
        end = start + len(self._carried)
        view[start:end] = self._carried
        read_size = stream.read_into(view[end:])
        end += read_size
        sizes = cut(view[start:end], is_last=stream.is_finished)
        cut_end = start + sum(sizes)
        self._carried = bytes(view[cut_end:end])
        if stream.is_finished:
            self._stream = None
        if sizes:
            window.parts.append(CutPart(stream.segment, start, sizes))
        window.size += cut_end - start
        window.read_size += read_size
        return end


class _SegmentStream:
    """The bytes of a segment's files, one after another, each file checked to stay the same."""

    def __init__(self, source: Path, segment: Segment) -> None:
        self.segment = segment
        self._source = source
        self._index = 0
        self._offset = 0
        self._handle = -1

    @property
    def is_finished(self) -> bool:
        """Whether all bytes were read."""
        return self._index == len(self.segment.files)

    def read_into(self, view: memoryview) -> int:
        """Fill ``view``, or as much of it as the segment has bytes for; return how many."""
        filled = 0
        while filled < len(view) and not self.is_finished:
            file = self.segment.files[self._index]
            try:
                filled += self._read_some(file, view[filled:])
            except FileNotFoundError as error:
                raise self._changed(file) from error
            except OSError as error:
                path = self._source / file.entry.path
                raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
        return filled

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _read_some(self, file: ScannedFile, view: memoryview) -> int:
        if self._handle < 0:
            self._handle = os.open(self._source / file.entry.path, _OPEN)
            self._check(file)
        wanted = min(len(view), file.entry.size - self._offset)
        read_size = os.readv(self._handle, [view[:wanted]])
        if read_size == 0:
            raise self._changed(file)
        self._offset += read_size
        if self._offset == file.entry.size:
            self._check(file)
            self.close()
            self._index, self._offset = self._index + 1, 0
        return read_size

    def _check(self, file: ScannedFile) -> None:
        if not file.is_same_as(os.fstat(self._handle)):
            raise self._changed(file)

    def _changed(self, file: ScannedFile) -> InvalidInput:
        path = self._source / file.entry.path
        return InvalidInput(f"{path} changed while it was read; push again")
