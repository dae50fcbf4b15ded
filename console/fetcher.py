"""Fetch from several edges: the next one answers for the one that fails.

An edge that errs, stalls or sends wrong bytes is passed over for a while, longer each time. Only
when no edge has given anything usable for a long time is the operation given up.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from console.edge_memory import EdgeMemory
from console.edges import Edge, best_edge
from console.leases import Leases
from console.permits import LeaseRefused, Permit, permit_for, refuse_refusal
from console.progress import Meter
from console.settings import ConsoleSettings
from console.start import Means, StartCall
from kit.clock import Clock
from kit.errors import FormatError, IntegrityError, NotFound, SettingsError, Unavailable
from kit.http_client import HttpClient, HttpReply
from kit.rate_limit import RateLimit
from manifests.names import Channel, TitleId

T = TypeVar("T")

Attempt: TypeAlias = "Callable[[Edge, Permit | None], Awaitable[T]]"
"""Asks one edge once."""

SLOWEST_PER_S = 4096
"""What can be done without is given up where fewer bytes come a second, patience aside: eight at
once on a line of 256 kbit/s still get as much each."""

RENEWALS_MAX = 2
"""Within one request: a lease may end on the way, and once more if that takes long."""

_EDGE_FAULTS = (Unavailable, NotFound, IntegrityError, FormatError)


@dataclass(frozen=True, slots=True)
class _Started(Generic[T]):
    """What was made of a part of a start call."""

    found: T


class Fetcher:
    """Asks edges for objects. Belongs to one operation and one event loop."""

    def __init__(
        self,
        settings: ConsoleSettings,
        http: HttpClient,
        leases: Leases,
        clock: Clock,
        meter: Meter,
        *,
        memory: EdgeMemory | None = None,
    ) -> None:
        self._settings = settings
        self._http = http
        self._leases = leases
        self._clock = clock
        self._meter = meter
        self._limit = RateLimit(settings.limit_rate, clock)
        self._edges = [Edge(url.rstrip("/")) for url in settings.edges]
        self._last_success = clock.monotonic()
        self._memory = memory or EdgeMemory(clock)
        self._start: StartCall | None = None

    def start(self, title: TitleId, channel: Channel, installed: int | None) -> None:
        """Open with a start call; what it brings answers :meth:`get` and :meth:`get_span` first."""
        means = Means(
            http=self._http,
            leases=self._leases,
            clock=self._clock,
            meter=self._meter,
            memory=self._memory,
            take_rate=self._limit.take,
            blame=self._blame,
            patience_s=self._settings.http.stall_after,
        )
        self._start = StartCall(means, title, channel, installed)
        self._start.begin(self._edges)

    def may_start_with(self, key: str, span: tuple[int, int]) -> bool:
        """Tell whether the start call has brought ``span`` of an object, or may still."""
        return self._start is not None and self._start.may_bring(f"/{key}", span)

    async def close(self) -> None:
        """Give up a start call that is under way."""
        if self._start is not None:
            await self._start.close()

    async def get(
        self,
        key: str,
        size_max: int,
        accept: Callable[[bytearray], Awaitable[T]],
        *,
        patience_s: float | None = None,
        may_lack: bool = False,
    ) -> T:
        """Return what ``accept`` makes of a whole object of at most ``size_max`` bytes.

        If ``accept`` raises that the bytes are wrong, the next edge is asked. ``patience_s`` is
        for what can be done without, and shorter than what settings say; an edge that sends so
        little at a time that it never stalls ends it too. An edge that has not what it
        ``may_lack`` is no worse for that.

        Raises:
            NotFound: Every edge says there is no such object.
            Denied: The player may not download the title, or every edge says so.
            Unavailable: No edge gave it for ``give_up_after``, or ``patience_s``.
        """

        async def accept_part(body: bytes) -> T:
            if len(body) > size_max:
                raise IntegrityError(f"{key}: {len(body)} bytes; at most {size_max}")
            return await accept(bytearray(body))

        async def attempt(edge: Edge, permit: Permit | None) -> T:
            async with self._ask(edge, key, permit) as reply:
                body = await reply.read(size_max=size_max)
            self._meter.received(len(body))
            await self._limit.take(len(body))
            return await accept(body)

        started = await self._from_start(key, None, accept_part)
        if started is not None:
            return started.found
        return await self._patiently(key, size_max, attempt, patience_s, may_lack=may_lack)

    async def get_span(
        self,
        key: str,
        span: tuple[int, int],
        into: memoryview,
        accept: Callable[[], Awaitable[T]],
        *,
        patience_s: float | None = None,
    ) -> T:
        """Fill ``into`` with the bytes ``span`` of an object; return what ``accept`` makes of it.

        Raises: as :meth:`get`.
        """

        async def accept_part(body: bytes) -> T:
            into[:] = body  # of the span's size: that much is checked where it comes in
            return await accept()

        async def attempt(edge: Edge, permit: Permit | None) -> T:
            async with self._ask(edge, key, permit, span) as reply:
                await self._receive(reply, into)
            return await accept()

        started = await self._from_start(key, span, accept_part)
        if started is not None:
            return started.found
        return await self._patiently(key, len(into), attempt, patience_s)

    async def _from_start(
        self, key: str, span: tuple[int, int] | None, accept: Callable[[bytes], Awaitable[T]]
    ) -> _Started[T] | None:
        """Return what ``accept`` makes of what the start call brought; None if it did not."""
        if self._start is None:
            return None
        body = await self._start.take(f"/{key}", span)
        if body is None:
            return None
        try:
            found = await accept(body)
        except _EDGE_FAULTS as error:
            await self._start.distrust(error)
            return None
        self._last_success = self._clock.monotonic()
        return _Started(found)

    @asynccontextmanager
    async def _ask(
        self, edge: Edge, key: str, permit: Permit | None, span: tuple[int, int] | None = None
    ) -> AsyncIterator[HttpReply]:
        headers = None if permit is None else permit.headers
        async with self._http.get(f"{edge.url}/{key}", headers=headers, span=span) as reply:
            if permit is not None:
                await refuse_refusal(reply)
            reply.require_content()
            yield reply

    async def _receive(self, reply: HttpReply, into: memoryview) -> None:
        at = 0
        async for piece in reply.pieces():
            end = at + len(piece)
            self._meter.received(len(piece))
            if end > len(into):
                raise IntegrityError(f"{reply.url}: more than the {len(into)} bytes asked for")
            into[at:end] = piece
            at = end
            await self._limit.take(len(piece))
        if at != len(into):
            raise IntegrityError(f"{reply.url}: ended after {at} of {len(into)} bytes")

    async def _patiently(
        self,
        key: str,
        size: int,
        attempt: Attempt[T],
        patience_s: float | None,
        *,
        may_lack: bool = False,
    ) -> T:
        """Bound the whole of what can be done without, for ``size`` bytes."""
        if patience_s is None:
            return await self._from_any(key, attempt, None, may_lack=may_lack)
        deadline_s = patience_s + size / self._slowest_per_s()
        try:
            async with asyncio.timeout(deadline_s):
                return await self._from_any(key, attempt, patience_s, may_lack=may_lack)
        except TimeoutError as error:
            raise Unavailable(f"gave up on {key}: it came too slowly") from error

    def _slowest_per_s(self) -> float:
        """Return how fast a request must be at least; a limit set by the player is no fault."""
        limit = self._settings.limit_rate
        share = limit / (2 * self._settings.requests_at_once)
        return min(SLOWEST_PER_S, share) if limit else SLOWEST_PER_S

    async def _from_any(
        self,
        key: str,
        attempt: Attempt[T],
        patience_s: float | None,
        *,
        may_lack: bool,
    ) -> T:
        if not self._edges:
            raise SettingsError("console.edges: name at least one edge to fetch from")
        started = self._clock.monotonic()
        tried: Counter[str] = Counter()
        lacking: set[str] = set()
        refusing: set[str] = set()
        renewals_left = RENEWALS_MAX
        while True:
            edge, delay_s = best_edge(self._edges, tried, self._clock.monotonic())
            delay_s = max(delay_s, self._backoff_s(tried[edge.url]))
            if patience_s is not None and delay_s > patience_s:
                # What is optional is not waited for.
                raise Unavailable(f"gave up on {key}: no edge is to be asked for {delay_s:.0f} s")
            await asyncio.sleep(delay_s)
            permit = await permit_for(self._leases, key)
            self._meter.requests += 1
            try:
                found = await attempt(edge, permit)
            except LeaseRefused as error:
                assert permit is not None
                if renewals_left and self._leases.replace(permit.title, permit.token):
                    renewals_left -= 1
                    continue
                self._blame(edge, error)
                tried[edge.url] += 1
                # Other refusals are the platform's trouble, such as keys that differ: they pass.
                refusing = refusing | {edge.url} if error.is_final else set()
                if len(refusing) == len(self._edges):
                    raise LeaseRefused(
                        f"no edge lets {permit.title} be downloaded; what was done is kept, and"
                        f" the same command goes on once it is granted. {error}",
                        is_final=True,
                    ) from error
                self._check_patience(key, started, error, patience_s)
            except _EDGE_FAULTS as error:
                if not (may_lack and isinstance(error, NotFound)):
                    self._blame(edge, error)
                tried[edge.url] += 1
                lacking = lacking | {edge.url} if isinstance(error, NotFound) else set()
                if len(lacking) == len(self._edges):
                    raise NotFound(f"no edge has {key}: {error}") from error
                self._check_patience(key, started, error, patience_s)
            else:
                edge.succeeded()
                self._last_success = self._clock.monotonic()
                return found

    def _backoff_s(self, failures: int) -> float:
        """Return how long to wait before asking an edge again that failed this request."""
        if failures == 0:
            return 0.0
        return min(
            self._settings.penalty * 2.0 ** min(failures - 1, 30), self._settings.penalty_max
        )

    def _blame(self, edge: Edge, error: Exception) -> None:
        self._meter.failures += 1
        now = self._clock.monotonic()
        edge.failed(now, error, self._settings.penalty, self._settings.penalty_max)

    def _check_patience(
        self, key: str, started: float, error: Exception, patience_s: float | None
    ) -> None:
        """Give up on an object if it was waited for too long.

        What cannot be done without may be late as long as other objects come.
        """
        now = self._clock.monotonic()
        if patience_s is None:
            waited_s = now - max(started, self._last_success)
            patience_s = self._settings.give_up_after
        else:
            waited_s = now - started
        if waited_s >= patience_s:
            said = "; ".join(
                f"{edge.url}: {edge.last_error or 'not asked'}" for edge in self._edges
            )
            raise Unavailable(
                f"gave up on {key} after {waited_s:.0f} s without a usable answer;"
                f" the same command goes on from here. {said}"
            ) from error
