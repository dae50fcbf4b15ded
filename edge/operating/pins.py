"""Pins what a warm brings, a few hundred blobs at a time."""

from __future__ import annotations

from chunks.chunk_id import Digest
from edge.operating.everywhere import Everywhere
from edge.operating.messages import Action, Warm

BATCH = 256
"""Unpinned until then: the latest that came, which is not what goes first."""


class Pins:
    """Pins for one warm, which says how much was pinned."""

    def __init__(self, warm: Warm, everywhere: Everywhere) -> None:
        self._warm = warm
        self._everywhere = everywhere
        self._names: list[Digest] = []

    async def add(self, name: Digest) -> None:
        """Pin a blob, at :meth:`finish` at the latest."""
        self._names.append(name)
        if len(self._names) >= BATCH:
            await self.finish()

    async def finish(self) -> None:
        """Pin what is not pinned yet."""
        names, self._names = self._names, []
        if names:
            until_s = self._warm.request.deadline_s
            acted = await self._everywhere.act(Action.PIN, names, until_s)
            self._warm.pinned += acted.done
            self._warm.unpinned += acted.refused
