"""Compare two builds byte range by byte range, knowing nothing but their chunks.

A file of the newer build is split into spans. Bytes whose chunk the older build holds cost no
download: they are *unchanged* if they stand in the same file at the same offset, else *moved*.
The others are downloaded. Between two spans that the older file has too lies what was there
before: as much of it as there was is *changed*, what goes beyond is *new*.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property

import msgspec
import numpy as np

from manifests.changes import Change, EntryChange, entry_changes
from manifests.model import U64, Build, Entry, Piece, Shard, index_at, starts_of

_NUMBERS = re.compile(r"[0-9a-f]{6,}|[0-9]+")


class SpanKind(Enum):
    """What became of a range of bytes."""

    UNCHANGED = "unchanged"
    MOVED = "moved"
    CHANGED = "changed"
    NEW = "new"

    @property
    def is_downloaded(self) -> bool:
        """Whether the older build does not hold these bytes."""
        return self in (SpanKind.CHANGED, SpanKind.NEW)


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes ``[start, end)`` of a newer file, and what of the older build stands for them.

    Of unchanged and moved bytes that is the same bytes. Of changed ones it is what they took the
    place of, as far as that can be told; of new ones it is nothing: ``old_path`` is empty.
    """

    start: int
    end: int
    kind: SpanKind
    old_path: str = ""
    old_start: int = 0

    @property
    def size(self) -> int:
        """How many bytes."""
        return self.end - self.start

    @property
    def shift(self) -> int:
        """By how many bytes it lies further behind than in the older file."""
        return self.start - self.old_start


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of some files by what became of them, and what a console downloads for them."""

    new: int = 0
    changed: int = 0
    moved: int = 0
    unchanged: int = 0
    download: int = 0
    """Chunks as they are stored, each counted once: where it first occurs in play order."""

    @property
    def total(self) -> int:
        """Bytes of the files."""
        return self.new + self.changed + self.moved + self.unchanged

    def __add__(self, other: Sizes) -> Sizes:
        return Sizes(
            new=self.new + other.new,
            changed=self.changed + other.changed,
            moved=self.moved + other.moved,
            unchanged=self.unchanged + other.unchanged,
            download=self.download + other.download,
        )


@dataclass(frozen=True)
class FileComparison:
    """A file of the newer build that is not as before."""

    path: str
    group: str
    change: Change
    old_path: str
    """What it is compared with: the same path, a removed file that most of its bytes come from or
    whose name differs in numbers only, or nothing."""
    old_size: int
    size: int
    spans: tuple[Span, ...]
    """In order, without gaps."""
    download_size: int

    @cached_property
    def sizes(self) -> Sizes:
        """Its bytes by what became of them."""
        counts = Counter[SpanKind]()
        for span in self.spans:
            counts[span.kind] += span.size
        return Sizes(**{kind.value: counts[kind] for kind in SpanKind}, download=self.download_size)

    @property
    def downloaded_spans(self) -> list[Span]:
        """The spans that the older build does not hold, in order."""
        return [span for span in self.spans if span.kind.is_downloaded]


@dataclass(frozen=True, slots=True)
class GroupComparison:
    """An install group of the newer build: all its files together."""

    name: str
    file_count: int
    changed_count: int
    """Files that are not as before, new ones among them."""
    sizes: Sizes


@dataclass(frozen=True, slots=True)
class RemovedFile:
    """A file that the newer build no longer has; its size in bytes."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """A newer build beside an older one."""

    groups: tuple[GroupComparison, ...]
    files: tuple[FileComparison, ...]
    """All files that are not as before, in play order."""
    removed: tuple[RemovedFile, ...]

    @property
    def sizes(self) -> Sizes:
        """Of the whole build."""
        return sum((group.sizes for group in self.groups), Sizes())


def compare(old: Build, new: Build) -> Comparison:
    """Compare every file of ``new`` with what ``old`` holds."""
    changes = entry_changes(old, new)
    removed = {c.path: c.old for c in changes if c.change is Change.REMOVED and c.old is not None}
    comparer = _Comparer(old, new, removed)
    of_new = iter(changes)
    groups: list[GroupComparison] = []
    files: list[FileComparison] = []
    for shard in new.shards:
        sizes, before = Sizes(), len(files)
        for index, entry in enumerate(shard.entries):
            change = next(of_new)
            if not entry.kind.is_file:
                continue
            if change.change is Change.UNCHANGED:
                sizes += Sizes(unchanged=entry.size)
                continue
            files.append(comparer.compared(shard, index, change))
            sizes += files[-1].sizes
        count = sum(entry.kind.is_file for entry in shard.entries)
        groups.append(GroupComparison(shard.name, count, len(files) - before, sizes))
    gone = (RemovedFile(path, entry.size) for path, entry in removed.items() if entry.kind.is_file)
    return Comparison(tuple(groups), tuple(files), tuple(gone))


class _OldPlaces:
    """Where the older build holds which chunk: its streams, laid end to end."""

    def __init__(self, old: Build) -> None:
        self._shards = old.shards
        self._bases = starts_of([shard.size for shard in old.shards])
        rows = np.concatenate([shard.occurrences for shard in old.shards])
        places = np.concatenate(
            [s.chunk_starts[:-1] + base for s, base in zip(old.shards, self._bases, strict=False)]
        )
        order = np.argsort(rows, kind="stable")
        self._places = places[order]
        self._starts = np.searchsorted(rows[order], np.arange(len(old.chunks) + 1))
        self.starts: dict[str, int] = {
            entry.path: int(base) + int(shard.entry_starts[index])
            for shard, base in zip(old.shards, self._bases, strict=False)
            for index, entry in enumerate(shard.entries)
        }
        """Where each file begins."""

    def of_chunk(self, row: int) -> U64:
        """Return every place of a chunk of the older build, ascending."""
        return self._places[self._starts[row] : self._starts[row + 1]]

    def name(self, place: int) -> tuple[str, int, int]:
        """Return the file that has its bytes at ``place``: path, offset, and bytes from there."""
        base_index = index_at(self._bases[:-1], place)
        shard, at = self._shards[base_index], place - int(self._bases[base_index])
        index = index_at(shard.entry_starts, at)
        start, end = int(shard.entry_starts[index]), int(shard.entry_starts[index + 1])
        return shard.entries[index].path, at - start, end - at


class _Comparer:
    def __init__(self, old: Build, new: Build, removed: dict[str, Entry]) -> None:
        self._places = _OldPlaces(old)
        self._old_row = np.array([old.row_of.get(id_, -1) for id_ in new.chunks.all_ids()], "i8")
        self._stored_sizes = new.chunks.stored_sizes
        self._sizes = new.chunks.sizes
        self._removed = removed
        self._removed_names: dict[str, list[Entry]] = {}
        for path, entry in removed.items():
            if entry.kind.is_file:
                self._removed_names.setdefault(_without_numbers(path), []).append(entry)
        self._counted = np.zeros(len(new.chunks), dtype=np.bool_)

    def compared(self, shard: Shard, index: int, change: EntryChange) -> FileComparison:
        entry = shard.entries[index]
        old = change.old if change.old is not None and change.old.kind.is_file else None
        pieces = list(shard.pieces_of_entry(index))
        old_path = "" if old is None else old.path
        spans = self._spans(pieces, old_path)
        if old is None and (found := self._renamed_from(spans, entry)) is not None:
            old, old_path = found, found.path
        old_size = 0 if old is None else old.size
        return FileComparison(
            path=entry.path,
            group=shard.name,
            change=change.change,
            old_path=old_path,
            old_size=old_size,
            size=entry.size,
            spans=tuple(_resolved(spans, old_path, old_size)),
            download_size=self._download_size(pieces),
        )

    def _renamed_from(self, spans: Sequence[Span], entry: Entry) -> Entry | None:
        """Return the removed file that this one was: by its bytes, or else by its name."""
        sources = Counter[str]()
        for span in spans:
            if span.kind is SpanKind.MOVED:
                sources[span.old_path] += span.size
        for path, found in sources.most_common(1):
            if path in self._removed and 2 * found >= entry.size:
                return self._removed[path]
        namesakes = self._removed_names.get(_without_numbers(entry.path), [])
        return namesakes[0] if len(namesakes) == 1 else None

    def _spans(self, pieces: Sequence[Piece], old_path: str) -> list[Span]:
        """Return the spans of a file, merged; what is not in the older build is still all new."""
        spans: list[Span] = []
        for piece in pieces:
            for span in self._spans_of_piece(piece, old_path, spans):
                if spans and _continues(spans[-1], span):
                    spans[-1] = replace(spans[-1], end=span.end)
                else:
                    spans.append(span)
        return spans

    def _spans_of_piece(
        self, piece: Piece, old_path: str, before: Sequence[Span]
    ) -> Iterator[Span]:
        start, end = piece.file_offset, piece.file_offset + piece.length
        row = int(self._old_row[piece.row])
        if row < 0:
            yield Span(start, end, SpanKind.NEW)
            return
        place = self._best_place(row, piece, old_path, before) + piece.chunk_offset
        while start < end:
            path, offset, left = self._places.name(place)
            size = min(end - start, left)
            is_same = path == old_path and offset == start
            kind = SpanKind.UNCHANGED if is_same else SpanKind.MOVED
            yield Span(start, start + size, kind, path, offset)
            start, place = start + size, place + size

    def _best_place(self, row: int, piece: Piece, old_path: str, before: Sequence[Span]) -> int:
        """Return where the older build holds a chunk: where it is least of a move."""
        places = self._places.of_chunk(row)
        wanted: list[int] = []
        if old_path:
            wanted.append(self._places.starts[old_path] + piece.file_offset - piece.chunk_offset)
        if before and before[-1].old_path:
            follows = self._places.starts[before[-1].old_path] + before[-1].old_start
            wanted.append(follows + before[-1].size - piece.chunk_offset)
        for place in wanted:
            found = int(np.searchsorted(places, np.uint64(max(place, 0))))
            if found < len(places) and int(places[found]) == place:
                return place
        if old_path:
            found = int(np.searchsorted(places, np.uint64(self._places.starts[old_path])))
            if found < len(places):
                return int(places[found])
        return int(places[0])

    def _download_size(self, pieces: Sequence[Piece]) -> int:
        total = 0
        for piece in pieces:
            if self._old_row[piece.row] >= 0 or self._counted[piece.row]:
                continue
            stored, size = int(self._stored_sizes[piece.row]), int(self._sizes[piece.row])
            end = piece.chunk_offset + piece.length
            # Rounded so that the pieces of a chunk add up to what is stored of it.
            total += stored * end // size - stored * piece.chunk_offset // size
            if end == size:
                self._counted[piece.row] = True
        return total


def _without_numbers(path: str) -> str:
    """Return ``path`` with versions and digests left out: ``lib-1.2/a-9f86d081.so`` is the next
    build's ``lib-1.3/a-60303ae2.so``."""
    return _NUMBERS.sub("#", path)


def _continues(before: Span, after: Span) -> bool:
    if (before.kind, before.old_path) != (after.kind, after.old_path):
        return False
    return not before.old_path or before.shift == after.shift


def _resolved(spans: Sequence[Span], old_path: str, old_size: int) -> Iterator[Span]:
    """Tell changed bytes from new ones by what the older file had between the same neighbours."""
    for index, span in enumerate(spans):
        if not span.kind.is_downloaded or not old_path:
            yield span
            continue
        old_start, old_end = _gap(spans, index, old_path, old_size)
        # Neighbours in another order than before leave no gap: then all of it is a change.
        room = old_end - old_start if old_end >= old_start else span.size
        middle = span.start + min(room, span.size)
        if middle > span.start:
            yield Span(span.start, middle, SpanKind.CHANGED, old_path, min(old_start, old_size))
        if middle < span.end:
            yield Span(middle, span.end, SpanKind.NEW)


def _gap(spans: Sequence[Span], index: int, old_path: str, old_size: int) -> tuple[int, int]:
    before = [span for span in spans[:index][-1:] if span.old_path == old_path]
    after = [span for span in spans[index + 1 :][:1] if span.old_path == old_path]
    if (index > 0 and not before) or (index + 1 < len(spans) and not after):
        # A neighbour comes from elsewhere: nothing tells what stood here.
        start = before[0].old_start + before[0].size if before else spans[index].start
        return start, start - 1
    start = before[0].old_start + before[0].size if before else 0
    return start, after[0].old_start if after else old_size
