"""A manifest that was written reads back as it was, whatever the build."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.model import Entry, EntryKind
from manifests.page import FIRST_PAGE_AIM
from tests.builds import chunk_table, cut_sizes, entry_lists, pages_of, read_back


@settings(max_examples=60, deadline=None)
@given(entry_lists(), st.data())
def test_entries_and_chunks_read_back(entries: list[Entry], data: st.DataObject) -> None:
    sizes = cut_sizes(sum(entry.size for entry in entries), data)
    chunks = chunk_table(sizes)
    occurrences = list(range(len(sizes)))
    build = read_back([("launch", entries, pages_of(entries, chunks, occurrences))])

    (shard,) = build.shards
    assert list(shard.entries) == entries
    assert build.chunks.ids[shard.occurrences].tobytes() == chunks.ids.tobytes()
    for column in ("sizes", "stored_sizes", "offsets"):
        assert np.array_equal(
            getattr(build.chunks, column)[shard.occurrences], getattr(chunks, column)
        )
    for row in range(len(chunks)):
        old = chunks.bundles[int(chunks.bundle_indexes[row])]
        assert build.chunks.bundles[int(build.chunks.bundle_indexes[row])] == old


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 19), min_size=1, max_size=600), st.integers(0, 5))
def test_repeated_chunks_read_back(rows: list[int], salt: int) -> None:
    chunks = chunk_table([1000 + row for row in range(20)], salt)
    total = sum(1000 + row for row in rows)
    entries = [Entry("a", EntryKind.FILE, total)]
    build = read_back([("launch", entries, pages_of(entries, chunks, rows))])
    assert build.chunks.ids[build.shards[0].occurrences].tobytes() == chunks.ids[rows].tobytes()


@settings(max_examples=60, deadline=None)
@given(entry_lists(), st.data())
def test_pieces_cover_every_file_once(entries: list[Entry], data: st.DataObject) -> None:
    sizes = cut_sizes(sum(entry.size for entry in entries), data)
    build = read_back([("g", entries, pages_of(entries, chunk_table(sizes), range(len(sizes))))])
    (shard,) = build.shards
    by_entry = [piece for index in range(len(entries)) for piece in shard.pieces_of_entry(index)]
    by_chunk = [piece for index in range(len(sizes)) for piece in shard.pieces_of_chunk(index)]
    assert by_entry == by_chunk
    for index, entry in enumerate(entries):
        assert sum(piece.length for piece in shard.pieces_of_entry(index)) == entry.size


def test_first_page_fits_the_first_round_trips_and_has_the_first_chunk() -> None:
    entries = [Entry(f"file{index}", EntryKind.FILE, 300_000) for index in range(5000)]
    pages = pages_of(entries, chunk_table([300_000] * 5000), range(5000))
    assert len(pages[0].data) <= FIRST_PAGE_AIM
    assert pages[0].chunk_count > 100
