"""What a fast lane is: it answers some requests at once, and leaves all others to aiohttp.

A port: :mod:`kit.connection` knows connections and nothing of content, whoever implements this
knows content and nothing of connections.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from kit.buffers import Buffer
from kit.http_head import Head


class FileSpan(Protocol):
    """Bytes of a file that are in memory: the kernel sends them without a copy of ours."""

    file: int
    """Its descriptor, open until the span is closed."""
    offset: int
    """In the file; whoever sends moves it on."""
    end: int

    def close(self) -> bool:
        """End the span; return whether the file still held its bytes, so that they were right."""


Piece: TypeAlias = Buffer | FileSpan


class Rest(Protocol):
    """What follows the first piece of an answer."""

    def now(self) -> Piece | None:
        """Return the next piece if it is at hand, without waiting; empty: that was all."""

    async def later(self) -> Buffer:
        """Return the next piece, wherever it is.

        Raises:
            PlayheadError: It cannot be had.
        """


@dataclass(slots=True)
class Answer:
    """An answer whose beginning is at hand."""

    status: int
    head: bytes
    """Status line and headers, to the empty line."""
    first: Piece = b""
    """The beginning of the body."""
    rest: Rest | None = None


class Lane(Protocol):
    """Answers what it can answer without waiting."""

    def answer(self, head: Head, *, by_file: bool) -> Answer | None:
        """Return the answer to ``head``; None: somebody else must give it.

        Only if ``by_file`` may it hold spans of files: TLS needs the bytes.
        """
