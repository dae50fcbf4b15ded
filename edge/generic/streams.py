"""Contents that are still on their way."""

from __future__ import annotations

from typing import Protocol

from kit.http_semantics.messages import ResponseHead


class Stream(Protocol):
    """The content of an answer, in pieces."""

    async def read(self) -> bytes:
        """Return the next piece, nothing at the end.

        Raises:
            UpstreamBroken: It ended too early.
            UpstreamSlow: Nothing came for too long.
        """

    async def close(self) -> None:
        """Want no more of it."""


class Source(Stream, Protocol):
    """A response under way from the upstream."""

    @property
    def head(self) -> ResponseHead:
        """What it is to whoever gets it."""

    @property
    def upstream_status(self) -> int:
        """What the upstream said, which may be another: 206 where only a rest was asked for."""

    @property
    def asked_at(self) -> float:
        """When it was asked for, in seconds since the Unix epoch."""

    @property
    def received_at(self) -> float:
        """When its head came."""

    @property
    def content_length(self) -> int | None:
        """What it says its content's size is; None if only its end will tell."""


class Passing:
    """The content of a response that is not stored, read as fast as it is taken."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def read(self) -> bytes:
        """Return the next piece."""
        return await self._source.read()

    async def close(self) -> None:
        """Give its connection back, or end it if there is more to come."""
        await self._source.close()
