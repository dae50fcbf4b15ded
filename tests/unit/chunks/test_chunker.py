"""Cutting: bounded sizes, and the same cuts whatever the window one looks through."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunks.chunker import CHUNK_SIZE_MAX, CHUNK_SIZE_MIN, cut, starts_segment

SEGMENT = random.Random(11).randbytes(5 << 20)
FLAT = bytes(3 << 20) + SEGMENT[: 1 << 20]  # nothing to cut at: only maximal chunks, then some
WHOLE = {segment: cut(segment, is_last=True) for segment in (SEGMENT, FLAT)}


def cut_through_windows(segment: bytes, steps: list[int]) -> list[int]:
    """Cut as a reader does that appends ``steps`` bytes in turn to what is left over."""
    sizes: list[int] = []
    start = end = turn = 0
    while end < len(segment):
        end = min(end + steps[turn % len(steps)], len(segment))
        turn += 1
        final = cut(memoryview(segment)[start:end], is_last=end == len(segment))
        sizes += final
        start += sum(final)
        assert end - start <= CHUNK_SIZE_MAX, "more than one maximal chunk is left over"
    return sizes


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(100_000, 4 << 20), min_size=1, max_size=5),
    st.sampled_from([SEGMENT, FLAT]),
)
def test_windows_of_any_size_cut_as_the_whole(steps: list[int], segment: bytes) -> None:
    assert cut_through_windows(segment, steps) == WHOLE[segment]


@pytest.mark.parametrize("size", [CHUNK_SIZE_MAX - 1, CHUNK_SIZE_MAX, CHUNK_SIZE_MAX + 1])
@pytest.mark.parametrize("segment", [SEGMENT, FLAT], ids=["random", "flat"])
def test_windows_about_one_maximal_chunk_cut_as_the_whole(segment: bytes, size: int) -> None:
    assert cut_through_windows(segment, [size]) == WHOLE[segment]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 3 << 20), st.integers(0, 2 << 20))
def test_sizes_are_within_bounds_and_add_up(size: int, start: int) -> None:
    segment = SEGMENT[start : start + size]
    sizes = cut(segment, is_last=True)
    assert sum(sizes) == len(segment)
    assert all(CHUNK_SIZE_MIN <= size <= CHUNK_SIZE_MAX for size in sizes[:-1])
    assert all(0 < size <= CHUNK_SIZE_MAX for size in sizes)


def test_nothing_has_no_chunks() -> None:
    assert cut(b"", is_last=True) == []
    assert cut(b"", is_last=False) == []


def test_a_window_that_may_go_on_for_less_than_a_chunk_has_no_final_chunk() -> None:
    assert cut(SEGMENT[: CHUNK_SIZE_MAX - 1], is_last=False) == []


def test_an_inserted_byte_moves_few_cuts() -> None:
    ends = {sum(WHOLE[SEGMENT][: count + 1]) for count in range(len(WHOLE[SEGMENT]))}
    edited = cut(SEGMENT[:1000] + b"!" + SEGMENT[1000:], is_last=True)
    edited_ends = {sum(edited[: count + 1]) - 1 for count in range(len(edited))}
    assert len(ends - edited_ends) <= 2


def test_a_file_of_the_least_chunk_size_stands_alone() -> None:
    assert starts_segment(CHUNK_SIZE_MIN)
    assert not starts_segment(CHUNK_SIZE_MIN - 1)
