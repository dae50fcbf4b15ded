"""Say which bytes have to be moved to patch old files into new ones. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from console.arranging import Arranged, Draft, arrange, rounded
from console.chunk_store import stored_name
from console.inventory import Inventory
from console.layout import Mask
from console.placement import Location, Placement, occurrences_of
from console.script import Check, File, Move, Part, Patched, Script, Take, size_of
from console.seeds import Rows, first_usable, same_rows
from console.staging import staged_name
from manifests.model import Build, EntryKind


@dataclass(frozen=True)
class Here:
    """What is on this console when files are patched."""

    old: Inventory
    stored: Mask
    """Rows of the new build that are kept in staging."""
    files: Mapping[Location, Found]
    """Large old files."""


@dataclass(frozen=True, slots=True)
class Found:
    """An installed file as it lies on the disk."""

    size: int
    """In bytes."""
    stamp: tuple[int, int]
    may_be_patched: bool
    """Whether it is ours alone: nobody else sees what is written to it."""


def script_of(new: Build, placement: Placement, here: Here, room: int) -> tuple[Script, Arranged]:
    """Return what a commit does with old files, and what it costs.

    With the script itself it takes at most ``room`` bytes, or as few as can be.
    """
    drafter = _Drafter(new, placement, here)
    draft = drafter.draft()

    def written_down(found: Arranged) -> Script:
        return Script(
            takes=tuple(_takes(placement, here)),
            patched=tuple(_patched(new, placement)),
            files=found.files,
            batches=found.batches,
            checks=tuple(drafter.checks),
        )

    found = arrange(draft, room, size_of=lambda each: rounded(size_of(written_down(each))))
    return written_down(found), found


def _takes(placement: Placement, here: Here) -> Iterator[Take]:
    for (group, index), (old_group, old_index) in _taken(placement):
        path = here.old.build.shards[old_group].entries[old_index].path
        stamp = here.files[old_group, old_index].stamp
        yield Take(path, staged_name(group, index), group, index, stamp)


def _taken(placement: Placement) -> Sequence[tuple[Location, Location]]:
    return [*placement.adopted.items(), *placement.patched.items()]


def _patched(new: Build, placement: Placement) -> Iterator[Patched]:
    for group, index in placement.patched:
        entry = new.shards[group].entries[index]
        is_executable = entry.kind is EntryKind.EXECUTABLE
        yield Patched(group, index, staged_name(group, index), entry.size, is_executable)


class _Drafter:
    def __init__(self, new: Build, placement: Placement, here: Here) -> None:
        self._new = new
        self._placement = placement
        self._here = here
        self._old_rows = same_rows(new.chunks.ids, here.old.build.chunks.ids)
        self._groups, self._occurrences = first_usable(here.old.build, here.old.readable)
        self._takers = {old: at for at, old in _taken(placement)}
        self._files: dict[File, int] = {}
        self._stored_sizes: dict[int, int] = {}
        self.checks: list[Check] = []

    def draft(self) -> Draft:
        """Return every move; what is at its place already is left alone."""
        moves: list[Move] = []
        sizes_before: dict[int, int] = {}
        for at, base in self._placement.patched.items():
            target = self._file(File(staged_name(*at), True))
            sizes_before[target] = self._here.files[base].size
            moves += self._moves_to(at, target)
        return Draft(tuple(self._files), moves, sizes_before, self._stored_sizes)

    def _moves_to(self, at: Location, target: int) -> Iterator[Move]:
        group, index = at
        shard = self._new.shards[group]
        start = int(shard.entry_starts[index])
        first, last = occurrences_of(self._new, at)
        kept = self._placement.kept[group][first:last]
        for occurrence in (np.flatnonzero(kept < 0) + first).tolist():
            row = int(shard.occurrences[occurrence])
            offset = int(shard.chunk_starts[occurrence]) - start
            place = Part(target, offset, int(self._new.chunks.sizes[row]))
            self.checks.append(Check(group, index, row, place))
            yield Move(place, tuple(self._sources(row)))

    def _sources(self, row: int) -> Iterator[Part]:
        if self._here.stored[row]:
            file = self._file(File(stored_name(row), True))
            self._stored_sizes[file] = int(self._new.chunks.sizes[row])
            yield Part(file, 0, self._stored_sizes[file])
            return
        group, occurrence = self._source_of(row)
        for piece in self._here.old.build.shards[group].pieces_of_chunk(occurrence):
            file = self._file(self._old_file((group, piece.entry_index)))
            yield Part(file, piece.file_offset, piece.length)

    def _source_of(self, row: int) -> Location:
        old_row = int(self._old_rows[row])
        assert old_row >= 0, "neither kept in staging nor installed"
        group = int(self._groups[old_row])
        assert group >= 0, "neither kept in staging nor installed"
        return group, int(self._occurrences[old_row])

    def _old_file(self, old: Location) -> File:
        taker = self._takers.get(old)
        if taker is not None:
            return File(staged_name(*taker), True)
        return File(self._here.old.build.shards[old[0]].entries[old[1]].path, False)

    def _file(self, file: File) -> int:
        return self._files.setdefault(file, len(self._files))


def unproved(
    new: Build, placement: Placement, old: Inventory, stored: Mask
) -> Iterator[tuple[Location, int, int, int]]:
    """Yield kept occurrences that were not read themselves when their row was verified.

    As the group and occurrence in ``new``, then the group and occurrence in ``old``.
    """
    groups, occurrences = first_usable(old.build, old.readable)
    old_rows: Rows = same_rows(new.chunks.ids, old.build.chunks.ids)
    for at, base in placement.patched.items():
        first, last = occurrences_of(new, at)
        for occurrence in range(first, last):
            kept = int(placement.kept[at[0]][occurrence])
            row = int(new.shards[at[0]].occurrences[occurrence])
            old_row = int(old_rows[row])
            was_read = (int(groups[old_row]), int(occurrences[old_row])) == (base[0], kept)
            if kept >= 0 and (stored[row] or not was_read):
                yield at, occurrence, base[0], kept
