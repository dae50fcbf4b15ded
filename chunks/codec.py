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
"""What zstd needs at level 19; a frame that asks for more memory than this is refused."""


class _PerThread(threading.local):
    """zstd contexts are costly to make and must not be shared between threads."""

    def __init__(self) -> None:
        self.compressors: dict[int, zstandard.ZstdCompressor] = {}
        self.decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW_SIZE_MAX)

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
    """Open one zstd frame that must hold exactly ``size`` bytes.

    Raises:
        FormatError: It declares another size (checked first: the library believes the
            declaration and would allocate it), is damaged, or is followed by other bytes.
    """
    try:
        declared = zstandard.frame_content_size(frame)
        if declared != size:
            raise FormatError(f"a frame declares {declared} bytes where {size} were promised")
        plain = _contexts.decompressor.decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise FormatError(f"a frame of {len(frame)} bytes is damaged: {error}") from error
    if len(plain) != size:
        raise FormatError(f"a frame held {len(plain)} bytes where {size} were promised")
    return plain
