"""Where a blob is in the segment store, as workers tell each other, and whose it is."""

from __future__ import annotations

import re

import msgspec

from chunks.chunk_id import Digest
from kit.errors import FormatError

SHELVES = 16
"""Folders of segments, each written by one worker. So many workers can share the work at most."""

_TOKEN = re.compile(r"(\d{1,2})\.(\d{1,10})\.(\d{1,7})\.(\d{1,10})")


class Located(msgspec.Struct, frozen=True, gc=False):
    """A row of a segment's table. It stays the row of one blob for ever, or becomes invalid."""

    shelf: int
    segment: int
    row: int
    size: int
    """Of the blob, in bytes."""

    @property
    def token(self) -> str:
        """The value of the header ``Playhead-Stored``, by which one worker tells another."""
        return f"{self.shelf}.{self.segment}.{self.row}.{self.size}"

    @classmethod
    def parse(cls, text: str) -> Located:
        """Read a :attr:`token`; whether the row exists is seen when it is used.

        Raises:
            FormatError: It is none.
        """
        match = _TOKEN.fullmatch(text)
        if match is None or int(match[1]) >= SHELVES:
            raise FormatError(f"Playhead-Stored: {text[:40]!r} is no place in a cache")
        return cls(*map(int, match.groups()))


def shelf_of(name: Digest) -> int:
    """Return the shelf on which a blob of this name is kept."""
    return name[0] % SHELVES


def worker_of(name: Digest, workers: int) -> int:
    """Return which of ``workers`` writes a blob of this name; its number counts from 0."""
    return shelf_of(name) % workers


def shelves_of(worker: int, workers: int) -> list[int]:
    """Return the shelves that a worker writes."""
    return [shelf for shelf in range(SHELVES) if shelf % workers == worker]
