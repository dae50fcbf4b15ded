"""Blobs that can be sent without waiting: the port of the fast lane, and the store behind it."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from chunks.chunk_id import Digest
from edge.store.located import Located
from edge.store.store import Store
from kit.buffers import B, Room
from kit.lane import FileSpan

L = TypeVar("L", bound="Sized")


class Sized(Protocol):
    """Where a blob is; whoever found it knows what else to make of it."""

    @property
    def size(self) -> int:
        """Of the blob, in bytes."""


class AtHand(Protocol, Generic[L]):
    """Finds verified blobs and reads them from memory; neither method waits for anything."""

    def locate(self, name: Digest) -> L | None:
        """Return where the blob is; None if it is not cached."""

    def read_now(self, at: L, start: int, end: int, room: Room[B]) -> B | None:
        """Return its bytes ``[start, end)``; None if they are not in memory, or it is gone.

        They are put where ``room`` says.
        """

    def span_now(self, at: L, start: int, end: int) -> FileSpan | None:
        """Return the same as a span of a file, to be sent at once; None as above, or if it cannot.

        Whoever gets it ends it by :meth:`FileSpan.close`.
        """


class StoreAtHand:
    """What the store has in the page cache."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def locate(self, name: Digest) -> Located | None:
        """Return where the blob is; None if it is not cached."""
        return self._store.locate(name)

    def read_now(self, at: Located, start: int, end: int, room: Room[B]) -> B | None:
        """Return its bytes ``[start, end)``, if they are in memory and known to be right."""
        return self._store.read_into(at, start, end, room)

    def span_now(self, at: Located, start: int, end: int) -> FileSpan | None:
        """Return them as a span of a segment, if the system can tell that all is in memory."""
        return self._store.span_now(at, start, end)
