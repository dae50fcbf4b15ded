"""Cut a segment of a stream where its content says so (``docs/format/chunks.md``).

The cut of a chunk depends only on the bytes from its start to at most ``CHUNK_SIZE_MAX`` later.
So a segment of any length can be cut through a window: whatever ends more than one maximal chunk
before the end of the window is final, the rest is cut again with more bytes behind it.
"""

from __future__ import annotations

from pyfastcdc import FastCDC

from kit.buffers import Buffer

CHUNK_SIZE_MIN = 64 << 10
CHUNK_SIZE_AVERAGE = 256 << 10
CHUNK_SIZE_MAX = 1 << 20


def cut(window: Buffer, *, is_last: bool) -> list[int]:
    """Return the sizes of the chunks at the start of ``window`` that are final, in order.

    Args:
        window: The rest of a segment, or as much of it as is in memory.
        is_last: Whether the segment ends where the window ends. If it does, the sizes add up
            to the whole window; if not, up to ``CHUNK_SIZE_MAX`` bytes are left over, and the
            next window must begin with them.
    """
    if len(window) == 0:
        return []
    cutter = FastCDC(  # one per call: the library does not promise that threads may share one
        CHUNK_SIZE_AVERAGE,
        min_size=CHUNK_SIZE_MIN,
        max_size=CHUNK_SIZE_MAX,
        normalized_chunking=1,
        seed=0,
    )
    chunks = cutter.cut_buf(window)
    start_max = len(window) if is_last else len(window) - CHUNK_SIZE_MAX
    return [chunk.length for chunk in chunks if chunk.offset <= start_max]


def starts_segment(file_size: int) -> bool:
    """Return whether a file of ``file_size`` bytes is cut on its own, apart from its neighbours."""
    return file_size >= CHUNK_SIZE_MIN
