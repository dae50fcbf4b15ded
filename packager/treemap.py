"""Lay rectangles out so that each one's area is its weight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple


class Rectangle(NamedTuple):
    """Left, top, width and height, in whatever unit it was cut from."""

    x: float
    y: float
    width: float
    height: float


def lay_out(weights: Sequence[float], area: Rectangle) -> Iterator[Rectangle]:
    """Yield a rectangle for each of ``weights``, in order; together they fill ``area``.

    ``weights`` are positive, the largest first. They are split in halves of about equal weight,
    and the area with them across its longer side: so rectangles are seldom slivers.
    """
    if len(weights) <= 1:
        yield from [area] * len(weights)
        return
    total = sum(weights)
    sums = list(accumulate(weights))
    middle = min(range(1, len(weights)), key=lambda count: abs(2 * sums[count - 1] - total))
    share = sums[middle - 1] / total
    x, y, width, height = area
    if width >= height:
        first = Rectangle(x, y, width * share, height)
        second = Rectangle(x + width * share, y, width * (1 - share), height)
    else:
        first = Rectangle(x, y, width, height * share)
        second = Rectangle(x, y + height * share, width, height * (1 - share))
    yield from lay_out(weights[:middle], first)
    yield from lay_out(weights[middle:], second)
