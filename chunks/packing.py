"""Pack differences: LZMA2, with long runs of noise kept out of what is learnt from the rest.

A difference of a game's bytes is a few small numbers and, where a member of an archive is new and
was compressed before, a long run that looks like chance. Packed in one go, an encoder learns from
the run how the numbers are not. So the run gets chunks of its own: LZMA2 may begin anew with any
chunk, so whoever reads it knows nothing of this.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator

import numpy as np

from kit.errors import FormatError

_FILTERS = (
    {
        "id": lzma.FILTER_LZMA2,
        "preset": 9 | lzma.PRESET_EXTREME,
        "dict_size": 8 << 20,
        "lc": 3,
        "lp": 0,
        "pb": 0,
    },
)
"""Deltas have no alignment to speak of: ``pb`` 0 saves half a percent over the default of 2."""

BLOCK_SIZE = 1 << 10
"""Judged at a time."""

NOISE_ENTROPY = 7.7
"""Bits a byte, of a block's counts alone: 1 KiB of chance has 7.80 to 7.85, a program under 7."""

NOISE_SIZE_MIN = 16 << 10
"""A shorter run is not worth beginning anew after it."""


def packed(plain: bytes) -> bytes:
    """Return the smallest LZMA2 stream found of ``plain``."""
    whole = _stream(plain)
    pieces = [plain[start:end] for start, end in _pieces(plain)]
    if len(pieces) < 2:
        return whole
    apart = b"".join(_stream(piece)[:-1] for piece in pieces) + b"\0"
    return min(whole, apart, key=len)


def unpacked(stream: bytes, size: int) -> bytes:
    """Return the ``size`` bytes a stream holds; memory stays within that and the dictionary.

    Raises:
        FormatError: It is damaged, or holds more or less.
    """
    decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_FILTERS)
    try:
        plain = decoder.decompress(stream, max_length=size)
        # The end mark may be left when all bytes are out; nothing else may be.
        surplus = b"" if decoder.eof else decoder.decompress(b"", max_length=1)
    except (lzma.LZMAError, EOFError) as error:
        raise FormatError(f"a delta is damaged: {error}") from error
    if len(plain) != size or surplus or not decoder.eof or decoder.unused_data:
        raise FormatError(f"a delta does not open to {size} bytes")
    return plain


def _stream(plain: bytes) -> bytes:
    """Return chunks that need nothing before them, and the mark of the end, one zero byte."""
    return lzma.compress(plain, lzma.FORMAT_RAW, filters=_FILTERS)


def _pieces(plain: bytes) -> Iterator[tuple[int, int]]:
    """Yield spans that cover ``plain``: runs of noise, and what is between them."""
    at = 0
    for start, end in _noise(plain):
        if start > at:
            yield at, start
        yield start, end
        at = end
    if at < len(plain):
        yield at, len(plain)


def _noise(plain: bytes) -> Iterator[tuple[int, int]]:
    is_noise = [
        _entropy(plain[at : at + BLOCK_SIZE]) >= NOISE_ENTROPY
        for at in range(0, len(plain) - BLOCK_SIZE + 1, BLOCK_SIZE)
    ]
    edges = np.flatnonzero(np.diff(np.array([False, *is_noise, False], np.int8))) * BLOCK_SIZE
    for start, end in edges.reshape(-1, 2).tolist():
        if end - start >= NOISE_SIZE_MIN:
            yield start, end


def _entropy(block: bytes) -> float:
    counts = np.bincount(np.frombuffer(block, np.uint8))
    shares = counts[counts > 0] / len(block)
    return float(-(shares * np.log2(shares)).sum())
