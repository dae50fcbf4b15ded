"""For each new chunk, the old chunks it may be made of: by anchors, by neighbours, by path.

1. Cut the old chunks into pieces and index them (``chunks/anchors.py``). What is new was most
   likely made of chunks that are gone; chunks that stay are looked at too, up to a limit.
2. Cut each new chunk likewise; where its pieces stand in the old build are windows worth reading.
3. Where anchors say little, guess: the shift of the chunks next to it, and the same place of the
   file of the same path, counted from its start and from its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import NamedTuple

import numpy as np

from chunks.anchors import AnchorIndex, Hits, Pieces, nearest_shifts, piece_size_for, pieces_of
from chunks.deflate_streams import find_streams
from kit.concurrency import for_each
from manifests.model import Build, Shard, index_at
from packager.chunk_source import ChunkSource, batches

BATCH_SIZE = 16 << 20
BATCHES_AT_ONCE = 3
"""One is fetched while two are cut, on two cores; together 48 MiB."""

KEPT_SIZE_MAX = 8 << 30
"""Of chunks that stay, so many bytes are read for what was copied from them and then changed."""

GUESS_MARGIN = 256 << 10
"""On both sides of a guess. Four times as much found nothing more and took a fifth longer."""

ROW_BASE_SIZE_MAX = 6 << 20
"""Old bytes looked at for one chunk, which has at most 1 MiB."""

BASE_CHUNK_SIZE_MIN = 4096
"""A smaller old chunk is no base. It can spare no more than its bytes, and where it is new itself
no delta pays that makes it: so all that stands on it would be lost to consoles further behind."""

STREAMS_SIZE_MIN = 4096
STREAMS_SHARE = 16
"""A row is looked into if a sixteenth of it, and so many bytes, are deflated."""

FILES_OF_CHUNK_MAX = 32
"""Of the small files that share a chunk so many are looked up by path."""


@dataclass(frozen=True, slots=True)
class Sources:
    """A new row, and the old rows it may be made of, ascending; none if nothing is known."""

    row: int
    old_rows: tuple[int, ...]
    holds_streams: bool = False
    """Whether a part of it worth looking into is deflated."""


class _Spoken(NamedTuple):
    spans: list[Sequence[int]]
    is_certain: bool
    """Whether anchors make up at least half of the row: nothing need be guessed."""


async def find_sources(
    old: ChunkSource, new: ChunkSource, rows: Sequence[int], threads: Executor
) -> list[Sources]:
    """Return, for each of ``rows`` of the new build, in order, where its bytes may come from.

    Holds 16 bytes for each kilobyte of the old build, at most 128 MiB, and a few batches.
    """
    piece_size = piece_size_for(int(old.positions[-1]))
    index = await _index_of(old, new.build, piece_size, threads)
    looks = await _looks_at(index, new, rows, piece_size, threads)
    return await asyncio.to_thread(_chosen, old, new, rows, looks)


async def _index_of(
    old: ChunkSource, new: Build, piece_size: int, threads: Executor
) -> AnchorIndex:
    async def cut(batch: list[int]) -> list[Pieces]:
        content = await old.read(batch)
        pieces = partial(_pieces, old, batch, content, piece_size)
        return await asyncio.get_running_loop().run_in_executor(threads, pieces)

    wanted = batches(old, _rows_to_index(old.build, new), BATCH_SIZE)
    found = await for_each(wanted, cut, at_once=BATCHES_AT_ONCE)
    return await asyncio.to_thread(AnchorIndex, [pieces for part in found for pieces in part])


def _rows_to_index(old: Build, new: Build) -> list[int]:
    is_kept = np.array([chunk_id in new.row_of for chunk_id in old.chunks.all_ids()], np.bool_)
    kept_size = np.cumsum(np.where(is_kept, old.chunks.sizes, 0), dtype=np.int64)
    rows: list[int] = np.flatnonzero(~is_kept | (kept_size <= KEPT_SIZE_MAX)).tolist()
    return rows


class _Look(NamedTuple):
    """What the bytes of a new row say."""

    hits: Hits
    holds_streams: bool


async def _looks_at(
    index: AnchorIndex,
    new: ChunkSource,
    rows: Sequence[int],
    piece_size: int,
    threads: Executor,
) -> list[_Look]:
    def look_up(batch: list[int], content: bytes) -> list[_Look]:
        found = map(index.hits, _pieces(new, batch, content, piece_size))
        return list(map(_Look, found, _stream_holders(new, batch, content)))

    async def look(batch: list[int]) -> list[_Look]:
        content = await new.read(batch)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(threads, look_up, batch, content)

    found = await for_each(batches(new, rows, BATCH_SIZE), look, at_once=BATCHES_AT_ONCE)
    return [each for part in found for each in part]


def _stream_holders(new: ChunkSource, rows: list[int], content: bytes) -> Iterator[bool]:
    """Yield of each row whether it holds enough deflated bytes, of streams cut off at its ends too.

    Rows that are not neighbours seldom make a stream together.
    """
    starts = np.cumsum([0, *(new.sizes[row] for row in rows)])
    folded_sizes = np.zeros(len(rows), np.int64)
    for stream in find_streams(content):
        first, last = np.searchsorted(starts, (stream.start, stream.end - 1), side="right") - 1
        for at in range(first, last + 1):
            inside = min(stream.end, starts[at + 1]) - max(stream.start, starts[at])
            folded_sizes[at] += inside
    for row, folded_size in zip(rows, folded_sizes.tolist(), strict=True):
        yield folded_size >= max(STREAMS_SIZE_MIN, new.sizes[row] // STREAMS_SHARE)


def _pieces(source: ChunkSource, rows: list[int], content: bytes, size: int) -> list[Pieces]:
    """Return the pieces of each row; ``content`` holds the rows end to end."""
    view, at, found = memoryview(content), 0, []
    for row in rows:
        end = at + source.sizes[row]
        found.append(pieces_of(view[at:end], int(source.positions[row]), size))
        at = end
    return found


def _chosen(
    old: ChunkSource, new: ChunkSource, rows: Sequence[int], looks: Sequence[_Look]
) -> list[Sources]:
    by_path = _ByPath(old.build, new.build)
    shifts = nearest_shifts([look.hits.main_shift() for look in looks])
    return [
        Sources(
            row,
            _old_rows(old, _spans(old, new, row, look.hits, near), by_path.guesses(row)),
            look.holds_streams,
        )
        for row, look, near in zip(rows, looks, shifts, strict=True)
    ]


def _spans(
    old: ChunkSource, new: ChunkSource, row: int, hits: Hits, near: Sequence[int]
) -> _Spoken:
    """Return the old rows that anchors speak for, in or next to a new row."""
    start, end = int(new.positions[row]), int(new.positions[row + 1])
    windows = hits.windows()
    spans: list[Sequence[int]] = [old.rows_between(at.start, at.end) for at in windows]
    spans += (
        old.rows_between(start + shift - GUESS_MARGIN, end + shift + GUESS_MARGIN) for shift in near
    )
    is_certain = sum(window.weight for window in windows) >= (end - start) // 2
    return _Spoken(spans, is_certain)


def _old_rows(old: ChunkSource, spoken: _Spoken, guesses: Iterator[list[int]]) -> tuple[int, ...]:
    """Return the old rows for one new row, what anchors speak for before what is guessed."""
    spans = chain(spoken.spans, () if spoken.is_certain else guesses)
    chosen: set[int] = set()
    size = 0
    for old_row in (old_row for span in spans for old_row in span):
        if old_row not in chosen and old.sizes[old_row] >= BASE_CHUNK_SIZE_MIN:
            size += old.sizes[old_row]
            if size > ROW_BASE_SIZE_MAX:
                break
            chosen.add(old_row)
    return tuple(sorted(chosen))


class _ByPath:
    """Where a new row's files were in the old build."""

    def __init__(self, old: Build, new: Build) -> None:
        self._old_places = {entry.path: (shard, index) for shard, index, entry in old.entries()}
        self._places: list[tuple[Shard, int]] = [(new.shards[0], -1)] * len(new.chunks)
        for shard in reversed(new.shards):
            for occurrence in reversed(range(len(shard.occurrences))):
                self._places[int(shard.occurrences[occurrence])] = (shard, occurrence)

    def guesses(self, row: int) -> Iterator[list[int]]:
        """Yield old rows around the same place in the old file of the same path."""
        shard, occurrence = self._places[row]
        for number, piece in enumerate(shard.pieces_of_chunk(occurrence)):
            found = self._old_places.get(shard.entries[piece.entry_index].path)
            if found is None or number >= FILES_OF_CHUNK_MAX:
                continue
            old_shard, old_index = found
            grown = old_shard.entries[old_index].size - shard.entries[piece.entry_index].size
            for shift in {0, grown}:
                start = piece.file_offset + shift
                yield _rows_of_file(old_shard, old_index, start, start + piece.length)


def _rows_of_file(shard: Shard, entry_index: int, start: int, end: int) -> list[int]:
    """Return the rows around ``[start, end)`` of a file, as far as they are the file's."""
    file_start, file_end = (int(at) for at in shard.entry_starts[entry_index : entry_index + 2])
    start = max(file_start, file_start + start - GUESS_MARGIN)
    end = min(file_end, file_start + end + GUESS_MARGIN)
    if start >= end:
        return []
    first, last = index_at(shard.chunk_starts, start), index_at(shard.chunk_starts, end - 1)
    rows: list[int] = shard.occurrences[first : last + 1].tolist()
    return rows
