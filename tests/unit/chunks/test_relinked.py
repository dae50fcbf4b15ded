"""A program linked again: its addresses are foreseen, and no difference whatever does harm."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunks.covers import covers_of_hdiff
from chunks.delta import Effort, Method, apply_delta, make_delta
from chunks.number_columns import NUMBER_MAX, decode_columns, encode_columns
from chunks.relinked import apply_relinked
from kit.errors import FormatError
from tests.conformance.relinked_reader import from_relinked
from tests.deltas import hdiff_of, likeness
from tests.programs import BASE, FUNCTION_COUNT, TARGET, plain_of, program


def test_a_program_linked_again_takes_half_of_what_its_changed_bytes_take() -> None:
    found = make_delta(TARGET, BASE, Effort.BEST)
    assert found.method is Method.RELINKED
    assert apply_delta(found.method, found.payload, BASE, len(TARGET)) == TARGET
    plain = plain_of(TARGET, BASE)
    assert plain is not None
    assert len(plain) * 2 < len(hdiff_of(BASE, TARGET))


@pytest.mark.parametrize("grown", [{3}, {70, 200, 410}, set(range(0, 600, 40))])
def test_a_reader_made_from_the_specification_makes_the_same(grown: set[int]) -> None:
    target = program(frozenset(grown))
    plain = plain_of(target, BASE)
    assert plain is not None
    assert from_relinked(plain, BASE, len(target)) == target


def test_where_no_address_changed_there_is_nothing_to_foresee() -> None:
    base, target = likeness(1, 5000)
    assert plain_of(target, base) is None


@pytest.mark.parametrize("seed", range(12))
def test_covers_read_from_a_difference_and_its_holes_are_the_target(seed: int) -> None:
    base, target = likeness(seed, 1 + 3000 * seed)
    covers = covers_of_hdiff(hdiff_of(base, target))
    spans = [*covers.holes(len(target)), *zip(covers.starts, covers.ends, strict=True)]
    assert sum(end - start for start, end in spans) == len(target)
    assert all(a <= b for a, b in pairwise(covers.ends.tolist()))
    assert (covers.starts + covers.lags).min(initial=0) >= 0
    assert (covers.ends + covers.lags).max(initial=0) <= len(base)


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(0, FUNCTION_COUNT - 1), max_size=30), st.integers(0, 1 << 30))
def test_any_program_is_made_again(grown: set[int], seed: int) -> None:
    target = bytearray(program(frozenset(grown)))
    chance = random.Random(seed)
    for _ in range(50):
        target[chance.randrange(len(target))] = chance.randrange(256)
    plain = plain_of(bytes(target), BASE)
    if plain is not None:
        assert apply_relinked(plain, BASE, len(target)) == target


def test_mutants_of_a_difference_are_refused_or_make_bytes_of_the_right_size() -> None:
    plain = plain_of(TARGET, BASE)
    assert plain is not None
    chance, refused = random.Random(3), 0
    for _ in range(1500):
        raw = bytearray(plain)
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(40 if chance.random() < 0.4 else len(raw))
            size = chance.randrange(3)
            raw[at : at + size] = chance.randbytes(size)
        try:
            assert len(apply_relinked(bytes(raw), BASE, len(TARGET))) == len(TARGET)
        except FormatError:
            refused += 1
    assert refused > 300


@pytest.mark.parametrize("end", [0, 5, 27, 28, 100, -1])
def test_a_difference_cut_off_is_refused(end: int) -> None:
    plain = plain_of(TARGET, BASE)
    assert plain is not None
    with pytest.raises(FormatError):
        apply_relinked(plain[:end], BASE, len(TARGET))


@pytest.mark.parametrize("size", [len(TARGET) - 1, len(TARGET) + 1, 1])
def test_a_difference_for_another_size_is_refused(size: int) -> None:
    plain = plain_of(TARGET, BASE)
    assert plain is not None
    with pytest.raises(FormatError):
        apply_relinked(plain, BASE, size)


def test_a_difference_for_a_shorter_base_is_refused() -> None:
    plain = plain_of(TARGET, BASE)
    assert plain is not None
    with pytest.raises(FormatError, match="out of its base"):
        apply_relinked(plain, BASE[:-1000], len(TARGET))


@given(st.lists(st.integers(0, NUMBER_MAX), max_size=50), st.lists(st.integers(0, 300)))
def test_columns_read_back(first: list[int], second: list[int]) -> None:
    columns = [np.array(column, np.int64) for column in (first, second)]
    raw = np.frombuffer(encode_columns(columns), np.uint8)
    read = decode_columns(raw, [len(first), len(second)])
    assert [column.tolist() for column in read] == [first, second]
    with pytest.raises(FormatError):
        decode_columns(raw, [len(first), len(second) + 1])


def test_a_number_of_seven_bytes_is_refused() -> None:
    with pytest.raises(FormatError, match="7 bytes"):
        decode_columns(np.frombuffer(b"\xff" * 6 + b"\1", np.uint8), [1])
