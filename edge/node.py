"""The parts of one edge, put together: what it fetches from, keeps, and hands out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from edge.addressed import blob_at
from edge.crew import ALONE, Crew, new_node_name
from edge.documents import Documents
from edge.fill import Blobs
from edge.metrics import EdgeMetrics
from edge.scrubbing import Scrub
from edge.settings import EdgeSettings
from edge.store.departures import Departures
from edge.store.store import Store
from edge.upstream.siblings import Alone, Siblings, Workers
from edge.upstream.upstreams import NodeLease, Upstreams
from kit.clock import Clock
from kit.http_client import HttpClient


class Node:
    """An edge without its doors: routes and operators work on it. Open it before use."""

    def __init__(
        self,
        settings: EdgeSettings,
        node_lease: NodeLease,
        clock: Clock,
        metrics: EdgeMetrics,
        crew: Crew = ALONE,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.name = crew.node or new_node_name()
        """Told to whom it asks, so that a circle of nodes is noticed."""
        self.metrics = metrics
        self.departures = Departures(clock)
        self.client = HttpClient(settings.client)
        self.siblings = _siblings(settings, crew, node_lease, metrics)
        self.store = Store(
            settings.cache_dir,
            max_bytes=settings.max_bytes,
            threads=settings.disk_threads,
            metrics=metrics,
            clock=clock,
            worker=crew.index,
            workers=crew.count,
            departed=self.departures.note,
        )
        self.upstreams = Upstreams(
            settings,
            self.client,
            node_lease=node_lease,
            here=self.name,
            clock=clock,
            metrics=metrics,
        )
        self.documents = Documents(
            settings.cache_dir / "documents",
            self.upstreams,
            count_max=settings.documents_max,
            max_bytes=settings.documents_max_bytes,
            head_fresh_s=settings.head_fresh_for,
            siblings=self.siblings,
            clock=clock,
        )
        self.blobs = Blobs(
            store=self.store,
            upstreams=self.upstreams,
            siblings=self.siblings,
            fills_max=settings.fills_max,
            ahead_max=settings.ahead_max,
            departed=self.departures.note,
            clock=clock,
            metrics=metrics,
        )
        self.scrub = Scrub(
            self.store,
            self.blobs,
            lambda path: blob_at(path, self.blobs),
            folder=settings.cache_dir,
            bytes_per_s=settings.scrub_bytes_per_s / max(1, crew.count),
            every_s=settings.scrub_every,
            clock=clock,
            metrics=metrics,
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Take up the cache, until the block is left; what is being written then is finished."""
        async with (
            self.client,
            self.siblings.open(),
            self.upstreams.open(),
            self.store.open(),
            self.documents.open(),
        ):
            try:
                async with self.scrub.open():
                    yield
            finally:
                await self.blobs.close()


def _siblings(
    settings: EdgeSettings, crew: Crew, node_lease: NodeLease, metrics: EdgeMetrics
) -> Siblings:
    if crew.count == 1:
        return Alone()
    return Workers(
        crew.index,
        crew.count,
        settings.cache_dir,
        node_lease=node_lease,
        within_s=settings.fill_within,
        metrics=metrics,
    )
