"""Decide, entry by entry, how new bytes come into place. Pure.

In this order: an old file with the same bytes is **adopted** (renamed at the commit); where the
file system can, a new file begins as a **clone** of an old one; it is **built whole** beside the
old one; and where there is no room for that, the old file is **patched in place**.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from chunks.chunker import CHUNK_SIZE_MIN
from console.inventory import Inventory
from console.layout import Layout, Mask, no_entries, whole_occurrences
from console.seeds import first_usable, same_rows
from manifests.changes import Content, content_of
from manifests.model import Build, Entry, Shard

Location: TypeAlias = tuple[int, int]
"""Group and entry index in one build."""


class Mode(StrEnum):
    """How changed large files come into place."""

    OVERLAY = "overlay"
    """Each is built whole beside the old one."""
    CLONE = "clone"
    """Each begins as a clone of an old one, which shares its blocks."""
    IN_PLACE = "in-place"
    """Old files are changed where they are, once everything needed is here."""


@dataclass(frozen=True)
class Placement:
    """Who is made of what. Entries with bytes, and links, that are in none of the three mappings
    are made from nothing."""

    mode: Mode
    written: Sequence[Mask]
    """By group: entries made in staging while bytes come; clones are, the others are not."""
    adopted: Mapping[Location, Location] = field(default_factory=dict)
    """New entries and the old files they are."""
    cloned: Mapping[Location, Location] = field(default_factory=dict)
    """New entries and the old files they begin as."""
    patched: Mapping[Location, Location] = field(default_factory=dict)
    """New entries and the old files that are changed to become them."""
    kept: Sequence[NDArray[np.int64]] = ()
    """By group, for occurrences of cloned and patched entries: the occurrence of the old file's
    group that stands at the same place and is the same chunk; -1 for none."""

    @property
    def uses_old_files(self) -> bool:
        """Whether old files are renamed or changed."""
        return bool(self.adopted or self.patched)

    def layout(self, new: Build) -> Layout:
        """Return where the rows of ``new`` are written."""
        stored = [no_entries(shard) for shard in new.shards]
        for group, index in self.patched:
            stored[group][index] = True
        kept = [old >= 0 for old in self.kept] if self.kept else None
        return Layout(new.shards, self.written, kept=kept, stored=stored)


def placement_of(
    mode: Mode,
    staged: Sequence[Mask],
    old: Inventory | None,
    new: Build,
    *,
    doubtful: Sequence[Mask],
    patchable: Collection[Location] = (),
) -> Placement:
    """Decide for the ``staged`` entries of ``new``; ``old`` is what is here.

    The ``doubtful`` of them may turn out to be installed, so the files at their paths are nobody
    else's to take. ``patchable`` are the old files that may be changed where they are. The mode
    of the answer is ``OVERLAY`` if nothing comes of another.
    """
    if old is None:
        return Placement(Mode.OVERLAY, staged)
    gone = list(_gone(staged, doubtful, old, new))
    adopted = _adoptions(staged, old, new, gone)
    written = [mask.copy() for mask in staged]
    for group, index in adopted:
        written[group][index] = False
    if mode is Mode.OVERLAY:
        return Placement(mode, written, adopted)
    candidates = [at for at in _large(new, written) if at not in adopted]
    if mode is Mode.CLONE:
        bases = _Bases(old, new, list(large_installed(old)), is_shared=True)
    else:
        taken = set(adopted.values())
        free = [at for at in gone if at not in taken and at in patchable]
        bases = _Bases(old, new, free, is_shared=False)
    found = bases.choose(candidates)
    if mode is Mode.CLONE:
        # Without a single byte at its place a clone saves nothing.
        found = {at: base for at, base in found.items() if bases.keeps(at, base)}
    if not found:
        return Placement(Mode.OVERLAY, written, adopted)
    kept = bases.kept(found)
    if mode is Mode.CLONE:
        return Placement(mode, written, adopted, cloned=found, kept=kept)
    for group, index in found:
        written[group][index] = False
    return Placement(mode, written, adopted, patched=found, kept=kept)


def _gone(
    staged: Sequence[Mask], doubtful: Sequence[Mask], old: Inventory, new: Build
) -> Iterator[Location]:
    """Yield the old files that certainly go away or are replaced."""
    staying = {
        new.shards[group].entries[index].path
        for group, (made, maybe) in enumerate(zip(staged, doubtful, strict=True))
        for index in np.flatnonzero(~made | maybe).tolist()
    }
    for at, entry in _installed_files(old):
        if entry.path not in staying:
            yield at


def _adoptions(
    staged: Sequence[Mask], old: Inventory, new: Build, gone: Sequence[Location]
) -> dict[Location, Location]:
    wanted: dict[Content, list[Location]] = {}
    sizes = {new.shards[group].entries[index].size for group, index in _files(new, staged)}
    for group, index in gone:
        shard = old.build.shards[group]
        if shard.entries[index].size in sizes and old.intact[group][index]:
            content = content_of(old.build, shard, index)
            wanted.setdefault(content, []).append((group, index))
    found: dict[Location, Location] = {}
    for group, index in _files(new, staged) if wanted else ():
        same = wanted.get(content_of(new, new.shards[group], index))
        if same:
            found[group, index] = same.pop(0)
    return found


class _Bases:
    """Finds the old file that a new one has most in common with."""

    def __init__(
        self, old: Inventory, new: Build, free: Sequence[Location], *, is_shared: bool
    ) -> None:
        """Choose among the ``free`` old files; unless ``is_shared`` each once."""
        self._old = old
        self._new = new
        self._is_shared = is_shared
        self._free = {at: None for at in free if is_cut_alone(old.build, at)}
        self._by_path = {old.build.shards[g].entries[i].path: (g, i) for g, i in self._free}
        self._old_rows = same_rows(new.chunks.ids, old.build.chunks.ids)
        self._groups, self._occurrences = first_usable(old.build, old.readable)

    def choose(self, candidates: Sequence[Location]) -> dict[Location, Location]:
        """Return a base for each of ``candidates`` that has one; the same path comes first."""
        found: dict[Location, Location] = {}
        cut_alone = [at for at in candidates if is_cut_alone(self._new, at)]
        for group, index in cut_alone:
            base = self._by_path.get(self._new.shards[group].entries[index].path)
            if base is not None and base in self._free and self._shares((group, index), base):
                self._take((group, index), base, found)
        for at in cut_alone:
            if at not in found and (best := self._best(at)) is not None:
                self._take(at, best, found)
        return found

    def kept(self, found: Mapping[Location, Location]) -> list[NDArray[np.int64]]:
        """Return, by group of the new build, what :attr:`Placement.kept` is."""
        kept = [np.full(len(shard.occurrences), -1, np.int64) for shard in self._new.shards]
        for at, base in found.items():
            first, last = occurrences_of(self._new, at)
            kept[at[0]][first:last] = self._kept_in(at, base)
        return kept

    def keeps(self, at: Location, base: Location) -> bool:
        """Return whether any chunk of the base is at its place in the new file."""
        return bool((self._kept_in(at, base) >= 0).any())

    def _take(self, at: Location, base: Location, found: dict[Location, Location]) -> None:
        found[at] = base
        if not self._is_shared:
            del self._free[base]

    def _kept_in(self, at: Location, base: Location) -> NDArray[np.int64]:
        first, last = occurrences_of(self._new, at)
        old_first, old_last = occurrences_of(self._old.build, base)
        starts = _starts_in(self._new.shards[at[0]], first, last)
        old_starts = _starts_in(self._old.build.shards[base[0]], old_first, old_last)
        beside = np.searchsorted(old_starts, starts)
        beside = np.minimum(beside, len(old_starts) - 1) + old_first
        old_shard = self._old.build.shards[base[0]]
        rows = self._old_rows[self._new.shards[at[0]].occurrences[first:last]]
        is_kept = (
            (old_starts[beside - old_first] == starts)
            & (old_shard.occurrences[beside] == rows)
            & self._old.readable[base[0]][beside]
        )
        return np.where(is_kept, beside, -1)

    def _shares(self, at: Location, base: Location) -> bool:
        """Return whether a readable chunk of the base occurs in the new file."""
        first, last = occurrences_of(self._new, at)
        old_first, old_last = occurrences_of(self._old.build, base)
        readable = self._old.readable[base[0]][old_first:old_last]
        there = self._old.build.shards[base[0]].occurrences[old_first:old_last][readable]
        rows = self._old_rows[self._new.shards[at[0]].occurrences[first:last]]
        return bool(np.isin(rows, there).any())

    def _best(self, at: Location) -> Location | None:
        """Return the free old file that most of the new one's bytes were found in."""
        first, last = occurrences_of(self._new, at)
        new_rows = self._new.shards[at[0]].occurrences[first:last]
        rows = self._old_rows[new_rows]
        sizes = self._new.chunks.sizes[new_rows][rows >= 0].astype(np.int64)
        rows = rows[rows >= 0]
        shared: dict[Location, int] = {}
        for group in np.unique(self._groups[rows]).tolist():
            if group < 0:
                continue
            is_here = self._groups[rows] == group
            shard = self._old.build.shards[group]
            starts = shard.chunk_starts[self._occurrences[rows[is_here]]]
            indexes = np.searchsorted(shard.entry_starts, starts, side="right") - 1
            counted = np.bincount(indexes, weights=sizes[is_here])
            for index in np.flatnonzero(counted).tolist():
                if (group, index) in self._free:
                    shared[group, index] = int(counted[index])
        return max(shared, key=lambda base: shared[base]) if shared else None


def is_cut_alone(build: Build, at: Location) -> bool:
    """Return whether a file shares no chunk with its neighbours, as large ones do not."""
    shard = build.shards[at[0]]
    return whole_occurrences(shard, at[1]) is not None


def occurrences_of(build: Build, at: Location) -> tuple[int, int]:
    """Return the first occurrence of a file that is cut alone, and the one after the last."""
    found = whole_occurrences(build.shards[at[0]], at[1])
    assert found is not None
    return found


def _starts_in(shard: Shard, first: int, last: int) -> NDArray[np.int64]:
    starts: NDArray[np.int64] = shard.chunk_starts[first:last].astype(np.int64)
    return starts - int(shard.chunk_starts[first])


def _files(build: Build, masks: Sequence[Mask]) -> Iterator[Location]:
    for group, mask in enumerate(masks):
        for index in np.flatnonzero(mask).tolist():
            entry = build.shards[group].entries[index]
            if entry.kind.is_file and entry.size:
                yield group, index


def _large(build: Build, masks: Sequence[Mask]) -> Iterator[Location]:
    for group, index in _files(build, masks):
        if build.shards[group].entries[index].size >= CHUNK_SIZE_MIN:
            yield group, index


def large_installed(old: Inventory) -> Iterator[Location]:
    """Yield the installed files that are cut alone."""
    return (at for at, entry in _installed_files(old) if entry.size >= CHUNK_SIZE_MIN)


def _installed_files(old: Inventory) -> Iterator[tuple[Location, Entry]]:
    for group in old.groups:
        for index, entry in enumerate(old.build.shards[group].entries):
            if entry.kind.is_file and entry.size:
                yield (group, index), entry
