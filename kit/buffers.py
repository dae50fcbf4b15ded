"""What counts as bytes here: anything contiguous that a C library reads without a copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, TypeVar

Buffer: TypeAlias = bytes | bytearray | memoryview

BYTES = (bytes, bytearray, memoryview)
"""The same, for ``isinstance``."""

B = TypeVar("B", bytearray, memoryview)

Room: TypeAlias = Callable[[int], B]
"""Returns where so many bytes are to be put: ``bytearray``, or :meth:`Scratch.room`."""


class Scratch:
    """Room to read into, the same again and again while nobody holds a view of it.

    So what is read stays in the processor's cache, and no pages are asked of the system each time.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._buffer = bytearray(size)

    def room(self, size: int) -> memoryview:
        """Return room for ``size`` bytes, at most as many as the scratch has.

        It is used again once the view is gone, and all that were made of it.
        """
        try:
            self._buffer.append(0)  # refused while there is a view
            self._buffer.pop()
        except BufferError:
            self._buffer = bytearray(self._size)
        return memoryview(self._buffer)[:size]
