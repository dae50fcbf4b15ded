"""Contents that are still on their way."""

from __future__ import annotations

from typing import Protocol

from edge.generic.upstream import Reply


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


class Passing:
    """The content of a response that is not stored, read as fast as it is taken."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    async def read(self) -> bytes:
        """Return the next piece."""
        return await self._reply.read()

    async def close(self) -> None:
        """Give its connection back, or end it if there is more to come."""
        await self._reply.close()
