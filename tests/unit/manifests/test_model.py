"""A build in memory: where bytes of files lie in chunks, and bytes of chunks in files."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from manifests.model import Entry, EntryKind, Piece, Shard, index_at, starts_of
from tests.builds import file


def shard_of(entry_sizes: list[int], chunk_sizes: list[int]) -> Shard:
    entries = tuple(file(f"f{index}", size) for index, size in enumerate(entry_sizes))
    rows = np.arange(len(chunk_sizes), dtype=np.uint32)
    return Shard("g", entries, rows, starts_of(chunk_sizes))


def test_starts_are_running_sums() -> None:
    assert starts_of([]).tolist() == [0]
    assert starts_of([5, 0, 7]).tolist() == [0, 5, 5, 12]
    assert starts_of(np.array([2**32 - 1] * 3, np.uint32)).tolist()[-1] == 3 * (2**32 - 1)


@pytest.mark.parametrize(("offset", "index"), [(0, 0), (4, 0), (5, 2), (11, 2), (12, 3), (99, 3)])
def test_the_index_at_an_offset_is_the_last_that_starts_there(offset: int, index: int) -> None:
    assert index_at(starts_of([5, 0, 7]), offset) == index


def test_offsets_beyond_what_floats_hold_are_told_apart() -> None:
    far = 2**60
    starts = np.array([0, far, far + 1], np.uint64)
    assert [index_at(starts, far - 1), index_at(starts, far), index_at(starts, far + 1)] == [
        0,
        1,
        2,
    ]


def test_a_lookup_does_not_copy_the_column() -> None:
    """A plain int would make numpy turn all of it into floats, every time."""
    starts = starts_of([1] * 1_000_000)
    tracemalloc.start()
    try:
        assert index_at(starts, 500_000) == 500_000
        assert tracemalloc.get_traced_memory()[1] < starts.nbytes // 100
    finally:
        tracemalloc.stop()


def test_pieces_of_a_chunk_skip_empty_files() -> None:
    shard = shard_of([3, 0, 0, 4, 0, 5], [5, 7])
    assert list(shard.pieces_of_chunk(0)) == [Piece(0, 0, 0, 0, 3), Piece(3, 0, 0, 3, 2)]
    assert list(shard.pieces_of_chunk(1)) == [Piece(3, 2, 1, 0, 2), Piece(5, 0, 1, 2, 5)]


def test_pieces_of_an_entry_follow_its_chunks() -> None:
    shard = shard_of([3, 0, 9], [5, 7])
    assert list(shard.pieces_of_entry(0)) == [Piece(0, 0, 0, 0, 3)]
    assert list(shard.pieces_of_entry(1)) == []
    assert list(shard.pieces_of_entry(2)) == [Piece(2, 0, 0, 3, 2), Piece(2, 2, 1, 0, 7)]


def test_only_files_have_bytes() -> None:
    assert [kind.is_file for kind in EntryKind] == [True, True, False, False]
    assert Entry("a", EntryKind.DIRECTORY).size == 0
