"""Rectangles whose areas are weights."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packager.treemap import Rectangle, lay_out

AREA = Rectangle(10, 20, 1000, 400)


@given(st.lists(st.floats(1, 1e9), max_size=60))
def test_areas_are_weights_and_fill_the_whole_without_overlap(weights: list[float]) -> None:
    weights.sort(reverse=True)
    boxes = list(lay_out(weights, AREA))
    assert len(boxes) == len(weights)
    for box, weight in zip(boxes, weights, strict=True):
        share = weight / sum(weights)
        assert box.width * box.height == pytest.approx(share * 400_000, rel=1e-6, abs=1e-6)
        assert box.x >= 10 - 1e-6
        assert box.y >= 20 - 1e-6
        assert box.x + box.width <= 1010 + 1e-6
        assert box.y + box.height <= 420 + 1e-6


def test_equal_weights_make_no_slivers() -> None:
    for box in lay_out([1.0] * 16, Rectangle(0, 0, 100, 100)):
        assert 0.5 <= box.width / box.height <= 2
