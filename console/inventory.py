"""What of an installed build is still what it should be: file by file and chunk by chunk.

A *quick* inventory trusts a file whose size, time of change and inode are as recorded, and reads
only the others. A *thorough* one reads every byte.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum

import numpy as np
from numpy.typing import NDArray

from console.installed import Installed, entries_of, stamp_of
from console.layout import Mask, touching, whole
from console.safe_paths import Folder
from console.seeds import Seed, SeedFiles, SeedReader
from console.workers import Workers
from manifests.model import Build, Entry, EntryKind, Shard

BATCH_SIZE = 32 << 20
"""Bytes one thread verifies at a time: some 10 ms, far above what it costs to hand them over."""


class Fault(Enum):
    """What is wrong with an installed path."""

    MISSING = "missing"
    REPLACED = "replaced"
    """Something else stands there: not a file, or a link that points elsewhere."""
    SIZE = "size"
    DAMAGED = "damaged"
    UNCHECKED = "unchecked"
    """It shares a chunk with a file that is missing or has another size, so nothing can be said."""
    MODE = "mode"


@dataclass(frozen=True, slots=True)
class Wound:
    """A damaged span ``[start, end)`` of an installed file, in bytes."""

    path: str
    fault: Fault
    start: int
    end: int


@dataclass(frozen=True)
class Inventory:
    """The state of the groups of ``build`` that are installed."""

    build: Build
    groups: tuple[int, ...]
    intact: Sequence[Mask]
    """By group: the entries that are exactly what the build says, but for their mode."""
    readable: Sequence[Mask]
    """By group: the occurrences whose bytes are there."""
    wounds: tuple[Wound, ...]
    read_size: int
    """Bytes that were read to find out."""


class _State(IntEnum):
    TRUSTED = 0
    SUSPECT = 1
    """A regular file; its bytes have to be read."""
    WRONG_SIZE = 2
    """The same, but it cannot be intact."""
    GONE = 3
    """Nothing to read."""


@dataclass(frozen=True, slots=True)
class InstalledFiles:
    """The title's folder as a place of seeds."""

    top: Folder
    build: Build

    def files(self) -> SeedFiles:
        """Return the files for one thread."""
        return _InstalledReader(self.top.clone(), self.build)


class _InstalledReader:
    def __init__(self, top: Folder, build: Build) -> None:
        self._top = top
        self._build = build

    def open_entry(self, group: int, entry_index: int) -> int | None:
        return self._top.open_file(self._build.shards[group].entries[entry_index].path)

    def close(self) -> None:
        self._top.close()


async def take_inventory(
    top: Folder, installed: Installed, build: Build, workers: Workers, *, is_thorough: bool
) -> Inventory:
    """Find out what of ``installed``, whose build is ``build``, is still sound."""
    states, wounds = await workers.run(_look, top, installed, build, is_thorough)
    everything = [np.ones(len(shard.occurrences), np.bool_) for shard in build.shards]
    seed = Seed(build, InstalledFiles(top, build), everything)
    unknown = [
        touching(shard, (state == _State.SUSPECT) | (state == _State.WRONG_SIZE))
        & ~touching(shard, state == _State.GONE)
        for shard, state in zip(build.shards, states, strict=True)
    ]
    sound = [
        ~touching(shard, state != _State.TRUSTED)
        for shard, state in zip(build.shards, states, strict=True)
    ]
    read_size = 0
    async for batch, right in workers.each(_verify, _batches(seed, unknown)):
        sound[batch.group][batch.occurrences[right]] = True
        read_size += batch.size
    intact = [
        ((state == _State.TRUSTED) | ((state == _State.SUSPECT) & whole(shard, good)))
        for shard, state, good in zip(build.shards, states, sound, strict=True)
    ]
    for group in installed.groups:
        wounds += _wounds_of(build.shards[group], states[group], unknown[group], sound[group])
    return Inventory(build, installed.groups, intact, sound, tuple(wounds), read_size)


def _look(
    top: Folder, installed: Installed, build: Build, is_thorough: bool
) -> tuple[list[NDArray[np.uint8]], list[Wound]]:
    """Return each entry's state from what the file system says of it; groups not there are GONE."""
    states = [np.full(len(s.entries), _State.GONE, np.uint8) for s in build.shards]
    wounds: list[Wound] = []
    stamps = iter(installed.stamps.tolist())
    with top.clone() as folder:
        for group, index, entry in entries_of(build, installed.groups):
            found = folder.status(entry.path)
            stamp = tuple(next(stamps))
            if found is None:
                wounds.append(Wound(entry.path, Fault.MISSING, 0, entry.size))
            elif not _is_of_kind(folder, entry, found):
                wounds.append(Wound(entry.path, Fault.REPLACED, 0, entry.size))
            else:
                states[group][index] = _state(entry, found, stamp, is_thorough)
                wounds += _file_wounds(entry, found)
    return states, wounds


def _is_of_kind(folder: Folder, entry: Entry, found: os.stat_result) -> bool:
    if entry.kind is EntryKind.LINK:
        return folder.link_target(entry.path) == entry.target
    if entry.kind is EntryKind.DIRECTORY:
        return stat.S_ISDIR(found.st_mode)
    return stat.S_ISREG(found.st_mode)


def _state(
    entry: Entry, found: os.stat_result, stamp: tuple[int, ...], is_thorough: bool
) -> _State:
    if not entry.kind.is_file:
        return _State.TRUSTED
    if found.st_size != entry.size:
        return _State.WRONG_SIZE
    if entry.size == 0 or (not is_thorough and stamp == stamp_of(found)):
        return _State.TRUSTED
    return _State.SUSPECT


def _file_wounds(entry: Entry, found: os.stat_result) -> Iterator[Wound]:
    if not entry.kind.is_file:
        return
    if found.st_size != entry.size:
        start = min(found.st_size, entry.size)
        yield Wound(entry.path, Fault.SIZE, start, max(found.st_size, entry.size))
    if bool(found.st_mode & 0o100) != (entry.kind is EntryKind.EXECUTABLE):
        yield Wound(entry.path, Fault.MODE, 0, 0)


@dataclass(frozen=True, slots=True)
class _Span:
    """Occurrences of one group to be verified by one thread."""

    seed: Seed
    group: int
    occurrences: NDArray[np.int64]
    size: int


def _batches(seed: Seed, unknown: Sequence[Mask]) -> Iterator[_Span]:
    for group, mask in enumerate(unknown):
        wanted = np.flatnonzero(mask)
        sizes = np.diff(seed.build.shards[group].chunk_starts)[wanted]
        ends = np.cumsum(sizes, dtype=np.int64)
        at = 0
        while at < len(wanted):
            taken = int(ends[at - 1]) if at else 0
            end = max(at + 1, int(np.searchsorted(ends, taken + BATCH_SIZE, side="right")))
            yield _Span(seed, group, wanted[at:end], int(sizes[at:end].sum()))
            at = end


def _verify(span: _Span) -> tuple[_Span, Mask]:
    """Return which of a span's occurrences are what their ids say."""
    reader = SeedReader(span.seed)
    try:
        right = [
            reader.read(span.group, occurrence) is not None
            for occurrence in span.occurrences.tolist()
        ]
    finally:
        reader.close()
    return span, np.array(right, np.bool_)


def _wounds_of(
    shard: Shard, states: NDArray[np.uint8], unknown: Mask, sound: Mask
) -> Iterator[Wound]:
    """Yield the spans of files whose chunks are not sound, neighbours joined."""
    last: Wound | None = None
    for occurrence in np.flatnonzero(~sound).tolist():
        pieces = list(shard.pieces_of_chunk(occurrence))
        is_whole = all(states[p.entry_index] in (_State.TRUSTED, _State.SUSPECT) for p in pieces)
        is_bad = bool(unknown[occurrence]) and is_whole
        fault = Fault.DAMAGED if is_bad or len(pieces) == 1 else Fault.UNCHECKED
        for piece in pieces:
            if states[piece.entry_index] in (_State.GONE, _State.TRUSTED):
                continue
            path, end = shard.entries[piece.entry_index].path, piece.file_offset + piece.length
            if last and (last.path, last.fault, last.end) == (path, fault, piece.file_offset):
                last = Wound(path, fault, last.start, end)
            else:
                if last:
                    yield last
                last = Wound(path, fault, piece.file_offset, end)
    if last:
        yield last
