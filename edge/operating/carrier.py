"""Bring blobs into a cache one by one: at a rate, patiently, and counted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from edge.documents import Document, DocumentAddress
from edge.fill import Blob, Blobs
from edge.metrics import EdgeMetrics, Tier
from edge.operating.keeping import Keeping
from edge.operating.messages import FAILED_PATHS_MAX, Amount, Kind, Warm, plus
from edge.operating.pins import Pins
from kit.buffers import Buffer
from kit.clock import Clock
from kit.errors import NotFound, Unavailable
from kit.rate_limit import RateLimit

T = TypeVar("T")

ATTEMPTS_MAX = 6
FIRST_PAUSE_S = 0.5
"""Doubled each time: an upstream that restarts within 15 s is waited for."""
FAILURES_IN_ROW_MAX = 8
"""After so many objects in a row that could not be had, the upstream is gone, and going on would
only write a list of all there is."""


class UpstreamGone(Unavailable):
    """So much could not be had in a row that the rest will not be either."""

    code = "upstream-gone"


class Carrier:
    """Brings what one warm needs, and says in it what came of that."""

    def __init__(
        self,
        warm: Warm,
        renew: Callable[[DocumentAddress], Awaitable[Document]],
        blobs: Blobs,
        keeping: Keeping,
        pins: Pins,
        *,
        clock: Clock,
        metrics: EdgeMetrics,
        first_pause_s: float,
    ) -> None:
        self._warm = warm
        self._renew = renew
        self._blobs = blobs
        self._keeping = keeping
        self._pins = pins
        self._limit = RateLimit(warm.request.max_rate, clock)
        self._metrics = metrics
        self._first_pause_s = first_pause_s
        self._failures_in_row = 0

    async def document(self, address: DocumentAddress) -> Document:
        """Bring a document as upstream has it now.

        Raises:
            NotFound: There is none.
            NoUpstream: It cannot be had, after all attempts.
        """
        document = await self._patiently(lambda: self._renew(address))
        plus(self._warm.fetched, Kind.DOCUMENT, Amount(1, len(document.content)))
        self._metrics.warm_fetched.inc(len(document.content))
        await self._limit.take(len(document.content))
        return document

    async def blob(self, blob: Blob, kind: Kind, size: int) -> Buffer:
        """Bring a blob of ``size`` bytes onto the disk, and pin it.

        Raises:
            NotFound: There is none.
            NoUpstream: It cannot be had, after all attempts.
        """
        if not self._keeping.has(blob.name):
            await self._limit.take(size)
        landed = await self._patiently(lambda: self._blobs.begin(blob, is_pushed=True).landed())
        await self._blobs.settled(blob.name)
        await self._keeping.keep(blob, landed.content)
        await self._pins.add(blob.name)
        is_new = landed.tier is Tier.FILL
        counter = self._metrics.warm_fetched if is_new else self._metrics.warm_present
        counter.inc(len(landed.content))
        tally = self._warm.fetched if is_new else self._warm.present
        plus(tally, kind, Amount(1, len(landed.content)))
        return landed.content

    async def finish(self) -> None:
        """See to it that all is pinned."""
        await self._pins.finish()

    async def or_note(self, path: str, bringing: Awaitable[T]) -> T | None:
        """Return what ``bringing`` brings; None, and ``path`` noted as failed, if it cannot.

        Raises:
            UpstreamGone: Too many failed in a row.
        """
        try:
            found = await bringing
        except (NotFound, Unavailable) as error:
            self._note(path, error)
            return None
        self._failures_in_row = 0
        return found

    def _note(self, path: str, error: NotFound | Unavailable) -> None:
        self._warm.failed_count += 1
        self._metrics.warm_failures.inc()
        if len(self._warm.failed) < FAILED_PATHS_MAX:
            self._warm.failed.append(path)
        self._failures_in_row += 1
        if self._failures_in_row >= FAILURES_IN_ROW_MAX:
            raise UpstreamGone(
                f"{self._failures_in_row} objects in a row could not be had: {error}; give the"
                " same command again once upstream is back"
            ) from error

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until there is an answer, a few times."""
        for attempt in range(ATTEMPTS_MAX - 1):
            try:
                return await ask()
            except Unavailable:
                await asyncio.sleep(self._first_pause_s * 2**attempt)
        return await ask()
