"""The parts of one edge, put together: what it fetches from, keeps, and hands out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from edge.documents import Documents
from edge.fill import Blobs
from edge.metrics import EdgeMetrics
from edge.settings import EdgeSettings
from edge.store import Store
from edge.upstreams import NodeLease, Upstreams
from kit.clock import Clock
from kit.http_client import HttpClient


class Node:
    """An edge without its doors: routes and operators work on it. Open it before use."""

    def __init__(
        self, settings: EdgeSettings, node_lease: NodeLease, clock: Clock, metrics: EdgeMetrics
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.metrics = metrics
        self.client = HttpClient(settings.client)
        self.store = Store(
            settings.cache_dir,
            max_bytes=settings.max_bytes,
            threads=settings.disk_threads,
            metrics=metrics,
            clock=clock,
        )
        self.upstreams = Upstreams(
            settings.upstreams,
            self.client,
            node_lease=node_lease,
            within_s=settings.fill_within,
            cool_down_s=settings.cool_down_for,
            clock=clock,
            metrics=metrics,
        )
        self.documents = Documents(
            settings.cache_dir / "documents",
            self.upstreams,
            count_max=settings.documents_max,
            max_bytes=settings.documents_max_bytes,
            head_fresh_s=settings.head_fresh_for,
            clock=clock,
        )
        self.blobs = Blobs(
            store=self.store,
            upstreams=self.upstreams,
            fills_max=settings.fills_max,
            ahead_max=settings.ahead_max,
            clock=clock,
            metrics=metrics,
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Take up the cache, until the block is left; what is being written then is finished."""
        async with self.client, self.store.open(), self.documents.open():
            try:
                yield
            finally:
                await self.blobs.close()
