"""Inflate raw deflate streams within bounds, and deflate them again to exactly the same bytes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from kit.buffers import Buffer
from kit.errors import FormatError

RATIO_MAX = 1032
"""No deflate stream inflates to more than this many times its size (258 bytes for two bits)."""

PIECE_SIZE = 64 << 10
"""Bytes deflated at a time: at level 6 they make about one block, so that a wrong guess of the
parameters is found out after one or two pieces. What is made does not depend on it."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """What zlib is told when it deflates; with equal zlibs they decide every byte.

    Raises:
        ValueError: zlib takes no such parameters, or with these deflates nothing (level 0).
    """

    level: int = 6
    window_bits: int = 15
    memory_level: int = 8
    strategy: int = zlib.Z_DEFAULT_STRATEGY

    def __post_init__(self) -> None:
        is_known = (
            1 <= self.level <= 9
            and 9 <= self.window_bits <= 15
            and 1 <= self.memory_level <= 9
            and zlib.Z_DEFAULT_STRATEGY <= self.strategy <= zlib.Z_FIXED
        )
        if not is_known:
            raise ValueError(f"zlib does not deflate with {self}")


def deflate(unfolded: Buffer, parameters: Parameters) -> Iterator[bytes]:
    """Yield the raw deflate stream of ``unfolded``, piece by piece. Releases the GIL."""
    deflater = zlib.compressobj(
        parameters.level,
        zlib.DEFLATED,
        -parameters.window_bits,
        parameters.memory_level,
        parameters.strategy,
    )
    view = memoryview(unfolded)
    for start in range(0, len(view), PIECE_SIZE):
        yield deflater.compress(view[start : start + PIECE_SIZE])
    yield deflater.flush()


def inflate(deflated: Buffer, size: int) -> bytes:
    """Inflate one raw deflate stream that must hold exactly ``size`` bytes. Releases the GIL.

    Never allocates much more than ``size`` bytes, whatever the stream holds.

    Raises:
        FormatError: It is damaged, cut off, followed by other bytes, or of another size.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(deflated, size + 1)  # the one more tells a longer stream
    except zlib.error as error:
        raise FormatError(f"a deflate stream is damaged: {error}") from error
    if not inflater.eof or len(inflated) != size:
        raise FormatError(
            f"a deflate stream of {len(deflated)} bytes does not inflate to the {size} promised"
        )
    if inflater.unused_data:
        raise FormatError(
            f"a deflate stream ends {len(inflater.unused_data)} bytes before it should"
        )
    return inflated
