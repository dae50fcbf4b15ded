"""All that operators reach of one worker of an edge, put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from edge.documents import Document, DocumentAddress
from edge.node import Node
from edge.operating.carrier import Carrier
from edge.operating.crew import Crew
from edge.operating.everywhere import Everywhere
from edge.operating.explaining import Explaining
from edge.operating.keeping import Keeping
from edge.operating.messages import Amount, Warm
from edge.operating.pins import Pins
from edge.operating.purging import Purging
from edge.operating.readings import SAMPLE_EVERY_S, Readings
from edge.operating.selection import Selecting
from edge.operating.status import Watch, read_about
from edge.operating.warming import Warming
from edge.operating.warms import Warms
from kit.service import Binder
from manifests.addresses import HeadAddress, TimestampAddress, TrustBundleAddress
from manifests.names import TitleId


class Operating:
    """All that operators reach of one worker, put together. Open it before use."""

    def __init__(
        self,
        binder: Binder,
        node: Node,
        *,
        random: Random,
        first_pause_s: float,
    ) -> None:
        self.crew = Crew(node.siblings)
        keeping = self.keeping = Keeping(node.store)
        self._readings = Readings(binder.registry, node.clock)
        self.documents = node.documents
        everywhere = self._everywhere = Everywhere(node.documents, keeping, self.crew)
        selecting = Selecting(node.documents, node.blobs, keeping, everywhere)
        self.purging = Purging(node.documents, selecting, everywhere)
        self.explaining = Explaining(
            documents=node.documents,
            keeping=keeping,
            selecting=selecting,
            departures=node.departures,
            upstreams=node.upstreams,
            clock=node.clock,
        )

        def new_warming(warm: Warm) -> Warming:
            carrier = Carrier(
                warm,
                self.renew,
                node.blobs,
                keeping,
                Pins(warm, everywhere),
                clock=node.clock,
                metrics=node.metrics,
                first_pause_s=first_pause_s,
            )
            return Warming(
                warm,
                carrier,
                at_once=node.settings.warm_fetches_max,
                supersede=self._supersede,
            )

        self.warms = Warms(
            node.settings.cache_dir,
            new_warming,
            worker=node.siblings.index,
            workers=node.siblings.count,
            clock=node.clock,
            random=random,
        )
        watch = node.metrics.watch
        watch("warms_running", "Warms under way.", lambda: self.warms.running_count)
        watch("warm_left_bytes", "What they have yet to bring.", lambda: self.warms.left_size)
        self._node = node
        self.watch: Watch | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Go on with what a restart ended."""
        about = await asyncio.to_thread(read_about)
        self.watch = Watch(
            self._readings,
            self._node.documents,
            self.keeping,
            self._node.upstreams,
            clock=self._node.clock,
            about=about,
        )
        async with self.warms.open():
            yield

    async def renew(self, address: DocumentAddress) -> Document:
        """Return a document as upstream has it now; every worker has it so from here on.

        Raises:
            NotFound: There is none.
            NoUpstream: No upstream can give it.
        """
        if isinstance(address, HeadAddress | TrustBundleAddress | TimestampAddress):
            await self._everywhere.let_go([address], hard=False)
        return await self.documents.renew(address)

    async def _supersede(self, title: TitleId) -> Amount:
        return (await self.purging.supersede(title)).superseded

    async def sample(self) -> None:
        """Note each second what goes through, until cancelled."""
        while True:
            self._readings.sample()
            await asyncio.sleep(SAMPLE_EVERY_S)
