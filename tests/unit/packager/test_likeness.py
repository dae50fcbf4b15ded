"""What two stretches of bytes have in common."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packager.likeness import alternations, differences, entropy_bits, likeness, steps
from tests.patches import members, noise, prose


def test_noise_has_eight_bits_and_one_byte_repeated_has_none() -> None:
    assert entropy_bits(noise(1 << 18, 1)) > 7.99
    assert entropy_bits(bytes(1000)) == entropy_bits(b"") == 0
    assert entropy_bits(b"ab" * 500) == pytest.approx(1)


def test_shifted_bytes_are_alike_and_other_noise_is_not() -> None:
    data = noise(100_000, 1)
    assert likeness(noise(777, 2) + data, data) == 1
    assert likeness(noise(100_000, 2), data) < 0.001
    assert likeness(data[:50_000], data) == pytest.approx(0.5, abs=0.05)


def test_runs_of_zeros_make_nothing_alike() -> None:
    old, new = (bytes(50_000) + noise(50_000, seed) for seed in (1, 2))
    assert likeness(old, new) < 0.01


@pytest.mark.parametrize("data", [b"", b"short", bytes(100_000)])
def test_what_is_too_short_or_all_the_same_is_like_itself(data: bytes) -> None:
    assert likeness(data, data) == 1
    assert steps(data, data) == []


@given(st.binary(max_size=400), st.data())
def test_differences_are_where_bytes_differ(old: bytes, data: st.DataObject) -> None:
    new = bytearray(old)
    for _ in range(data.draw(st.integers(0, 5))):
        if new:
            new[data.draw(st.integers(0, len(new) - 1))] ^= data.draw(st.integers(0, 255))
    spans = differences(old, bytes(new))
    inside = {at for start, end in spans for at in range(start, end)}
    assert all(at in inside for at in range(len(old)) if old[at] != new[at])
    for start, end in spans:
        assert old[start] != new[start]
        assert old[end - 1] != new[end - 1]


def test_filling_between_the_same_members_is_told_from_other_bytes() -> None:
    parts = members(30, 4_000, 1)
    before = b"".join(part + bytes(4) for part in parts)
    padded = steps(before, b"".join(part + bytes(40) for part in parts))
    assert len(padded) >= 20
    assert all(step.is_filling and not step.is_backward for step in padded)
    grown = steps(before, b"".join(part + noise(40, len(part)) for part in parts))
    assert not any(step.is_filling for step in grown)


def test_another_order_goes_backward_about_half_of_the_time() -> None:
    parts = members(30, 4_000, 1)
    mixed = random.Random(1).sample(parts, len(parts))
    found = steps(b"".join(parts), b"".join(mixed))
    assert sum(step.is_backward for step in found) > len(found) / 4
    dropped = steps(b"".join(parts), b"".join(parts[::2]))
    assert not any(step.is_backward for step in dropped)


def test_table_alternates_and_a_paragraph_in_front_does_not() -> None:
    rows = [f"textures/rock_{row:05}.dds".encode() for row in range(2000)]
    old, new = (
        b"".join(row + (base + 7 * at).to_bytes(8, "little") for at, row in enumerate(rows))
        for base in (1_000_000, 1_000_512)
    )
    assert alternations(old, new) > 200
    text = prose(50_000, 1)
    assert alternations(text, prose(3_000, 2) + text) < 20
