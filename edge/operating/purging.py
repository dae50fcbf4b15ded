"""Purge and pin: what an operator's target is, and then what becomes of it."""

from __future__ import annotations

from edge.documents import Documents
from edge.operating.everywhere import Everywhere
from edge.operating.messages import (
    Action,
    Amount,
    Pinned,
    PinRequest,
    Purged,
    PurgeRequest,
    Superseded,
)
from edge.operating.selection import Selecting, Selection
from edge.operating.targets import OfChannel, OfTitle, Target, parse_target
from manifests.addresses import HeadAddress
from manifests.names import TitleId


class Purging:
    """Acts on the caches of all workers."""

    def __init__(self, documents: Documents, selecting: Selecting, everywhere: Everywhere) -> None:
        self._documents = documents
        self._selecting = selecting
        self._everywhere = everywhere

    async def purge(self, asked: PurgeRequest) -> Purged:
        """Drop what is meant, or have it verified or asked for again; or only say how much it is.

        Raises:
            InvalidInput: It names nothing that could exist.
            NotFound, NoUpstream: What it consists of cannot be found out.
        """
        found = await self._select(parse_target(asked.target))
        documents = self._documents_of(found)
        action = Action.DROP if asked.hard else Action.DOUBT
        acted = await self._everywhere.act(Action.MEASURE if asked.dry_run else action, found.names)
        if not asked.dry_run:
            await self._everywhere.let_go(found.documents, hard=asked.hard)
        return Purged(
            target=asked.target,
            hard=asked.hard,
            dry_run=asked.dry_run,
            blobs=acted.done,
            documents=documents,
        )

    async def pin(self, asked: PinRequest) -> Pinned:
        """Keep what is cached of what is meant, or let it go when its turn comes.

        Raises: as :meth:`purge`.
        """
        found = await self._select(parse_target(asked.target))
        action = Action.PIN if asked.until_s else Action.UNPIN
        acted = await self._everywhere.act(action, found.names, asked.until_s)
        return Pinned(
            target=asked.target, until_s=asked.until_s, pinned=acted.done, refused=acted.refused
        )

    async def supersede(self, title: TitleId) -> Superseded:
        """Let go first of what is cached of a title, and in no release that a channel plays.

        Raises:
            NotFound, NoUpstream: What is played cannot be found out; nothing was changed.
        """
        played = await self._selecting.played(title)
        found = await self._selecting.select(OfTitle(title))
        older = [name for name in found.names if name not in played]
        acted = await self._everywhere.act(Action.SUPERSEDE, older)
        return Superseded(title=title, superseded=acted.done)

    async def _select(self, target: Target) -> Selection:
        """Return what is meant; of a channel, by what upstream says now."""
        if isinstance(target, OfChannel):
            await self._everywhere.let_go([HeadAddress(target.title, target.channel)], hard=False)
        return await self._selecting.select(target)

    def _documents_of(self, found: Selection) -> Amount:
        here = [self._documents.look(address) for address in found.documents]
        return sum((Amount(1, len(each.content)) for each in here if each is not None), Amount())
