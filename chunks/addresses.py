"""Foresee how the addresses in a program changed when it was linked again.

When a function grows, all that lies behind it moves, and every call and every pointer into it
changes: thousands of fields, none of them news. What stood at one old address has one new one. So
a **shift table** says, once, how far what is at which address moved; and **sections** say where
fields lie that hold addresses. The copied bytes are corrected by both before anything else is.

Nothing here knows a file format. Which fields there are is a rule about bytes (:class:`Kind`),
what they point to a number; one that is none is corrected wrongly, and costs what it would save.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunks.covers import Bytes, Covers
from chunks.number_columns import Numbers

SECTION_SIZE_MAX = 256 << 10
"""Bytes of a section: what one takes besides, a few times as much, stays in a core's cache."""

_FAR = 8
"""Highest byte of a jump, up or down: no program has more than 128 MiB of code."""

DISTANCE_MAX = 1 << 28
"""Up to here a negative number of 32 bits may be a distance. Most others are floats or code."""

_OPCODES = np.zeros(256, np.bool_)
_OPCODES[
    list(
        bytes.fromhex(
            "01 03 09 0b 10 11 12 13 14 16 21 23 28 29 2b 2e 2f 33 38 39 3a 3b 51 54"
            "57 58 59 5a 5c 5e 62 63 6c 6e 6f 7e 7f 80 81 83 84 85 88 89 8a 8b 8d af"
            "b6 b7 be bf c6 c7 d4 d6 db eb ef f6 f7 fa fe ff"
        )
    )
] = True
"""x86-64 instructions that programs apply to what lies relative to themselves."""


class Kind(IntEnum):
    """Which fields of a section hold addresses; the numbers are the format's."""

    CODE = 0
    """Of x86-64: jumps and calls of 32 bits, and operands relative to the instruction."""
    POINTERS = 1
    """64 bits, the address itself, one after another: relocations, tables of methods."""
    OFFSETS = 2
    """32 bits, the address less something that stays: unwinding and exception tables."""
    DISTANCES = 3
    """32 bits, the address less the field's own, below zero: frames, tables of jumps."""


IS_RELATIVE = {Kind.CODE, Kind.DISTANCES}


@dataclass(frozen=True, slots=True)
class Section:
    """A span of the target, its kind, and the number of its table."""

    start: int
    end: int
    kind: Kind
    table: int


@dataclass(frozen=True, slots=True)
class ShiftTable:
    """From ``keys[i]`` up to ``keys[i + 1]`` old addresses moved by ``shifts[i]``; one key more."""

    keys: Numbers
    shifts: Numbers

    def rows_of(self, addresses: Numbers) -> Numbers:
        """Return the row of each address, -1 before the first key, one too many behind the last."""
        return np.searchsorted(self.keys, addresses, "right") - 1


@dataclass(frozen=True, slots=True)
class Fields:
    """Where fields lie, what they hold, to which address they point, and their cover's lag."""

    positions: Numbers
    values: Numbers
    addresses: Numbers
    lags: Numbers


@dataclass(frozen=True, slots=True)
class Corrections:
    """What fields at ``positions`` should hold, as wide as they are."""

    positions: Numbers
    values: NDArray[np.signedinteger[Any]]


def foresee(
    made: Bytes, covers: Covers, sections: Sequence[Section], tables: Sequence[ShiftTable]
) -> None:
    """Correct in place every field of ``sections`` that its table knows the address of."""
    for section in sections:
        corrected = corrections(made, covers, section, tables[section.table])
        words_of(made, section.kind)[corrected.positions] = corrected.values


def corrections(made: Bytes, covers: Covers, section: Section, table: ShiftTable) -> Corrections:
    """Return the fields that ``table`` knows the address of, as they should be."""
    fields = fields_of(made, covers, section)
    rows = table.rows_of(fields.addresses)
    known = np.flatnonzero((rows >= 0) & (rows < len(table.shifts)))
    values = fields.values[known] + table.shifts[rows[known]]
    if section.kind in IS_RELATIVE:
        values += fields.lags[known]
    return Corrections(fields.positions[known], values.astype(words_of(made, section.kind).dtype))


def fields_of(made: Bytes, covers: Covers, section: Section) -> Fields:
    """Return the fields of ``section`` that lie in one cover each, as copied from the base."""
    kind, size = section.kind, field_size(section.kind)
    if kind is Kind.CODE:
        positions = code_fields(made[section.start : section.end])
        positions += section.start
    else:
        positions = np.arange(section.start, section.end - size + 1, size, dtype=np.int64)
    first = int(np.searchsorted(covers.ends, section.start, "right"))
    last = int(np.searchsorted(covers.starts, section.end))
    starts, ends = covers.starts[first:last], covers.ends[first:last]
    bounds = np.searchsorted(positions, np.append(starts, section.end))
    counts = np.diff(bounds)
    positions = positions[bounds[0] :]
    is_whole = positions + size <= np.repeat(ends, counts)
    positions = positions[is_whole]
    lags = np.repeat(covers.lags[first:last], counts)[is_whole]
    values = words_of(made, kind)[positions].astype(np.int64)
    if kind is Kind.DISTANCES:
        is_back = (values < 0) & (values >= -DISTANCE_MAX)
        positions, values, lags = positions[is_back], values[is_back], lags[is_back]
    match kind:
        case Kind.CODE:
            addresses = values + positions + lags + size
        case Kind.DISTANCES:
            addresses = values + positions + lags
        case _:
            addresses = values
    return Fields(positions, values, addresses, lags)


def field_size(kind: Kind) -> int:
    """Return the bytes of a field."""
    return 8 if kind is Kind.POINTERS else 4


def words_of(content: Bytes, kind: Kind) -> NDArray[np.signedinteger[Any]]:
    """Return a view of ``content`` that has at each position the field that begins there."""
    size = field_size(kind)
    return np.ndarray((max(0, len(content) - size + 1),), f"<i{size}", content.data, 0, (1,))


def code_fields(code: Bytes) -> Numbers:
    """Return where fields begin, each behind the last byte of what it belongs to.

    One that begins less than four bytes behind another that was found, is none.
    """
    if len(code) < 5:
        return np.zeros(0, np.int64)
    is_field = code & 0xFE == 0xE8  # call, jmp
    before, byte = code[:-1], code[1:]
    is_field[1:] |= (before == 0x0F) & (byte & 0xF0 == 0x80)  # a jump on a condition
    operands = np.flatnonzero(byte & 0xC7 == 0x05)  # relative to the instruction
    is_field[operands[_OPCODES[before[operands]]] + 1] = True
    highest = code[4:] + np.uint8(_FAR)
    positions = np.flatnonzero(is_field[:-4] & (highest < 2 * _FAR)) + 1
    return positions[np.diff(positions, prepend=-4) >= 4]
