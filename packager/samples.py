"""What an explanation may read of two builds' bytes: little, and counted.

A :class:`ByteReader` reads a file of one build, wherever its bytes are. :class:`Samples` stands
before two of them and keeps to a budget, so that a build of any size is looked at in bounded time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from packager.comparison import FileComparison, Span

WINDOW_SIZE = 256 << 10
"""One look. Long enough to tell noise from structure, and that a thread compares it in 10 ms."""

MARGIN_SIZE = 128 << 10
"""Read more of the older file at either end, as what is looked for may have been shifted."""

WINDOWS_PER_FILE = 3
"""Front, middle and end of what changed: they seldom agree by accident."""


class ByteReader(Protocol):
    """The files of one build."""

    def read(self, path: str, start: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``start``; fewer only where the file ends.

        Raises:
            PlayheadError: The file is gone or the storage does not answer.
        """


@dataclass(frozen=True, slots=True)
class WindowPair:
    """The same stretch of a file in both builds; the older one is longer by a margin."""

    old: bytes
    new: bytes


@dataclass(slots=True)
class Samples:
    """Two builds, and how many bytes of them may still be read."""

    old: ByteReader
    new: ByteReader
    left_size: int
    read_size: int = field(default=0, init=False)

    @property
    def is_spent(self) -> bool:
        """Whether nothing more may be read: what is left over is judged unread."""
        return self.left_size <= 0

    def heads(self, file: FileComparison, size: int = WINDOW_SIZE) -> WindowPair:
        """Return the beginnings of a file."""
        return self.pair(file, 0, 0, size)

    def pair(self, file: FileComparison, old_start: int, new_start: int, size: int) -> WindowPair:
        """Return ``size`` bytes of a file from ``new_start``, and as many of its older state."""
        old = self._read(self.old, file.old_path, old_start, size) if file.old_path else b""
        return WindowPair(old, self._read(self.new, file.path, new_start, size))

    def windows(self, file: FileComparison) -> list[WindowPair]:
        """Return a few stretches of what a console downloads, and what stood there before."""
        spans = file.downloaded_spans
        total = sum(span.size for span in spans)
        count = min(WINDOWS_PER_FILE, -(-total // WINDOW_SIZE))
        steps = range(count)
        at = [
            0 if count == 1 else step * max(total - WINDOW_SIZE, 0) // (count - 1) for step in steps
        ]
        return [self._window(file, *_span_at(spans, place)) for place in at]

    def read_old(self, path: str, start: int, size: int) -> bytes:
        """Return bytes of the older build."""
        return self._read(self.old, path, start, size)

    def read_new(self, path: str, start: int, size: int) -> bytes:
        """Return bytes of the newer build."""
        return self._read(self.new, path, start, size)

    def _window(self, file: FileComparison, span: Span, offset: int) -> WindowPair:
        size = min(WINDOW_SIZE, span.size - offset)
        new = self._read(self.new, file.path, span.start + offset, size)
        if not file.old_path:
            return WindowPair(b"", new)
        expected = _old_place(file, span, offset)
        start = max(0, min(expected, file.old_size) - MARGIN_SIZE)
        return WindowPair(self._read(self.old, file.old_path, start, size + 2 * MARGIN_SIZE), new)

    def _read(self, reader: ByteReader, path: str, start: int, size: int) -> bytes:
        found = reader.read(path, start, size)
        self.left_size -= len(found)
        self.read_size += len(found)
        return found


def _span_at(spans: Sequence[Span], place: int) -> tuple[Span, int]:
    for span in spans:
        if place < span.size:
            return span, place
        place -= span.size
    return spans[-1], 0


def _old_place(file: FileComparison, span: Span, offset: int) -> int:
    """Return where in the older file to look for what is like this byte of ``span``."""
    if span.old_path and 2 * span.size < file.size:
        return span.old_start + offset
    return (span.start + offset) * file.old_size // max(file.size, 1)
