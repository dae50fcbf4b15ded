"""The layout of a ``relinked`` difference (``docs/format/deltas.md``), read in distrust.

A target is made in four steps: covers copy from the base, literals fill the holes, addresses are
foreseen (``addresses.py``), and what is still wrong gets differences added.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from chunks.address_search import Foresight, find_addresses
from chunks.addresses import SECTION_SIZE_MAX, Kind, Section, ShiftTable, foresee
from chunks.covers import Bytes, Covers
from chunks.number_columns import (
    Numbers,
    decode_columns,
    encode_columns,
    folded,
    unfolded,
)
from kit.buffers import Buffer
from kit.errors import FormatError

COVERS_MAX = 1 << 17
SECTIONS_MAX = 1 << 12
SHIFTS_MAX = 1 << 17
RUNS_MAX = 1 << 19
"""What a reader takes; 16 MiB of a program have a tenth of it, and at most half of the runs."""

_HEADER = struct.Struct("<7I")
_BATCH = 4096
"""Runs of differences added at once."""


@dataclass(frozen=True, slots=True)
class _Runs:
    """Where bytes differ from what was foreseen, and by how much, end to end."""

    starts: Numbers
    ends: Numbers
    differences: Bytes


def encode_relinked(target: Bytes, base: Bytes, covers: Covers) -> bytes | None:
    """Return the difference, not packed; none if there are no addresses or too much of anything."""
    if len(covers) > COVERS_MAX:
        return None
    made = covers.copied(base, len(target))
    literals = [target[start:end] for start, end in covers.holes(len(target))]
    for start, end in covers.holes(len(target)):
        made[start:end] = target[start:end]
    found = find_addresses(target, made, covers)
    if not 0 < len(found.sections) <= SECTIONS_MAX:
        return None
    foresee(made, covers, found.sections, found.tables)
    runs = _runs_of(target - made)
    shift_count = sum(len(table.shifts) for table in found.tables)
    if shift_count > SHIFTS_MAX or len(runs.starts) > RUNS_MAX:
        return None
    numbers = encode_columns(
        [
            *_cover_columns(covers),
            *_foresight_columns(found),
            *_span_columns(runs.starts, runs.ends),
        ]
    )
    header = _HEADER.pack(
        len(covers),
        len(found.sections),
        len(found.tables),
        shift_count,
        len(runs.starts),
        len(numbers),
        len(runs.differences),
    )
    return b"".join((header, numbers, runs.differences.tobytes(), *map(bytes, literals)))


def apply_relinked(plain: bytes, base: bytes, size: int) -> Buffer:
    """Return the ``size`` bytes that a difference makes of ``base``.

    Raises:
        FormatError: It breaks a rule of the layout, told before anything of that size is allocated.
    """
    if len(plain) < _HEADER.size:
        raise FormatError("a delta is too short")
    header = _HEADER.unpack_from(plain)
    cover_count, section_count, table_count, shift_count, run_count, *sizes = header
    if (
        cover_count > COVERS_MAX
        or table_count > section_count
        or section_count > SECTIONS_MAX
        or shift_count > SHIFTS_MAX
        or run_count > RUNS_MAX
    ):
        raise FormatError("a delta has more parts than one may have")
    content = np.frombuffer(plain, np.uint8)[_HEADER.size :]
    if sum(sizes) > len(content):
        raise FormatError("a delta's parts do not add up")
    numbers, differences, literals = np.split(content, np.cumsum(sizes))
    counts = [cover_count] * 3 + [section_count] * 4
    counts += [table_count, shift_count + table_count, shift_count, run_count, run_count]
    columns = decode_columns(numbers, counts)
    covers = _read_covers(*columns[:3], base_size=len(base), size=size)
    sections = _read_sections(*columns[3:7], table_count=table_count, size=size)
    tables = _read_tables(*columns[7:10])
    starts, ends = _read_spans(*columns[10:], size=size)
    if int((ends - starts).sum()) != len(differences):
        raise FormatError("a delta's differences do not add up")
    if size - int((covers.ends - covers.starts).sum()) != len(literals):
        raise FormatError("a delta's literals do not add up")
    made = covers.copied(np.frombuffer(base, np.uint8), size)
    at = 0
    for start, end in covers.holes(size):
        made[start:end] = literals[at : at + end - start]
        at += end - start
    foresee(made, covers, sections, tables)
    _add(made, _Runs(starts, ends, differences))
    return made.data


def _runs_of(differences: Bytes) -> _Runs:
    places = np.flatnonzero(differences)
    is_first = np.diff(places, prepend=-2) > 1
    is_last = np.diff(places, append=len(differences) + 1) > 1
    return _Runs(places[is_first], places[is_last] + 1, differences[places])


def _add(made: Bytes, runs: _Runs) -> None:
    """Add differences to ``made``, some runs at a time: an index takes eight bytes for one."""
    at = 0
    for first in range(0, len(runs.starts), _BATCH):
        starts, ends = runs.starts[first : first + _BATCH], runs.ends[first : first + _BATCH]
        sizes = ends - starts
        total = int(sizes.sum())
        part = runs.differences[at : at + total]
        firsts = np.cumsum(sizes) - sizes
        if total > 64 * _BATCH:
            spans = (starts.tolist(), ends.tolist(), firsts.tolist())
            for start, end, of in zip(*spans, strict=True):
                made[start:end] += part[of : of + end - start]
        else:
            made[np.arange(total) + np.repeat(starts - firsts, sizes)] += part
        at += total


def _span_columns(starts: Numbers, ends: Numbers) -> list[Numbers]:
    """Return how far behind the one before each span starts, and its size."""
    return [starts - np.concatenate(([0], ends))[: len(starts)], ends - starts]


def _read_spans(gaps: Numbers, sizes: Numbers, *, size: int) -> tuple[Numbers, Numbers]:
    """Return starts and ends, in order, within ``size``, none empty."""
    if len(gaps) and (max(gaps.max(), sizes.max()) > size or not sizes.min()):
        raise FormatError("a delta has a span that is empty or larger than what it makes")
    ends = np.cumsum(gaps + sizes)
    if len(ends) and ends[-1] > size:
        raise FormatError("a delta makes more than it should")
    return ends - sizes, ends


def _cover_columns(covers: Covers) -> list[Numbers]:
    steps = folded(np.diff(covers.lags, prepend=0))
    return [*_span_columns(covers.starts, covers.ends), steps]


def _read_covers(
    gaps: Numbers, sizes: Numbers, steps: Numbers, *, base_size: int, size: int
) -> Covers:
    starts, ends = _read_spans(gaps, sizes, size=size)
    lags = np.cumsum(unfolded(steps))
    if len(lags) and ((starts + lags).min() < 0 or (ends + lags).max() > base_size):
        raise FormatError("a delta reaches out of its base")
    return Covers(starts, ends, lags)


def _foresight_columns(found: Foresight) -> list[Numbers]:
    sections, tables = found.sections, found.tables
    starts, ends, kinds, of = (
        np.array(column, np.int64)
        for column in zip(*((s.start, s.end, s.kind, s.table) for s in sections), strict=True)
    )
    keys = np.concatenate([table.keys for table in tables])
    shifts = np.concatenate([table.shifts for table in tables])
    counts = np.array([len(table.shifts) for table in tables], np.int64)
    steps = [folded(np.diff(column, prepend=0)) for column in (keys, shifts)]
    return [*_span_columns(starts, ends), kinds, of, counts, *steps]


def _read_sections(
    gaps: Numbers, sizes: Numbers, kinds: Numbers, tables: Numbers, *, table_count: int, size: int
) -> list[Section]:
    starts, ends = _read_spans(gaps, sizes, size=size)
    if len(sizes) and sizes.max() > SECTION_SIZE_MAX:
        raise FormatError(f"a delta has a section of {sizes.max()} bytes")
    if len(kinds) and kinds.max() >= len(Kind):
        raise FormatError(f"a delta has a section of kind {kinds.max()}")
    if len(tables) and tables.max() >= table_count:
        raise FormatError("a delta has a section without a table")
    columns = (starts.tolist(), ends.tolist(), kinds.tolist(), tables.tolist())
    return [
        Section(start, end, Kind(kind), of) for start, end, kind, of in zip(*columns, strict=True)
    ]


def _read_tables(counts: Numbers, key_steps: Numbers, shift_steps: Numbers) -> list[ShiftTable]:
    if len(counts) and (counts.max() > len(shift_steps) or not counts.min()):
        raise FormatError("a delta has a table that is empty or larger than all")
    if int(counts.sum()) != len(shift_steps):
        raise FormatError("a delta's tables do not add up")
    ends = np.cumsum(counts)
    every_key, every_shift = np.cumsum(unfolded(key_steps)), np.cumsum(unfolded(shift_steps))
    tables: list[ShiftTable] = []
    for at, (count, end) in enumerate(zip(counts.tolist(), ends.tolist(), strict=True)):
        keys = every_key[end - count + at : end + at + 1]
        if (np.diff(keys) <= 0).any():
            raise FormatError("a delta has a table out of order")
        tables.append(ShiftTable(keys, every_shift[end - count : end]))
    return tables
