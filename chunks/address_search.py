"""Find where a target holds addresses, and how far what they point to moved.

Both are guessed from what changed: a block where calls changed is code, one where every eighth
byte begins a number that changed holds pointers. A guess that is wrong costs bytes, nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from chunks.addresses import (
    DISTANCE_MAX,
    IS_RELATIVE,
    SECTION_SIZE_MAX,
    Fields,
    Kind,
    Section,
    ShiftTable,
    code_fields,
    corrections,
    field_size,
    fields_of,
    words_of,
)
from chunks.covers import Bytes, Covers
from chunks.number_columns import NUMBER_MAX, Numbers

BLOCK_SIZE = 4096
"""Bytes that are of one kind. Half of it gains nothing: programs keep their kinds apart."""

_CHANGED_MIN = 8
"""Fields of one kind that must have changed in a block: fewer are worth no correction."""

_AGREED_MIN = 3
"""Fields in a row, by old address, that must have moved alike: two cost as much as they save."""

_POINTER_MIN, _POINTER_MAX = 1 << 12, 1 << 40
"""Where programs and their libraries are linked to; smaller numbers are counts and flags."""

_CHANGE_MAX = 1 << 24
"""Nothing in a program moves as far: what seems to is no address."""

_PROGRAM_STARTS = (b"\x7fELF", b"MZ\x90\0\3\0")
"""Addresses of one program say nothing of another's, even if they are the same numbers."""


@dataclass(frozen=True, slots=True)
class Foresight:
    """Sections and tables to correct a copy by."""

    sections: list[Section]
    tables: list[ShiftTable]


@dataclass(frozen=True, slots=True)
class _Area:
    """A span of one kind in the program that begins at ``program``."""

    start: int
    end: int
    kind: Kind
    program: int


def find_addresses(target: Bytes, made: Bytes, covers: Covers) -> Foresight:
    """Return how to correct ``made``, copied by covers and filled up, to be like ``target``."""
    found = Foresight([], [])
    areas = sorted(_areas(target, made), key=lambda area: (area.program, area.kind))
    for _, group in groupby(areas, key=lambda area: (area.program, area.kind)):
        sections = [part for area in group for part in _parts(area, len(found.tables))]
        table = _learn(target, made, covers, sections)
        better = [each for each in sections if _gain(target, made, covers, each, table) > 0]
        if better:
            found.sections.extend(better)
            found.tables.append(table)
    found.sections.sort(key=lambda section: section.start)
    return found


def _areas(target: Bytes, made: Bytes) -> list[_Area]:
    """Join blocks of the same kind, over others where nothing much changed."""
    programs = _program_starts(target)
    areas: list[_Area] = []
    for block, kind, phase in _blocks(target, made):
        start, end = block * BLOCK_SIZE + phase, (block + 1) * BLOCK_SIZE
        program = int(programs[np.searchsorted(programs, block * BLOCK_SIZE, "right") - 1])
        if areas:
            last = areas[-1]
            is_alike = (last.kind, last.program) == (kind, program)
            if is_alike and (start - last.start) % field_size(kind) == 0:
                areas[-1] = _Area(last.start, end, kind, program)
                continue
        areas.append(_Area(start, end, kind, program))
    return areas


def _program_starts(target: Bytes) -> Numbers:
    content, starts = target.tobytes(), [0]
    for magic in _PROGRAM_STARTS:
        at = content.find(magic, 1)
        while at >= 0:
            starts.append(at)
            at = content.find(magic, at + 1)
    return np.array(sorted(starts), np.int64)


def _blocks(target: Bytes, made: Bytes) -> Iterator[tuple[int, Kind, int]]:
    """Yield each block in which fields of a kind changed, the kind, and where the first begins."""
    count = len(target) // BLOCK_SIZE
    blocks, copies = (
        content[: count * BLOCK_SIZE].reshape(count, BLOCK_SIZE) for content in (target, made)
    )
    rows = np.flatnonzero(np.count_nonzero(blocks != copies, axis=1) >= _CHANGED_MIN)
    if not len(rows):
        return
    new, old = blocks[rows].reshape(-1), copies[rows].reshape(-1)
    ways: list[tuple[Kind, int]] = []
    counts: list[NDArray[np.int64]] = []
    for kind in Kind:
        for phase in range(1 if kind is Kind.CODE else field_size(kind)):
            changed = _changed(new, old, kind, phase)
            ways.append((kind, phase))
            counts.append(np.bincount(changed // BLOCK_SIZE, minlength=len(rows)))
    table = np.array(counts)
    best, most = table.argmax(0), table.max(0)
    for at in np.flatnonzero(most >= _CHANGED_MIN).tolist():
        yield (int(rows[at]), *ways[best[at]])


def _changed(new: Bytes, old: Bytes, kind: Kind, phase: int) -> Numbers:
    """Return where fields would have changed as addresses do, were all of one kind and phase."""
    if kind is Kind.CODE:
        positions = code_fields(old)
        is_changed = words_of(new, kind)[positions] != words_of(old, kind)[positions]
        changed: Numbers = positions[is_changed]
        return changed
    size = field_size(kind)
    end = phase + (len(new) - phase) // size * size
    after, before = (content[phase:end].view(f"<i{size}") for content in (new, old))
    rows = np.flatnonzero(after != before)
    values, new_values = before[rows].astype(np.int64), after[rows].astype(np.int64)
    changes = new_values - values
    is_near = np.abs(changes) < _CHANGE_MAX
    match kind:
        case Kind.POINTERS:
            is_address = (values >= _POINTER_MIN) & (values < _POINTER_MAX)
        case Kind.DISTANCES:
            is_address = (values < 0) & (values >= -DISTANCE_MAX) & (new_values < 0)
        case _:  # in pairs: what stands two before moved alike
            is_address = np.abs(values) >= _POINTER_MIN
            is_address[2:] &= changes[2:] == changes[:-2]
    changed = rows[is_near & is_address] * size + phase
    return changed


def _parts(area: _Area, table: int) -> Iterator[Section]:
    for start in range(area.start, area.end, SECTION_SIZE_MAX):
        yield Section(start, min(start + SECTION_SIZE_MAX, area.end), area.kind, table)


def _learn(target: Bytes, made: Bytes, covers: Covers, sections: Sequence[Section]) -> ShiftTable:
    """Return how far what stood at which address moved, as most fields that point there say."""
    kind = sections[0].kind
    fields = [fields_of(made, covers, section) for section in sections]
    addresses = np.concatenate([each.addresses for each in fields])
    shifts = np.concatenate([_shifts(target, kind, each) for each in fields])
    is_likely = np.abs(shifts) < _CHANGE_MAX
    if kind is Kind.POINTERS:
        is_likely &= (addresses >= _POINTER_MIN) & (addresses < _POINTER_MAX)
    addresses, shifts, votes = _elected(addresses[is_likely], shifts[is_likely])
    for agreed in (2, _AGREED_MIN):  # outliers first: they part what agrees
        starts, sizes = _runs(shifts)
        keep = np.repeat(np.add.reduceat(votes, starts) >= agreed, sizes) if len(starts) else starts
        addresses, shifts, votes = addresses[keep], shifts[keep], votes[keep]
    starts, _ = _runs(shifts)
    if not len(starts):
        return ShiftTable(starts, starts)
    return ShiftTable(np.append(addresses[starts], addresses[-1] + 1), shifts[starts])


def _elected(addresses: Numbers, shifts: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Return each address once, in order, with the shift most fields say, and how many do."""
    order = np.lexsort((shifts, addresses))
    addresses, shifts = addresses[order], shifts[order]
    is_new = np.ones(len(order), np.bool_)
    is_new[1:] = (addresses[1:] != addresses[:-1]) | (shifts[1:] != shifts[:-1])
    rows = np.flatnonzero(is_new)
    votes = np.diff(rows, append=len(order))
    addresses, shifts = addresses[rows], shifts[rows]
    order = np.lexsort((votes, addresses))
    is_last = np.diff(addresses, append=NUMBER_MAX) > 0
    chosen = order[is_last]
    return addresses[chosen], shifts[chosen], votes[chosen]


def _gain(target: Bytes, made: Bytes, covers: Covers, section: Section, table: ShiftTable) -> int:
    """Return how many fields of ``section`` the table corrects, less those it spoils."""
    corrected = corrections(made, covers, section, table)
    words, right = words_of(made, section.kind), words_of(target, section.kind)
    wanted = right[corrected.positions]
    is_right, was_right = corrected.values == wanted, words[corrected.positions] == wanted
    return int(np.count_nonzero(is_right)) - int(np.count_nonzero(was_right))


def _shifts(target: Bytes, kind: Kind, fields: Fields) -> Numbers:
    moved = words_of(target, kind)[fields.positions].astype(np.int64) - fields.values
    return moved - fields.lags if kind in IS_RELATIVE else moved


def _runs(numbers: Numbers) -> tuple[Numbers, Numbers]:
    """Return where runs of equal numbers start, and their lengths."""
    starts = np.flatnonzero(np.concatenate(([True], numbers[1:] != numbers[:-1]))[: len(numbers)])
    return starts, np.diff(starts, append=len(numbers))
