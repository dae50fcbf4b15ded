"""Compress a chunk for storage, and open it again without trusting a word it says of itself."""

from __future__ import annotations

import threading

import zstandard

from kit.buffers import Buffer
from kit.errors import FormatError

LEVEL_QUICK = 3
"""At push the build should be live soon; packing again later may go higher, ids do not change."""

GAIN_MIN_PERCENT = 3
"""Below this a chunk is stored as it is: a console would spend time to save next to nothing."""

WINDOW_SIZE_MAX = 8 << 20
"""The most that zstd uses up to level 19; a frame that asks for more memory is refused."""


class _PerThread(threading.local):
    """zstd contexts are costly to make and must not be shared between threads."""

    def __init__(self) -> None:
        self.compressors: dict[int, zstandard.ZstdCompressor] = {}
        self.decompressor = zstandard.ZstdDecompressor()

    def compressor(self, level: int) -> zstandard.ZstdCompressor:
        found = self.compressors.get(level)
        if found is None:
            found = self.compressors[level] = zstandard.ZstdCompressor(
                level=level, write_checksum=False, write_content_size=True, write_dict_id=False
            )
        return found


_contexts = _PerThread()


def pack(plain: Buffer, level: int = LEVEL_QUICK) -> Buffer:
    """Return what to store for a chunk: a zstd frame, or ``plain`` where that gains little."""
    frame = compress(plain, level)
    gains = len(frame) * 100 <= len(plain) * (100 - GAIN_MIN_PERCENT)
    return frame if gains else plain


def unpack(stored: Buffer, size: int) -> Buffer:
    """Return the ``size`` plain bytes of a stored chunk, *not yet verified* against its id.

    Raises:
        FormatError: ``stored`` is not what :func:`pack` makes of ``size`` bytes.
    """
    if len(stored) == size:
        return stored
    return decompress(stored, size)


def compress(plain: Buffer, level: int = LEVEL_QUICK) -> bytes:
    """Return one zstd frame that declares its content size."""
    return _contexts.compressor(level).compress(plain)


def decompress(frame: Buffer, size: int) -> bytes:
    """Open one zstd frame that must hold exactly ``size`` bytes, at least one.

    What the frame declares is checked first: the library would believe and allocate it. It
    does not look at the bytes of a frame that declares to be empty, so none may.

    Raises:
        FormatError: It declares another size or too large a window, is damaged, or is followed
            by other bytes.
    """
    return _open(frame, size, size)


def open_frame(frame: Buffer, size_max: int) -> bytes:
    """Open one zstd frame that declares between 1 and ``size_max`` bytes.

    Raises:
        FormatError: As :func:`decompress` does.
    """
    return _open(frame, 1, size_max)


def _open(frame: Buffer, size_min: int, size_max: int) -> bytes:
    try:
        declared = zstandard.get_frame_parameters(frame)
        size = declared.content_size
        if not 0 < size_min <= size <= size_max:
            raise FormatError(f"a frame declares {size} bytes; {size_max} were promised")
        if declared.window_size > WINDOW_SIZE_MAX:
            raise FormatError(f"a frame needs a window of {declared.window_size} bytes")
        return _contexts.decompressor.decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise FormatError(f"a frame of {len(frame)} bytes is damaged: {error}") from error
