"""Blobs that can be sent without waiting: the port of the fast lane, and memory behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from chunks.chunk_id import Digest
from kit.buffers import Buffer
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

    def read_now(self, at: L, start: int, end: int) -> Buffer | None:
        """Return its bytes ``[start, end)``; None if they are not in memory, or it is gone."""

    def span_now(self, at: L, start: int, end: int) -> FileSpan | None:
        """Return the same as a span of a file, to be sent at once; None as above, or if it cannot.

        Whoever gets it ends it by :meth:`FileSpan.close`.
        """


@dataclass(frozen=True, slots=True)
class InMemory:
    """A blob in a memory cache."""

    content: Buffer

    @property
    def size(self) -> int:
        """Of the blob, in bytes."""
        return len(self.content)


class Finds(Protocol):
    """Has blobs in memory."""

    def at_hand(self, name: Digest) -> Buffer | None:
        """Return the blob if it is in memory."""


class MemoryAtHand:
    """What is in memory, found anew for each answer: it may be dropped between two."""

    def __init__(self, blobs: Finds) -> None:
        self._blobs = blobs

    def locate(self, name: Digest) -> InMemory | None:
        """Return the blob if it is in memory."""
        content = self._blobs.at_hand(name)
        return None if content is None else InMemory(content)

    def read_now(self, at: InMemory, start: int, end: int) -> Buffer | None:
        """Return its bytes ``[start, end)``."""
        return memoryview(at.content)[start:end]

    def span_now(self, at: InMemory, start: int, end: int) -> FileSpan | None:
        """Return None: there is no file."""
