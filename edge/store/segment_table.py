"""The table of one segment: a row for each blob in it, mapped into the memory of every worker.

The file begins with a header and has a fixed number of rows. A row is filled in first and made
live last, by one byte, so whoever looks sees all of a row or none of it, also after kill -9. It
is never used for another blob. A blob is dropped by the same byte before its bytes are freed: who
read it looks at the row again afterwards, and so never takes the zeros of a hole for content.

All workers write two things: how often a blob was used, and that it was found bad. All else is
the owner's alone.
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from chunks.chunk_id import Digest
from kit.errors import FormatError

EMPTY, LIVE, DROPPED, BAD = 0, 1, 2, 3
"""States of a row. A bad one is dropped by its owner as soon as it sees it."""
SUPERSEDED, PUSHED = 1, 2
"""Flags of a row."""
USES_MAX = 3
"""Uses are counted in two bits: more would keep what was popular once for ever."""

ROW = np.dtype(
    [
        ("name", "V32"),
        ("digest", "V32"),
        ("title", "<u8"),
        ("offset", "<u8"),
        ("stored_at", "<u4"),
        ("size", "<u4"),
        ("pinned_until", "<u4"),
        ("state", "u1"),
        ("uses", "u1"),
        ("flags", "u1"),
        ("padding", "u1"),
    ]
)
ROW_SIZE = ROW.itemsize
_ROW = struct.Struct("<32s32sQQIIIBBBx")
_PLACE = struct.Struct("<Q4xI")
_MOMENT = struct.Struct("<I")
_HEADER = struct.Struct("<8sII")
_MAGIC = b"PHSEG\x00\x00\x01"
HEADER_SIZE = ROW_SIZE
_OFFSET_AT, _PINNED_AT, _STATE_AT, _USES_AT, _FLAGS_AT = (
    ROW.fields[field][1]  # type: ignore[index]  # a dtype of fields has fields
    for field in ("offset", "pinned_until", "state", "uses", "flags")
)

Rows = npt.NDArray[np.void]


@dataclass(frozen=True, slots=True)
class NewRow:
    """What is written of a blob."""

    name: Digest
    digest: Digest
    title: int
    offset: int
    size: int
    stored_at: int
    flags: int = 0
    path: str = ""
    """Where upstream has it; that is kept beside the table."""


class SegmentTable:
    """An open table. Closing it unmaps the file."""

    def __init__(self, memory: mmap.mmap, rows_max: int) -> None:
        self._memory = memory
        self.rows_max = rows_max

    @classmethod
    def create(cls, path: Path, rows_max: int) -> SegmentTable:
        """Make a table of empty rows.

        Its room is taken from the disk now: a page that a full disk cannot hold would end the
        process later, when it is written to.

        Raises:
            OSError: The disk cannot hold it.
        """
        size = HEADER_SIZE + rows_max * ROW_SIZE
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(file, 0, size)
            os.pwrite(file, _HEADER.pack(_MAGIC, ROW_SIZE, rows_max), 0)
            return cls(mmap.mmap(file, size), rows_max)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(file)

    @classmethod
    def open(cls, path: Path) -> SegmentTable:
        """Map a table that exists.

        Raises:
            OSError: It cannot be read.
            FormatError: It is none of ours, or was cut short.
        """
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            header = os.pread(file, HEADER_SIZE, 0)
            if len(header) < HEADER_SIZE:
                raise FormatError(f"{path}: cut short")
            magic, row_size, rows_max = _HEADER.unpack_from(header)
            size = HEADER_SIZE + rows_max * ROW_SIZE
            if (magic, row_size) != (_MAGIC, ROW_SIZE) or os.fstat(file).st_size != size:
                raise FormatError(f"{path}: no table of a segment as this version writes them")
            return cls(mmap.mmap(file, size), rows_max)
        finally:
            os.close(file)

    def is_live(self, row: int) -> bool:
        """Tell whether the blob of a row may be used."""
        return row < self.rows_max and self._memory[_at(row) + _STATE_AT] == LIVE

    def holds(self, row: int, name: Digest) -> bool:
        """Tell whether a row is live and of the blob of this name."""
        if not self.is_live(row):
            return False
        at = _at(row)
        return self._memory[at : at + 32] == name

    def digest(self, row: int) -> Digest:
        """Return the digest of a row's blob."""
        at = _at(row) + 32
        return Digest(self._memory[at : at + 32])

    def place(self, row: int) -> tuple[int, int]:
        """Return offset and size of a row's blob, in bytes."""
        offset, size = _PLACE.unpack_from(self._memory, _at(row) + _OFFSET_AT)
        return offset, size

    def uses(self, row: int) -> int:
        """Return how often a row's blob was asked for since that was last taken into account."""
        return self._memory[_at(row) + _USES_AT]

    def set_uses(self, row: int, uses: int) -> None:
        """Set what :meth:`uses` returns."""
        self._memory[_at(row) + _USES_AT] = uses

    def bump(self, row: int) -> None:
        """Note that a row's blob was asked for; of two workers that do so at once, one counts."""
        at = _at(row) + _USES_AT
        uses = self._memory[at]
        if uses < USES_MAX:
            self._memory[at] = uses + 1

    def use(self, row: int) -> bool:
        """Count a use of a row there is, if its blob may be used; return whether it may."""
        at, memory = HEADER_SIZE + row * ROW_SIZE, self._memory
        if memory[at + _STATE_AT] != LIVE:
            return False
        uses = memory[at + _USES_AT]
        if uses < USES_MAX:
            memory[at + _USES_AT] = uses + 1
        return True

    def set_state(self, row: int, state: int) -> None:
        """Make a row live, dropped or bad."""
        self._memory[_at(row) + _STATE_AT] = state

    def set_flag(self, row: int, flag: int) -> None:
        """Set one of the flags of a row."""
        self._memory[_at(row) + _FLAGS_AT] |= flag

    def has_flag(self, row: int, flag: int) -> bool:
        """Tell whether one of the flags of a row is set."""
        return bool(self._memory[_at(row) + _FLAGS_AT] & flag)

    def pinned_until(self, row: int) -> int:
        """Return until when a row's blob is pinned; 0 if it is not."""
        (until_s,) = _MOMENT.unpack_from(self._memory, _at(row) + _PINNED_AT)
        return int(until_s)

    def set_pinned_until(self, row: int, until_s: int) -> None:
        """Say until when a row's blob is pinned, in seconds since the Unix epoch; 0 is not."""
        _MOMENT.pack_into(self._memory, _at(row) + _PINNED_AT, until_s)

    def write(self, row: int, new: NewRow) -> None:
        """Fill in an empty row, and make it live last of all."""
        fields = (new.title, new.offset, new.stored_at, new.size, 0, EMPTY, 0, new.flags)
        _ROW.pack_into(self._memory, _at(row), new.name, new.digest, *fields)
        self.set_state(row, LIVE)

    def rows(self) -> Rows:
        """Return a copy of all rows."""
        return np.frombuffer(self._memory, ROW, self.rows_max, HEADER_SIZE).copy()

    def used_rows(self) -> Rows:
        """Return a copy of all rows up to the last that is not empty."""
        rows = np.frombuffer(self._memory, ROW, self.rows_max, HEADER_SIZE)
        used = rows["state"].nonzero()[0]
        return rows[: int(used[-1]) + 1 if len(used) else 0].copy()

    def row(self, row: int) -> np.void:
        """Return a copy of one row."""
        copied = np.frombuffer(self._memory[_at(row) : _at(row + 1)], ROW)
        found: np.void = copied[0]
        return found

    def close(self) -> None:
        """Unmap the table."""
        self._memory.close()


def _at(row: int) -> int:
    return HEADER_SIZE + row * ROW_SIZE
