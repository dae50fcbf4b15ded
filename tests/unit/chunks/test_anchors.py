"""Anchors: where bytes come from is found whether they moved, grew, or stand in two places."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunks.anchors import (
    ANCHOR_COUNT_MAX,
    GAP_MAX,
    MARGIN,
    PIECE_SIZE,
    REPEATS_MAX,
    AnchorIndex,
    Hits,
    nearest_shifts,
    piece_size_for,
    pieces_of,
)

OLD = random.Random(1).randbytes(2 << 20)
INDEX = AnchorIndex([pieces_of(OLD, 0)])


def hits_at(*places: tuple[int, int, int]) -> Hits:
    old, new, sizes = np.array(places, np.int64).reshape(-1, 3).T
    return Hits(old, new, sizes)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=20_000), st.integers(0, 1 << 40))
def test_pieces_cover_the_content_once(content: bytes, position: int) -> None:
    pieces = pieces_of(content, position)
    ends = pieces.positions + pieces.sizes
    assert int(pieces.sizes.sum()) == len(content)
    assert pieces.positions.tolist() == [position, *ends.tolist()[:-1]][: len(pieces.positions)]


@pytest.mark.parametrize("inserted", [1, 1000, 100_000])
def test_moved_bytes_say_how_far_they_moved(inserted: int) -> None:
    content = random.Random(2).randbytes(inserted) + OLD[500_000:900_000]
    hits = INDEX.hits(pieces_of(content, 7_000_000))
    shift = hits.main_shift()
    assert shift is not None
    assert abs(shift - (500_000 - inserted - 7_000_000)) <= 1
    (window,) = hits.windows()
    assert window.start <= 500_000 + 4 * PIECE_SIZE
    assert window.end >= 900_000 - 4 * PIECE_SIZE
    assert window.weight > 350_000


def test_bytes_of_two_places_make_two_windows_the_weightier_first() -> None:
    content = OLD[:60_000] + OLD[1_500_000:1_900_000]
    heavy, light = INDEX.hits(pieces_of(content, 0)).windows()
    assert heavy.start - MARGIN <= 1_500_000
    assert heavy.end + MARGIN >= 1_900_000
    assert light.start <= 4 * PIECE_SIZE
    assert heavy.weight > light.weight


def test_what_is_nowhere_in_the_old_has_no_hits() -> None:
    hits = INDEX.hits(pieces_of(random.Random(3).randbytes(100_000), 0))
    assert hits.main_shift() is None
    assert hits.windows() == []


def test_an_empty_index_and_empty_content_hit_nothing() -> None:
    assert len(AnchorIndex([])) == 0
    assert AnchorIndex([]).hits(pieces_of(OLD, 0)).windows() == []
    assert INDEX.hits(pieces_of(b"", 0)).windows() == []


@pytest.mark.parametrize(("count", "is_found"), [(REPEATS_MAX, True), (REPEATS_MAX + 1, False)])
def test_a_piece_that_stands_everywhere_says_nothing(count: int, is_found: bool) -> None:
    again = random.Random(4).randbytes(50_000)
    index = AnchorIndex([pieces_of(again, at * 1_000_000) for at in range(count)])
    assert (len(index.hits(pieces_of(again, 0)).old) > 0) is is_found


def test_anchors_far_apart_are_of_two_windows() -> None:
    far = GAP_MAX + 5001
    assert len(hits_at((0, 0, 5000), (far, 5000, 5000)).windows()) == 2
    assert len(hits_at((0, 0, 5000), (far - 1, 5000, 5000)).windows()) == 1


def test_a_few_bytes_in_common_are_chance() -> None:
    assert hits_at((0, 0, 4095)).windows() == []
    assert len(hits_at((0, 0, 4096)).windows()) == 1


def test_a_long_anchor_bridges_short_ones_within_it() -> None:
    hits = hits_at((0, 0, 900_000), (10, 0, 10), (900_000 + GAP_MAX, 0, 5000))
    (window,) = hits.windows()
    assert window.end == 900_000 + GAP_MAX + 5000 + MARGIN


def test_the_shift_most_bytes_vote_for_wins_though_others_are_more() -> None:
    hits = hits_at((1_000_000, 0, 9000), *((at, at, 1000) for at in range(0, 8000, 1000)))
    assert hits.main_shift() == 1_000_000


def test_pieces_grow_where_there_would_be_too_many() -> None:
    assert piece_size_for(0) == piece_size_for(ANCHOR_COUNT_MAX * PIECE_SIZE) == PIECE_SIZE
    assert piece_size_for((ANCHOR_COUNT_MAX + 1) * PIECE_SIZE) == 2 * PIECE_SIZE
    assert (100 << 40) // piece_size_for(100 << 40) <= ANCHOR_COUNT_MAX


@pytest.mark.parametrize(
    ("shifts", "nearest"),
    [
        ([], []),
        ([None, None], [set(), set()]),
        ([1, None, None, 2], [{1}, {1, 2}, {1, 2}, {2}]),
        ([None, 5, None], [{5}, {5}, {5}]),
    ],
)
def test_what_has_no_shift_takes_its_neighbours(
    shifts: list[int | None], nearest: list[set[int]]
) -> None:
    assert [set(found) for found in nearest_shifts(shifts)] == nearest
