"""What an edge's cache folder holds, read from the tables as any worker may."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from chunks.chunk_id import Digest
from edge.store.segment_table import LIVE, SegmentTable
from kit.errors import FormatError


@dataclass(frozen=True)
class OnDisk:
    """One live blob."""

    name: Digest
    path: Path
    offset: int
    size: int

    def read(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)

    def overwrite(self, content: bytes) -> None:
        """Put other bytes there, as a disk that rots would."""
        with self.path.open("r+b") as file:
            file.seek(self.offset)
            file.write(content)

    def rot(self) -> None:
        """Flip bits on the disk, and not in what the system has in memory of it.

        Whoever has it in memory goes on with that, or finds that it has to read it again.
        """
        if not hasattr(os, "O_DIRECT"):
            pytest.skip("no O_DIRECT")
        try:
            file = os.open(self.path, os.O_RDWR | os.O_DIRECT)
        except OSError as error:
            pytest.skip(f"no O_DIRECT there: {error}")
        try:
            with mmap.mmap(-1, mmap.PAGESIZE) as page:  # aligned, as it has to be
                os.preadv(file, [page], self.offset)
                page[0] ^= 1
                os.pwritev(file, [page], self.offset)
        finally:
            os.close(file)


def blobs_on_disk(folder: Path) -> list[OnDisk]:
    """Return all live blobs of a cache, which an edge may be writing at the same time."""
    found: list[OnDisk] = []
    for path in sorted(folder.glob("segments/*/*.index")):
        try:
            table = SegmentTable.open(path)
        except (FormatError, FileNotFoundError):
            continue  # just begun, or just deleted
        for row in table.rows():
            if row["state"] == LIVE:
                name, data = Digest(row["name"].tobytes()), path.with_suffix(".data")
                found.append(OnDisk(name, data, int(row["offset"]), int(row["size"])))
        table.close()
    return found


def bytes_taken(folder: Path) -> int:
    """Return what the blobs of a cache take from the disk, holes not counted."""
    return sum(path.stat().st_blocks * 512 for path in folder.glob("segments/*/*.data"))
