"""What the store can tell of its blobs, read from the tables of segments."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np

from chunks.chunk_id import Digest, digest_of
from edge.store.segment_table import LIVE, SUPERSEDED
from edge.store.segments import Segment
from manifests.names import TitleId


class Stored(msgspec.Struct, frozen=True):
    """What the store knows of one blob."""

    name: Digest
    digest: Digest
    size: int
    """In bytes."""
    stored_at: int
    """Seconds since the Unix epoch."""
    uses: int
    """How often it was asked for since its last turn in the queues, up to 3."""
    pinned_until: int
    """Seconds since the Unix epoch; 0 if it is not pinned."""
    is_superseded: bool


def title_key(title: TitleId | None) -> int:
    """Return what rows keep of a title; 0 of none."""
    return 0 if title is None else int.from_bytes(digest_of(title.encode())[:8], "little")


def stored_of(segments: Iterable[Segment], key: int) -> list[Stored]:
    """Return all live blobs in ``segments`` of the title of this key. Reads every row."""
    found: list[Stored] = []
    for segment in segments:
        rows = segment.table.used_rows()
        found += map(_stored, rows[(rows["state"] == LIVE) & (rows["title"] == key)])
    return found


def names_in(segment: Segment) -> list[Digest]:
    """Return the names of all live blobs in ``segment``, in the order in which they lie."""
    rows = segment.table.used_rows()
    live = rows[rows["state"] == LIVE]
    return [Digest(name.tobytes()) for name in live["name"][live["offset"].argsort()]]


def stored_at(segment: Segment, row: int) -> Stored:
    """Return what is known of the blob of one row."""
    return _stored(segment.table.row(row))


def _stored(row: np.void) -> Stored:
    return Stored(
        Digest(row["name"].tobytes()),
        Digest(row["digest"].tobytes()),
        int(row["size"]),
        int(row["stored_at"]),
        int(row["uses"]),
        int(row["pinned_until"]),
        bool(row["flags"] & SUPERSEDED),
    )
