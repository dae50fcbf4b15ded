"""What the index holds of each blob, and how it is made anew from the tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from chunks.chunk_id import DIGEST_SIZE, Digest
from edge.store.eviction import Entry
from edge.store.segment_table import DROPPED
from edge.store.segments import Segment, size_on_disk
from edge.store.shelf import Found


class Record(Entry[Digest], gc=False):
    """A blob of ours. Uses are counted in its row, by whichever worker serves it."""

    segment: Segment | None = None
    """None while it is written."""
    row: int = -1
    length: int = 0
    """Of the blob itself, in bytes."""

    @property
    def uses(self) -> int:
        """How often it was asked for, of any worker, since its last turn."""
        return 0 if self.segment is None else self.segment.table.uses(self.row)

    @uses.setter
    def uses(self, count: int) -> None:
        if self.segment is not None:
            self.segment.table.set_uses(self.row, count)

    def let_go(self) -> None:
        """Hold no segment open: once it is deleted, its table takes room until nobody does."""
        self.segment = None


def records_of(found: Iterable[Found]) -> list[tuple[Record, int, int]]:
    """Return a record of every live row, with its flags and until when it is pinned.

    In the order in which they were stored.
    """
    by_age = sorted(_each(found), key=lambda one: one[0])
    return [one[1:] for one in by_age]


def invalidate(records: Iterable[Record]) -> None:
    """Have no worker use these blobs any more, before their bytes are freed."""
    for record in records:
        if record.segment is not None:
            record.segment.table.set_state(record.row, DROPPED)


def _each(found: Iterable[Found]) -> Iterator[tuple[int, Record, int, int]]:
    for one in found:
        names, rows = one.rows["name"].tobytes(), one.rows
        columns = (rows[name].tolist() for name in ("size", "stored_at", "flags", "pinned_until"))
        for index, (row, size, stored_at, flags, until) in enumerate(
            zip(one.numbers, *columns, strict=True)
        ):
            at = index * DIGEST_SIZE
            name = Digest(names[at : at + DIGEST_SIZE])
            record = Record(name, size_on_disk(size), segment=one.segment, row=row, length=size)
            yield stored_at, record, flags, until
