"""Sizes as people read them."""

from __future__ import annotations

import pytest

from kit.units import size_text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1_500_000, "1.4 MiB"),
        (3 << 30, "3.0 GiB"),
        (5 << 50, "5120.0 TiB"),
    ],
)
def test_size_is_told_in_the_largest_unit_that_fits(size: int, text: str) -> None:
    assert size_text(size) == text
