"""Where an edge fetches: its shields and upstreams in order, each left for the next when it fails.

For each object one of the shields is the first to be asked (:mod:`kit.rendezvous`), so that a fleet
of edges asks the origins for it once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from edge.metrics import EdgeMetrics
from edge.passage import HEADER as LOOP_HEADER
from edge.passage import HERE, NodeName
from edge.settings import EdgeSettings
from edge.upstream.race import Attempt, Lost, Race, Retry
from edge.upstream.upstream import Upstream, by_preference
from kit.clock import Clock
from kit.errors import IntegrityError, NotFound, PlayheadError, Unavailable
from kit.http_client import HttpClient, HttpReply
from kit.rendezvous import ranked
from kit.resilience import BreakerState, RetryBudget
from kit.telemetry import get_logger
from manifests.lease import HEADER

log = get_logger("edge.upstreams")

T = TypeVar("T")
Take = Callable[[HttpReply], Awaitable[T]]
"""Reads and verifies an answer; what it raises is the upstream's fault."""
NodeLease = Callable[[], str]
"""Returns a lease by which this node may read every title; empty if it has none."""

SHIELDS_MAX = 2
"""Asked for one object: with two of them gone, the origins are not far either."""

PROBE_PATH = "/healthz"
PROBE_EVERY_S = 1.0
PROBE_WITHIN_S = 2.0


class NoUpstream(Unavailable):
    """No upstream can give what was asked for; it may exist, and may come back."""

    code = "no-upstream"
    status = 502


@dataclass(frozen=True, slots=True)
class Health:
    """How an upstream does."""

    url: str
    is_shield: bool
    is_healthy: bool
    is_given_up: bool
    """Whether it fails so often that it is asked for signs of life alone."""
    failures: int
    """Since the start."""
    last_fault: str
    average_s: float | None
    """Until its answers began, lately; None if it was not asked."""


class Upstreams:
    """Asks upstreams in order of preference; one that failed is asked last for a while.

    Any upstream may have what another lacks, so "not found" is believed only when all say so, or
    when a shield does, which asked them all.
    """

    def __init__(
        self,
        settings: EdgeSettings,
        client: HttpClient,
        *,
        node_lease: NodeLease,
        here: NodeName,
        clock: Clock,
        metrics: EdgeMetrics,
    ) -> None:
        """Ask as ``settings`` say; ``here`` is told to whom we ask."""
        self._ring = [_bare(shield) for shield in settings.shields]
        others = [shield for shield in self._ring if shield != _bare(settings.own_url)]
        cool_down_s = settings.cool_down_for
        self._shields = {url: Upstream(url, cool_down_s, is_shield=True) for url in others}
        self._origins = [Upstream(_bare(url), cool_down_s) for url in settings.upstreams]
        self._all = [*self._shields.values(), *self._origins]
        self._client = client
        self._node_lease = node_lease
        self._within_s = settings.fill_within
        self._hedge_at_most_s = settings.hedge_after_max
        # An upstream that dies with every fill under way costs no client its answer.
        self._retries = RetryBudget(ratio=settings.retries_share, reserve=settings.fills_max)
        self._here = here
        self._clock = clock
        self._metrics = metrics
        self._failed = asyncio.Event()
        self._watch()

    @property
    def are_all_avoided(self) -> bool:
        """Whether every upstream failed lately, so that asking will likely fail as well."""
        return self._avoided_count() == len(self._all)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Look for signs of life of what failed, until the block is left."""
        probing = asyncio.create_task(self._probe())
        try:
            yield
        finally:
            probing.cancel()
            await asyncio.gather(probing, return_exceptions=True)

    def is_shielded(self, path: str, is_under_way: Callable[[bool], bool]) -> bool:
        """Tell whether to fetch ``path`` by way of a shield: it may differ for who asks.

        What is fetched so is not waited for by who takes us for a shield, or two might wait for
        each other. Anybody else waits for what ``is_under_way``, by way of a shield or not.
        """
        if HERE.get().nodes:
            return False
        for is_shielded in (False, True):
            if is_under_way(is_shielded):
                return is_shielded
        return bool(self._shields_for(path, self._clock.monotonic()))

    def health(self) -> list[Health]:
        """Return how every upstream does, in order of preference."""
        now = self._clock.monotonic()
        return [
            Health(
                url=each.url,
                is_shield=each.is_shield,
                is_healthy=not each.is_avoided(now),
                is_given_up=each.breaker.state(now) is BreakerState.OPEN,
                failures=each.failures,
                last_fault=each.last_fault,
                average_s=each.latency.average_s(now),
            )
            for each in self._all
        ]

    async def fetch(self, path: str, take: Take[T], *, if_none_match: str = "") -> T:
        """Return what ``take`` makes of the first good answer for ``path``.

        It may be called for two answers at a time, when one is slow to begin. With a tag in
        ``if_none_match`` a good answer may be a 304.

        Raises:
            NotFound: All upstreams say that it does not exist.
            NoUpstream: None gave a good answer; the message says what each did.
        """
        self._retries.offer()
        refused: list[Upstream] = []
        race: Race[T] = Race(
            self._attempts(path, refused),
            partial(self._ask, path, take, if_none_match),
            afford=self._afford,
            hedge_at_most_s=self._hedge_at_most_s,
        )
        try:
            return await race.run(self._clock.monotonic())
        except Lost as lost:
            faults = [str(fault) for fault in lost.faults]
            faults += [f"{each.url}: not asked, it keeps failing" for each in refused]
            if faults:
                raise NoUpstream(f"{path}: no upstream can give it: {'; '.join(faults)}") from lost
            raise NotFound(f"{path}: not found") from lost

    def _attempts(self, path: str, refused: list[Upstream]) -> Iterator[Attempt]:
        """Yield who may be asked for ``path`` now, in order; add to ``refused`` who may not."""
        for upstream in self._in_order(path):
            leave = upstream.breaker.enter(self._clock.monotonic())
            if leave is None:
                refused.append(upstream)
            else:
                yield Attempt(upstream, leave)

    def _in_order(self, path: str) -> list[Upstream]:
        now = self._clock.monotonic()
        return [*self._shields_for(path, now), *by_preference(self._origins, now)]

    def _shields_for(self, path: str, now: float) -> list[Upstream]:
        """Return whom to ask before the origins: nobody, if we are, or are taken for, a shield."""
        if HERE.get().nodes:
            return []
        found: list[Upstream] = []
        for url in ranked(self._ring, path.encode()):
            shield = self._shields.get(url)
            if shield is None:
                break  # we are that
            if not shield.is_avoided(now):
                found.append(shield)
        return found[:SHIELDS_MAX]

    async def _ask(self, path: str, take: Take[T], if_none_match: str, attempt: Attempt) -> T:
        upstream, breaker = attempt.upstream, attempt.upstream.breaker
        started = self._clock.monotonic()
        self._metrics.upstream_attempts.labels(upstream.url).inc()
        try:
            result = await self._answer(path, take, if_none_match, attempt, started)
        except NotFound:
            breaker.succeed(attempt.leave)
            raise
        except PlayheadError as error:
            self._fail(attempt, error)
            raise
        except BaseException:
            breaker.abandon(attempt.leave)
            if not attempt.has_begun:  # or who is always overtaken would seem quick
                self._tell_latency(upstream, started)
            raise
        was_closed = breaker.state(started) is BreakerState.CLOSED
        breaker.succeed(attempt.leave)
        if not was_closed:
            log.info("upstream.recovered", upstream=upstream.url)
        return result

    async def _answer(
        self, path: str, take: Take[T], if_none_match: str, attempt: Attempt, started: float
    ) -> T:
        url, lease = attempt.upstream.url + path, self._node_lease()
        headers = {LOOP_HEADER: HERE.get().header(self._here)}
        if lease:
            headers[HEADER] = lease
        if if_none_match:
            headers["If-None-Match"] = if_none_match
        try:
            async with (
                asyncio.timeout(self._within_s),
                self._client.get(url, headers=headers) as reply,
            ):
                attempt.has_begun = True
                self._tell_latency(attempt.upstream, started)
                if not (if_none_match and reply.status == 304):
                    reply.require_content()
                return await take(reply)
        except TimeoutError as error:
            raise Unavailable(f"{url}: not complete within {self._within_s:g} s") from error

    def _tell_latency(self, upstream: Upstream, started: float) -> None:
        now = self._clock.monotonic()
        upstream.latency.tell(now - started, now)

    def _fail(self, attempt: Attempt, error: PlayheadError) -> None:
        upstream, now = attempt.upstream, self._clock.monotonic()
        was_open = upstream.breaker.state(now) is BreakerState.OPEN
        if upstream.fail(attempt.leave, error, now):  # one line for all that fail with it
            log.warning(
                "upstream.failed", upstream=upstream.url, code=error.code, detail=str(error)
            )
        if not was_open and upstream.breaker.state(now) is BreakerState.OPEN:
            log.error(
                "upstream.opened",
                upstream=upstream.url,
                advice="it keeps failing: asked no more until it gives a sign of life",
            )
        self._metrics.upstream_failures.labels(upstream.url, error.code).inc()
        if isinstance(error, IntegrityError):
            self._metrics.bad_upstream.inc()
        self._failed.set()

    def _afford(self, retry: Retry) -> bool:
        is_affordable = self._retries.spend()
        outcome = retry.value if is_affordable else "refused"
        self._metrics.upstream_retries.labels(outcome).inc()
        return is_affordable

    async def _probe(self) -> None:
        """Look after what is avoided, as long as anything is."""
        while True:
            await self._failed.wait()
            self._failed.clear()
            while avoided := [each for each in self._all if self._is_avoided(each)]:
                await asyncio.sleep(PROBE_EVERY_S)
                await asyncio.gather(*(self._look_after(upstream) for upstream in avoided))

    async def _look_after(self, upstream: Upstream) -> None:
        url = upstream.url + PROBE_PATH
        try:
            async with asyncio.timeout(PROBE_WITHIN_S), self._client.get(url) as reply:
                is_alive = reply.status < 500
        except (PlayheadError, TimeoutError):
            is_alive = False
        if not is_alive:
            upstream.note_dead(self._clock.monotonic())
        elif not upstream.has_lied:
            upstream.note_alive(self._clock.monotonic())
            log.info("upstream.alive", upstream=upstream.url)

    def _is_avoided(self, upstream: Upstream) -> bool:
        return upstream.is_avoided(self._clock.monotonic())

    def _avoided_count(self) -> int:
        return sum(map(self._is_avoided, self._all))

    def _watch(self) -> None:
        def state(upstream: Upstream) -> float:
            if upstream.breaker.state(self._clock.monotonic()) is BreakerState.OPEN:
                return 2
            return float(self._is_avoided(upstream))

        def seconds(upstream: Upstream) -> float:
            return upstream.latency.average_s(self._clock.monotonic()) or 0.0

        watch, watch_each = self._metrics.watch, self._metrics.watch_each
        watch("upstreams_avoided", "Upstreams that failed lately.", self._avoided_count)
        watch_each(
            "upstream_state",
            "0 asked, 1 avoided, 2 not asked because it keeps failing.",
            "upstream",
            {upstream.url: partial(state, upstream) for upstream in self._all},
        )
        watch_each(
            "upstream_seconds",
            "Until answers begin, on average lately.",
            "upstream",
            {upstream.url: partial(seconds, upstream) for upstream in self._all},
        )


def _bare(url: str) -> str:
    return url.rstrip("/")
