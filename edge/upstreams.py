"""Where an edge fetches: several upstreams in order, each left for the next when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from edge.metrics import EdgeMetrics
from kit.clock import Clock
from kit.errors import IntegrityError, NotFound, PlayheadError, Unavailable
from kit.http_client import HttpClient, HttpReply
from kit.telemetry import get_logger
from manifests.lease import HEADER

log = get_logger("edge.upstreams")

T = TypeVar("T")
Take = Callable[[HttpReply], Awaitable[T]]
"""Reads and verifies an answer; what it raises is the upstream's fault."""
NodeLease = Callable[[], str]
"""Returns a lease by which this node may read every title; empty if it has none."""


class NoUpstream(Unavailable):
    """No upstream can give what was asked for; it may exist, and may come back."""

    code = "no-upstream"
    status = 502


@dataclass(slots=True)
class _Upstream:
    url: str
    avoid_until: float = float("-inf")
    """On the monotonic clock."""
    failures: int = 0
    last_fault: str = ""


@dataclass(frozen=True, slots=True)
class Health:
    """How an upstream does."""

    url: str
    avoided_s: float
    """For how long it is asked last still; 0 if it is asked as any other."""
    failures: int
    """Since the start."""
    last_fault: str


class Upstreams:
    """Asks upstreams in order of preference; one that failed is asked last for a while.

    Any upstream may have what another lacks, so "not found" is believed only when all say so.
    """

    def __init__(
        self,
        urls: Sequence[str],
        client: HttpClient,
        *,
        node_lease: NodeLease,
        within_s: float,
        cool_down_s: float,
        clock: Clock,
        metrics: EdgeMetrics,
    ) -> None:
        self._upstreams = [_Upstream(url.rstrip("/")) for url in urls]
        self._client = client
        self._node_lease = node_lease
        self._within_s = within_s
        self._cool_down_s = cool_down_s
        self._clock = clock
        self._metrics = metrics
        metrics.watch("upstreams_avoided", "Upstreams that failed lately.", self._avoided_count)

    @property
    def are_all_avoided(self) -> bool:
        """Whether every upstream failed lately, so that asking will likely fail as well."""
        return self._avoided_count() == len(self._upstreams)

    def health(self) -> list[Health]:
        """Return how every upstream does, in order of preference."""
        now = self._clock.monotonic()
        return [
            Health(each.url, max(0.0, each.avoid_until - now), each.failures, each.last_fault)
            for each in self._upstreams
        ]

    async def fetch(self, path: str, take: Take[T]) -> T:
        """Return what ``take`` makes of the first good answer for ``path``.

        Raises:
            NotFound: All upstreams say that it does not exist.
            NoUpstream: None gave a good answer; the message says what each did.
        """
        faults: list[str] = []
        for upstream in self._in_order():
            try:
                return await self._ask(upstream, path, take)
            except NotFound:
                continue
            except PlayheadError as error:
                faults.append(str(error))
                self._avoid(upstream, error)
        if faults:
            raise NoUpstream(f"{path}: no upstream can give it: {'; '.join(faults)}")
        raise NotFound(f"{path}: not found")

    async def _ask(self, upstream: _Upstream, path: str, take: Take[T]) -> T:
        url, lease = upstream.url + path, self._node_lease()
        headers = {HEADER: lease} if lease else {}
        try:
            async with (
                asyncio.timeout(self._within_s),
                self._client.get(url, headers=headers) as reply,
            ):
                reply.require_content()
                return await take(reply)
        except TimeoutError as error:
            raise Unavailable(f"{url}: not complete within {self._within_s:g} s") from error

    def _avoid(self, upstream: _Upstream, error: PlayheadError) -> None:
        now = self._clock.monotonic()
        if upstream.avoid_until <= now:  # one line for the many fetches that fail with it
            log.warning(
                "upstream.failed", upstream=upstream.url, code=error.code, detail=str(error)
            )
        upstream.avoid_until = now + self._cool_down_s
        upstream.failures += 1
        upstream.last_fault = f"{error.code}: {error}"
        self._metrics.upstream_failures.labels(upstream.url, error.code).inc()
        if isinstance(error, IntegrityError):
            self._metrics.bad_upstream.inc()

    def _in_order(self) -> list[_Upstream]:
        now = self._clock.monotonic()
        return sorted(self._upstreams, key=lambda upstream: upstream.avoid_until > now)

    def _avoided_count(self) -> int:
        now = self._clock.monotonic()
        return sum(upstream.avoid_until > now for upstream in self._upstreams)
