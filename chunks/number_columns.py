"""Long columns of numbers in as few bytes as they need, written and read all at once.

As ``varints.py`` has them, seven bits a byte, the lowest first, but of up to 42 bits: addresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from kit.errors import FormatError

Numbers: TypeAlias = NDArray[np.int64]

BYTES_MAX = 6

NUMBER_MAX = (1 << 7 * BYTES_MAX) - 1
"""As many of them as there may be add up to less than 63 bits."""


def encode_columns(columns: Sequence[Numbers]) -> bytes:
    """Write the columns end to end; how many numbers each has must be known to whoever reads."""
    numbers = np.concatenate(columns)
    assert not len(numbers) or 0 <= numbers.min() <= numbers.max() <= NUMBER_MAX
    sizes = np.ones(len(numbers), np.int64)
    for index in range(1, BYTES_MAX):
        sizes += numbers >> 7 * index > 0
    ends = np.cumsum(sizes)
    encoded = np.zeros(int(sizes.sum()), np.uint8)
    for index in range(BYTES_MAX):
        rows = np.flatnonzero(sizes > index)
        more = np.where(sizes[rows] > index + 1, 0x80, 0)
        encoded[ends[rows] - sizes[rows] + index] = numbers[rows] >> 7 * index & 0x7F | more
    return encoded.tobytes()


def decode_columns(encoded: NDArray[np.uint8], counts: Sequence[int]) -> list[Numbers]:
    """Read columns of so many numbers.

    Raises:
        FormatError: There are more or fewer, or one is too large; told before they are allocated.
    """
    count = sum(counts)
    lasts = np.flatnonzero(encoded < 0x80)
    if (
        len(lasts) != count
        or (count and lasts[-1] != len(encoded) - 1)
        or (not count and len(encoded))
    ):
        raise FormatError(f"a delta has {len(lasts)} numbers instead of {count}")
    sizes = np.diff(lasts, prepend=-1)
    if count and sizes.max() > BYTES_MAX:
        raise FormatError(f"a delta has a number of {sizes.max()} bytes")
    numbers = encoded[lasts].astype(np.int64)
    for index in range(1, BYTES_MAX):
        rows = np.flatnonzero(sizes > index)
        numbers[rows] = numbers[rows] << 7 | encoded[lasts[rows] - index] & 0x7F
    return np.split(numbers, np.cumsum(counts)[:-1])


def folded(signed: Numbers) -> Numbers:
    """Return numbers that are small where ``signed`` are near zero: 0, -1, 1, -2 are 0, 1, 2, 3."""
    return signed << 1 ^ signed >> 63


def unfolded(numbers: Numbers) -> Numbers:
    """Undo :func:`folded`."""
    return numbers >> 1 ^ -(numbers & 1)
