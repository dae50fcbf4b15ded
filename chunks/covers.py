"""Which spans of a target lie where in its base, a little changed; the rest is new.

A **cover** says that target ``[start, end)`` resembles the base's ``[start + lag, end + lag)``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chunks.number_columns import Numbers

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Covers:
    """Rows in order, none empty, none overlapping; positions in bytes of the target."""

    starts: Numbers
    ends: Numbers
    lags: Numbers

    def __len__(self) -> int:
        return len(self.starts)

    def holes(self, size: int) -> Iterator[tuple[int, int]]:
        """Yield what no cover has of a target of ``size`` bytes, one span more than covers."""
        start = 0
        for cover_start, end in zip(self.starts.tolist(), self.ends.tolist(), strict=True):
            yield start, cover_start
            start = end
        yield start, size

    def copied(self, base: Bytes, size: int) -> Bytes:
        """Return ``size`` bytes, from the base where covers say so and zero in holes."""
        made = np.zeros(size, np.uint8)
        columns = (self.starts.tolist(), self.ends.tolist(), self.lags.tolist())
        for start, end, lag in zip(*columns, strict=True):
            made[start:end] = base[start + lag : end + lag]
        return made


def covers_of_hdiff(plain: bytes) -> Covers:
    """Return the covers of a plain HDIFF13 difference that was just made."""
    numbers: list[int] = []
    at = plain.index(b"\0") + 1
    for _ in range(11):
        number, at = _number(plain, at)
        numbers.append(number)
    count, end = numbers[2], at + numbers[3]
    rows: list[tuple[int, int, int]] = []
    base_at = target_at = 0
    for _ in range(count):
        is_back = plain[at] >= 0x80
        distance, at = _number(plain, at, bits=6)
        gap, at = _number(plain, at)
        size, at = _number(plain, at)
        start, base_start = target_at + gap, base_at + (-distance if is_back else distance)
        target_at, base_at = start + size, base_start + size
        if size:
            rows.append((start, target_at, base_start - start))
    assert at == end
    starts, ends, lags = np.array(rows, np.int64).reshape(-1, 3).T
    return Covers(starts, ends, lags)


def _number(plain: bytes, at: int, bits: int = 7) -> tuple[int, int]:
    """Read seven bits a byte, the highest first, of the first byte fewer; also where it ends."""
    byte = plain[at]
    value, is_more = byte & (1 << bits) - 1, byte >> bits & 1
    while is_more:
        at += 1
        byte = plain[at]
        value, is_more = value << 7 | byte & 0x7F, byte >> 7
    return value, at + 1
