"""The way from chunks to files, against the plain way: byte by byte."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from console.layout import Layout, Mask, covered, touching, whole
from manifests.model import Entry, EntryKind, Shard, starts_of


@st.composite
def shards(draw: st.DrawFn) -> tuple[Shard, Mask]:
    """A stream of a few bytes, cut and filled anyhow; and some of its entries."""
    chunks = draw(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 5)), min_size=1, max_size=8))
    chunk_sizes, rows = [size for size, _ in chunks], [row for _, row in chunks]
    total = sum(chunk_sizes)
    cuts = sorted(draw(st.lists(st.integers(0, total), max_size=10)))
    sizes = np.diff([0, *cuts, total]).tolist()
    entries = tuple(Entry(f"f{i}", EntryKind.FILE, size) for i, size in enumerate(sizes))
    shard = Shard("s", entries, np.array(rows, np.uint32), starts_of(chunk_sizes))
    return shard, bits(draw(st.integers(0)), len(entries))


def bits(number: int, count: int) -> Mask:
    return np.array([number >> bit & 1 for bit in range(count)], np.bool_)


def byte_table(shard: Shard) -> list[tuple[int, int]]:
    """For each byte of the stream, its occurrence and its entry."""
    occurrences = np.repeat(
        np.arange(len(shard.occurrences)), np.diff(shard.chunk_starts).astype(int)
    )
    entries = np.repeat(np.arange(len(shard.entries)), [e.size for e in shard.entries])
    return list(zip(occurrences.tolist(), entries.tolist(), strict=True))


@given(shards())
def test_touching_is_any_byte(case: tuple[Shard, Mask]) -> None:
    shard, mask = case
    expected = {o for o, e in byte_table(shard) if mask[e]}
    assert set(np.flatnonzero(touching(shard, mask)).tolist()) == expected


@given(shards())
def test_covered_is_every_byte(case: tuple[Shard, Mask]) -> None:
    shard, mask = case
    outside = {o for o, e in byte_table(shard) if not mask[e]}
    expected = set(range(len(shard.occurrences))) - outside
    assert set(np.flatnonzero(covered(shard, mask)).tolist()) == expected


@given(shards(), st.integers(0))
def test_whole_is_every_byte_of_an_entry(case: tuple[Shard, Mask], number: int) -> None:
    shard = case[0]
    good = bits(number, len(shard.occurrences))
    lacking = {e for o, e in byte_table(shard) if not good[o]}
    expected = set(range(len(shard.entries))) - lacking
    assert set(np.flatnonzero(whole(shard, good)).tolist()) == expected


@given(shards())
def test_places_bring_every_staged_byte_once(case: tuple[Shard, Mask]) -> None:
    shard, mask = case
    layout, written = Layout([shard], [mask]), dict[tuple[int, int], int]()
    for row in layout.rows.tolist():
        for place in layout.places(row):
            piece = place.piece
            for at in range(piece.length):
                byte = (piece.entry_index, piece.file_offset + at)
                assert byte not in written
                written[byte] = piece.chunk_offset + at
    expected = {
        (index, at)
        for index, entry in enumerate(shard.entries)
        if mask[index]
        for at in range(entry.size)
    }
    assert set(written) == expected


@given(shards())
def test_write_size_is_what_places_add_up_to(case: tuple[Shard, Mask]) -> None:
    shard, mask = case
    layout = Layout([shard], [mask])
    everything = np.ones(8, np.bool_)
    total = sum(p.piece.length for row in layout.rows.tolist() for p in layout.places(row))
    assert layout.write_size(everything) == total
