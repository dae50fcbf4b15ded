"""Purge and pin: what an operator's target is, and then what becomes of it."""

from __future__ import annotations

from edge.documents import Documents
from edge.operating.keeping import Keeping
from edge.operating.messages import Amount, Pinned, PinRequest, Purged, PurgeRequest, Superseded
from edge.operating.selection import Selecting, Selection
from edge.operating.targets import OfTitle, parse_target
from manifests.names import TitleId


class Purging:
    """Acts on the cache of one worker."""

    def __init__(self, documents: Documents, keeping: Keeping, selecting: Selecting) -> None:
        self._documents = documents
        self._keeping = keeping
        self._selecting = selecting

    async def purge(self, asked: PurgeRequest) -> Purged:
        """Drop what is meant, or have it verified or asked for again; or only say how much it is.

        Raises:
            InvalidInput: It names nothing that could exist.
            NotFound, NoUpstream: What it consists of cannot be found out.
        """
        found = await self._selecting.select(parse_target(asked.target))
        documents = self._documents_of(found)
        if asked.dry_run:
            blobs = self._keeping.measure(found.names)
        elif asked.hard:
            blobs = await self._keeping.drop(found.names)
        else:
            blobs = await self._keeping.doubt(found.names)
        if not asked.dry_run:
            self._let_go(found, hard=asked.hard)
        return Purged(
            target=asked.target,
            hard=asked.hard,
            dry_run=asked.dry_run,
            blobs=blobs,
            documents=documents,
        )

    async def pin(self, asked: PinRequest) -> Pinned:
        """Keep what is cached of what is meant, or let it go when its turn comes.

        Raises: as :meth:`purge`.
        """
        found = await self._selecting.select(parse_target(asked.target))
        if asked.until_s:
            pinned, refused = self._keeping.pin(found.names, asked.until_s)
        else:
            pinned, refused = self._keeping.unpin(found.names), Amount()
        return Pinned(target=asked.target, until_s=asked.until_s, pinned=pinned, refused=refused)

    async def supersede(self, title: TitleId) -> Superseded:
        """Let go first of what is cached of a title, and in no release that a channel plays.

        Raises:
            NotFound, NoUpstream: What is played cannot be found out; nothing was changed.
        """
        played = await self._selecting.played(title)
        found = await self._selecting.select(OfTitle(title))
        older = [name for name in found.names if name not in played]
        return Superseded(title=title, superseded=self._keeping.supersede(older))

    def _documents_of(self, found: Selection) -> Amount:
        here = [self._documents.look(address) for address in found.documents]
        return sum((Amount(1, len(each.content)) for each in here if each is not None), Amount())

    def _let_go(self, found: Selection, *, hard: bool) -> None:
        for address in found.documents:
            if hard:
                self._documents.forget(address)
            else:
                self._documents.outdate(address)
