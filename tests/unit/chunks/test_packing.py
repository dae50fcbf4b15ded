"""Differences that are packed, and runs of noise that are packed apart."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunks.packing import NOISE_SIZE_MIN, packed, unpacked
from kit.errors import FormatError


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def numbers(count: int, seed: int = 2) -> bytes:
    rng = random.Random(seed)
    return b"".join(bytes((0, 0, rng.randrange(9), 1)) for _ in range(count))


makers = st.sampled_from([noise, numbers, lambda size, seed: bytes([seed]) * size])
sizes = st.sampled_from([1, 10, 900, 5000, NOISE_SIZE_MIN, 70_000])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(makers, sizes, st.integers(0, 9)), min_size=1, max_size=5))
def test_what_was_packed_opens(pieces: list[tuple[Callable[[int, int], bytes], int, int]]) -> None:
    plain = b"".join(make(size, seed) for make, size, seed in pieces)
    assert unpacked(packed(plain), len(plain)) == plain


def test_noise_is_stored_at_a_few_bytes_beside_its_own() -> None:
    run = noise(300_000)
    assert len(packed(run)) < len(run) + 40


def test_numbers_around_noise_take_what_they_take_alone() -> None:
    before, run, behind = numbers(600), noise(300_000), numbers(600, 3)
    alone = len(packed(before)) + len(packed(run)) + len(packed(behind))
    assert len(packed(before + run + behind)) < alone + 40


def test_stream_that_begins_anew_but_holds_a_byte_more_is_refused() -> None:
    plain = numbers(600) + noise(100_000) + numbers(600)
    with pytest.raises(FormatError, match="does not open to"):
        unpacked(packed(plain), len(plain) - 1)
