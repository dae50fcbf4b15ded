"""Plane columns and what is derived in them: every way there and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.columns import (
    ColumnReader,
    back_references,
    gaps_of,
    offsets_of,
    rows_of,
    to_planes,
)

U32_NUMBERS = st.lists(st.integers(0, 2**32 - 1), max_size=50)
ROW = st.tuples(st.integers(0, 2), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))


def u32(numbers: list[int]) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    return np.array(numbers, np.uint32)


def test_planes_are_all_lowest_bytes_first() -> None:
    assert to_planes(u32([0x04030201, 0x14131211])).hex() == "0111021203130414"


@given(U32_NUMBERS, st.lists(st.integers(0, 2**64 - 1), max_size=50))
def test_columns_read_back_one_after_another(small: list[int], large: list[int]) -> None:
    body = to_planes(u32(small)) + to_planes(np.array(large, np.uint64)) + b"rest"
    reader = ColumnReader(body)
    assert reader.u32_planes(len(small)).tolist() == small
    assert reader.u64_planes(len(large)).tolist() == large
    assert bytes(reader.take(4)) == b"rest"


def test_rows_keep_their_zeros() -> None:
    rows = ColumnReader(b"a\0\0b\0\0").rows(2, 3)
    assert [row.tobytes() for row in rows] == [b"a\0\0", b"b\0\0"]


@given(st.lists(ROW, max_size=50))
def test_offsets_come_back_from_gaps(rows: list[tuple[int, int, int]]) -> None:
    bundles, offsets, sizes = (u32([row[i] for row in rows]) for i in range(3))
    gaps = gaps_of(bundles, offsets, sizes)
    assert offsets_of(bundles, gaps, sizes).tolist() == offsets.tolist()


@given(st.lists(ROW, max_size=50))
def test_any_gaps_come_back_from_their_offsets(rows: list[tuple[int, int, int]]) -> None:
    bundles, gaps, sizes = (u32([row[i] for row in rows]) for i in range(3))
    offsets = offsets_of(bundles, gaps, sizes)
    assert gaps_of(bundles, offsets, sizes).tolist() == gaps.tolist()


def test_a_bundle_packed_in_one_go_has_only_zeros() -> None:
    assert (
        gaps_of(u32([0, 0, 0, 1, 1]), u32([0, 10, 30, 0, 5]), u32([10, 20, 9, 5, 1])).tolist()
        == [0] * 5
    )


@given(st.lists(st.integers(0, 20), max_size=100))
def test_rows_come_back_from_references(choices: list[int]) -> None:
    seen: list[int] = []
    for choice in choices:
        seen.append(min(choice, max(seen, default=-1) + 1))
    rows = u32(seen)
    references = back_references(rows)
    assert rows_of(references).tolist() == seen
    assert np.count_nonzero(references == 0) == len(set(seen))


@given(U32_NUMBERS)
def test_references_give_rows_that_were_seen_or_are_refused(references: list[int]) -> None:
    try:
        rows = rows_of(u32(references)).tolist()
    except ValueError:
        return
    for index, row in enumerate(rows):
        assert 0 <= row <= max(rows[:index], default=-1) + 1


@pytest.mark.parametrize("references", [[1], [0, 2], [0, 0, 2**32 - 1]])
def test_a_reference_before_the_first_is_refused(references: list[int]) -> None:
    with pytest.raises(ValueError, match="before the first"):
        rows_of(u32(references))
