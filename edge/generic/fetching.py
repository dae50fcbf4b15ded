"""GETs that need the upstream: one request for all who ask for the same, validation, storing.

Source: RFC 9111, sections 4 and 4.3; RFC 5861, section 3.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from edge.generic.answer import Answer
from edge.generic.answering import Answering
from edge.generic.completing import Gap, gap_of
from edge.generic.errors import ClientLeft
from edge.generic.fill import Fill, Follower, Room
from edge.generic.flight import Failed, Flight, Flights, Landing
from edge.generic.incoming import Incoming
from edge.generic.keeping import Keeping
from edge.generic.lookup import Lookup, look_up
from edge.generic.settings import GenericSettings
from edge.generic.store import Entry, ResponseStore
from edge.generic.streams import Passing, Source
from edge.generic.upstream import Interim, Upstream
from kit.clock import Clock
from kit.errors import Unavailable
from kit.http_semantics.conditions import CONDITIONS, confirmed, validation
from kit.http_semantics.messages import RequestHead, ResponseHead
from kit.http_semantics.reuse import Reuse
from kit.http_semantics.statuses import SERVER_FAILED
from kit.http_semantics.stored import to_store
from kit.http_semantics.vary import matches
from kit.telemetry import get_logger

log = get_logger("edge.generic")

T = TypeVar("T")

UNSHARED_MAX = 4096
"""Keys remembered whose responses are for one client each, so that nobody waits for another's."""

SENT_AT_ONCE = frozenset({Reuse.FRESH, Reuse.STALE, Reuse.BEHIND})


@dataclass(frozen=True, slots=True)
class _Question:
    """What the upstream is asked for a request."""

    request: RequestHead
    about: Sequence[Entry] = ()
    """Stored responses of which it may say that one is right."""
    gap: Gap | None = None
    """What is missing of one, if only that is asked for."""


class Fetching:
    """Asks for what is not stored, or no longer right. Belongs to one event loop."""

    def __init__(
        self,
        settings: GenericSettings,
        upstream: Upstream,
        store: ResponseStore,
        answering: Answering,
        clock: Clock,
    ) -> None:
        self.flights = Flights()
        self._keeping = Keeping(store, self.flights)
        self._settings = settings
        self._upstream = upstream
        self._store = store
        self._answering = answering
        self._clock = clock
        self._room = Room(settings.filling_max_bytes)
        self._unshared: OrderedDict[str, None] = OrderedDict()
        self._behind: set[str] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def close(self) -> None:
        """End what goes on behind clients' backs."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def get(self, found: Lookup, incoming: Incoming) -> Answer:
        """Follow somebody who asks for the same already, or ask.

        Raises:
            ClientLeft: There is nobody to answer.
        """
        if found.may_follow and (answer := self._brought(found)) is not None:
            return answer  # it came between being looked up and now, a turn of the loop later
        leader = self.flights.joinable(found.key) if found.may_follow else None
        if leader is not None:
            landing = await asyncio.shield(leader.landed)
            answer = await self._followed(landing, found)
            if answer is not None:
                return answer
            again = look_up(self._store, found.key, found.request, self._clock.now())
            found = replace(again, is_collapsed=False)
        is_shared = found.may_lead and found.key not in self._unshared
        flight = self.flights.begin(found.key, is_joinable=is_shared)
        if self.flights.joinable(found.key) is not flight:
            return await self._fetch(found, incoming, flight)
        # Others wait for it, or will: it does not end with the client that asked first.
        quiet = replace(incoming, interim=_while_there(incoming))
        asking = self._start(self._fetch(found, quiet, flight))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            asking.add_done_callback(self._unwanted)
            raise

    def refresh_behind(self, found: Lookup, incoming: Incoming) -> None:
        """Validate what was sent stale, once at a time: RFC 5861, section 3."""
        if found.key not in self._behind:
            self._behind.add(found.key)
            self._start(self._refresh(found, replace(incoming, interim=_ignore)))

    # Following

    async def _followed(self, landing: Landing, found: Lookup) -> Answer | None:
        """Return what another's response makes the answer to this request, if it does."""
        match landing:
            case Fill() as fill:
                return await self._joined(fill, found)
            case Failed(failure):
                stale = self._answering.instead(found, failure, is_collapsed=True)
                if stale is not None or not isinstance(failure, Unavailable):
                    return stale
                had_stored = found.usable is not None
                return self._answering.failed(failure, found.request, had_stored=had_stored)
            case None:
                return self._brought(found)

    async def _joined(self, fill: Fill, found: Lookup) -> Answer | None:
        now = self._clock.now()
        if (
            not matches(fill.stored.varied, found.request.fields)
            or fill.stored.ttl_s(now) <= 0
            or fill.stored.directives.has("no-cache")
        ):
            return None
        if fill.is_whole:
            return self._answering.joined(found, fill, now)
        await asyncio.shield(fill.done)
        return self._brought(found)

    def _brought(self, found: Lookup) -> Answer | None:
        """Return the answer by what is stored since."""
        now = self._clock.now()
        again = look_up(self._store, found.key, found.request, now)
        if again.usable is None or again.verdict is not Reuse.FRESH:
            return None
        return self._answering.collapsed(found, again.usable, found.why, now)

    # Asking

    async def _fetch(self, found: Lookup, incoming: Incoming, flight: Flight) -> Answer:
        try:
            return await self._ask(found, incoming, flight)
        except BaseException:
            self.flights.end(flight)
            raise

    async def _ask(self, found: Lookup, incoming: Incoming, flight: Flight) -> Answer:
        """Ask the upstream, about what is stored if that can be, and act on what it says."""
        question = self._question(found)
        try:
            reply = await self._upstream.send(question.request, None, incoming.interim)
        except Unavailable as error:
            self.flights.end(flight, Failed(error))
            had_stored = found.usable is not None
            return self._answering.instead(found, error) or self._answering.failed(
                error, found.request, had_stored=had_stored
            )
        status = reply.head.status
        if status in SERVER_FAILED and (stale := self._answering.instead(found, reply)):
            self.flights.end(flight, Failed(reply))
            await reply.close()
            return stale
        if question.gap is not None and status in {206, 416}:
            whole = question.gap.completed(found.request, reply)
            if whole is not None:
                return self._taken(found, whole, flight, is_ours=False)
        elif question.about and status == 304:
            stored = [entry.stored for entry in question.about]
            right = confirmed(reply.head, stored)
            if right:
                await reply.close()
                entries = [entry for entry in question.about if entry.stored in right]
                return self._confirmed(found, entries, reply, flight)
        else:
            return self._taken(found, reply, flight, is_ours=bool(question.about))
        # It is about what we do not have: ask for all of it (RFC 9111, section 4.3.4).
        await reply.close()
        return await self._ask(replace(found, match=None, verdict=None), incoming, flight)

    def _question(self, found: Lookup) -> _Question:
        request = found.request
        if found.match is not None and found.why == "partial":
            gap = gap_of(found.match, request, self._clock.now())
            return _Question(request) if gap is None else _Question(gap.request(request), gap=gap)
        about = self._to_ask_about(found)
        fields = validation(request.fields, [each.stored for each in about]) if about else None
        if fields is None:
            return _Question(request)
        return _Question(replace(request, fields=fields), about)

    def _to_ask_about(self, found: Lookup) -> Sequence[Entry]:
        """Return what may turn out to be the answer if the upstream says so: section 4.3.1."""
        if found.usable is not None:
            return [found.usable]
        if found.why != "vary-miss" or "range" in found.request.fields:
            return []
        if any(name in found.request.fields for name in CONDITIONS):
            return []  # its own tags and ours would be told apart by nobody
        return [e for e in self._store.all(found.key) if e.stored.head.status == 200]

    def _confirmed(
        self, found: Lookup, entries: list[Entry], source: Source, flight: Flight
    ) -> Answer:
        """Update what is stored and send it: RFC 9111, section 4.3.3."""
        is_void, key = flight.is_void, found.key
        entry = self._keeping.confirm(key, entries, found.request, source, is_void=is_void)
        if entry.stored.ttl_s(source.received_at) <= 0:
            self._remember_unshared(key)
        self.flights.end(flight)
        return self._answering.confirmed(found, entry, source.received_at)

    def _taken(self, found: Lookup, source: Source, flight: Flight, *, is_ours: bool) -> Answer:
        """Store a full response if it may be, and send it: RFC 9111, section 4.3.3."""
        stored = to_store(
            found.request, source.head, asked_at=source.asked_at, received_at=source.received_at
        )
        size_max = self._settings.object_max_bytes
        if stored is None or not Fill.may_begin(source, self._room, size_max):
            self._note_unstored(found, source)
            self.flights.end(flight)
            why, is_collapsed = found.why, found.is_collapsed
            return self._answering.passed_on(source, why, is_collapsed=is_collapsed)
        fill = Fill(
            source,
            stored,
            self._store,
            self._room,
            key=found.key,
            is_void=lambda: flight.is_void,
            size_max=size_max,
        )
        self._unshared.pop(found.key, None)
        flight.land(fill if source.head.status != 206 else None)
        self._start(self._run(fill, flight))
        return self._answering.led(found, fill, source, is_ours=is_ours)

    def _note_unstored(self, found: Lookup, source: Source) -> None:
        if source.head.status == 304:
            self._keeping.note_not_modified(found.key, found.request, source)
        else:
            self._keeping.note_unstored(found.match, found.request, source)
        if found.may_lead:
            self._remember_unshared(found.key)

    async def _run(self, fill: Fill, flight: Flight) -> None:
        try:
            await fill.run()
        finally:
            self.flights.end(flight)

    def _remember_unshared(self, key: str) -> None:
        self._unshared[key] = None
        self._unshared.move_to_end(key)
        if len(self._unshared) > UNSHARED_MAX:
            self._unshared.popitem(last=False)

    # Behind clients' backs

    async def _refresh(self, found: Lookup, incoming: Incoming) -> None:
        fields = found.request.fields.without({*CONDITIONS, "range", "if-range", "cache-control"})
        bare = replace(found, request=RequestHead("GET", found.request.target, fields))
        try:
            await _leave(await self.get(bare, incoming))
        except (Unavailable, ClientLeft) as error:
            log.info("refresh.failed", key=found.key, error=str(error))
        finally:
            self._behind.discard(found.key)

    def _unwanted(self, asking: asyncio.Task[Answer]) -> None:
        """Leave an answer whose client has left meanwhile."""
        if not asking.cancelled() and asking.exception() is None:
            self._start(_leave(asking.result()))

    def _start(self, work: Coroutine[None, None, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _leave(answer: Answer) -> None:
    """Want no more of an answer; what is stored of it is read to its end all the same."""
    if isinstance(answer.body, Follower | Passing):
        await answer.body.close()


async def _ignore(_head: ResponseHead) -> None:
    """Take a 1xx that is for nobody."""


def _while_there(incoming: Incoming) -> Interim:
    """Return what passes a 1xx on, and does not mind if the client has left."""

    async def pass_on(head: ResponseHead) -> None:
        with suppress(ClientLeft, OSError):
            await incoming.interim(head)

    return pass_on
