"""The cache itself: answers from what is stored, asks the upstream for the rest, and stores it.

Source: RFC 9111, section 4, whose order it follows.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass, replace

from edge.generic.answer import Answer, from_entry, from_error, marked, own
from edge.generic.errors import ClientLeft
from edge.generic.fill import Fill, Flight, Follower, Room
from edge.generic.lookup import Lookup, is_for_cache, key_of, look_up
from edge.generic.settings import GenericSettings
from edge.generic.store import Entry, ResponseStore
from edge.generic.streams import Passing
from edge.generic.upstream import Interim, Reply, Upstream, with_via
from kit.clock import Clock
from kit.errors import Unavailable
from kit.http_semantics.cache_status import CacheStatus, Forwarded
from kit.http_semantics.conditions import (
    CONDITIONS,
    Precondition,
    confirmed,
    not_modified_fields,
    precondition,
    validation,
)
from kit.http_semantics.fields import Fields
from kit.http_semantics.freshening import freshened, head_agrees
from kit.http_semantics.invalidation import invalidated
from kit.http_semantics.messages import RequestHead, ResponseHead
from kit.http_semantics.reuse import Reuse, may_be_sent_on_error
from kit.http_semantics.statuses import SERVER_FAILED
from kit.http_semantics.stored import dated, may_store, to_store
from kit.http_semantics.tags import is_strong
from kit.http_semantics.vary import matches
from kit.telemetry import get_logger

log = get_logger("edge.generic")

UNSHARED_MAX = 4096
"""Keys remembered whose responses are for one client each, so that nobody waits for another's."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request as the listener read it."""

    head: RequestHead
    host: str
    """Whom it is for: the authority of its target URI."""
    body: AsyncIterator[bytes] | None
    interim: Interim
    """Sends a 1xx to the client."""


class Proxy:
    """A shared cache in front of one upstream. Belongs to one event loop."""

    def __init__(
        self, settings: GenericSettings, upstream: Upstream, store: ResponseStore, clock: Clock
    ) -> None:
        self._settings = settings
        self._upstream = upstream
        self._store = store
        self._clock = clock
        self._scheme = "https" if upstream.place.is_tls else "http"
        self._room = Room(settings.filling_max_bytes)
        self._joinable: dict[str, Flight] = {}
        self._flights: dict[str, set[Flight]] = {}
        self._unshared: OrderedDict[str, None] = OrderedDict()
        self._behind: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def answer(self, incoming: Incoming) -> Answer:
        """Return the answer to a request; whatever fails upstream is an answer too.

        Raises:
            ClientLeft: There is nobody to answer.
        """
        head = incoming.head
        refusal = self._refusal(head)
        if refusal is not None:
            return refusal
        if not is_for_cache(head, has_body=incoming.body is not None):
            return await self._forward(incoming)
        key = key_of(self._scheme, incoming.host, head.target)
        now = self._clock.now()
        found = look_up(self._store, key, head, now)
        if found.usable is not None and found.verdict in _SENT_AT_ONCE:
            if found.verdict is Reuse.BEHIND:
                self._refresh_behind(found, incoming)
            return self._hit(found.usable, head, now)
        if found.wants.has("only-if-cached"):
            return own(
                504,
                {"code": "only-if-cached", "status": 504, "detail": "nothing usable is stored"},
                now,
                None,
                has_body=head.method != "HEAD",
            )
        if head.method == "HEAD":
            return await self._head(found, incoming)
        return await self._get(found, incoming)

    async def close(self) -> None:
        """End what goes on behind clients' backs."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._upstream.close()

    # What is not cached

    async def _forward(self, incoming: Incoming) -> Answer:
        """Pass a request on, and forget what it makes outdated: RFC 9111, section 4.4."""
        head = incoming.head
        why: Forwarded = "bypass" if head.method in {"GET", "HEAD"} else "method"
        try:
            reply = await self._upstream.send(_one_hop_less(head), incoming.body, incoming.interim)
        except Unavailable as error:
            return self._failed(error, CacheStatus(why), head)
        origin = f"{self._scheme}://{incoming.host}"
        for target in invalidated(head, reply.head, origin):
            self._invalidate(key_of(self._scheme, incoming.host, target))
        return self._passed_on(reply, CacheStatus(why, reply.head.status))

    def _refusal(self, head: RequestHead) -> Answer | None:
        """Answer what is for us and not for the upstream: RFC 9110, sections 7.6.2 and 9.3.6."""
        now = self._clock.now()
        if head.method == "CONNECT":
            text: dict[str, object] = {"code": "not-implemented", "status": 501}
            return own(501, text | {"detail": "no tunnels here"}, now, None, has_body=True)
        if head.method in {"OPTIONS", "TRACE"} and head.fields.get("max-forwards") == "0":
            if head.method == "OPTIONS":
                fields = Fields((("Content-Length", "0"),))
                return Answer(dated(ResponseHead(200, "OK", fields), now), None, "own")
            text = {"code": "method-not-allowed", "status": 405}
            return own(405, text | {"detail": "not traced"}, now, None, has_body=True)
        return None

    def _invalidate(self, key: str) -> None:
        self._store.drop_all(key)
        for flight in self._flights.get(key, ()):
            flight.is_void = True
        self._joinable.pop(key, None)

    # HEAD

    async def _head(self, found: Lookup, incoming: Incoming) -> Answer:
        """Pass a HEAD on; what it says of stored responses updates them: RFC 9111, 4.3.5."""
        request = found.request
        try:
            reply = await self._upstream.send(request, None, incoming.interim)
        except Unavailable as error:
            return self._instead(found, error) or self._failed(
                error, CacheStatus(found.why), request, had_stored=found.match is not None
            )
        if reply.head.status in SERVER_FAILED and (stale := self._instead(found, reply)):
            await reply.close()
            return stale
        if reply.head.status == 200:
            for entry in list(self._store.all(found.key)):
                if matches(entry.stored.varied, request.fields):
                    self._update_from_head(entry, reply, request)
        return self._passed_on(reply, CacheStatus(found.why, reply.head.status))

    def _update_from_head(self, entry: Entry, reply: Reply, request: RequestHead) -> None:
        if head_agrees(entry.stored, reply.head):
            self._update(entry, reply, replace(request, method="GET"))
        else:
            self._store.drop(entry)

    # GET

    async def _get(self, found: Lookup, incoming: Incoming) -> Answer:
        """Follow somebody who asks for the same already, or ask."""
        leader = self._joinable.get(found.key) if found.is_plain else None
        if leader is not None:
            fill = await asyncio.shield(leader.landed)
            answer = None if fill is None else await self._joined(fill, found)
            if answer is not None:
                return answer
        flight = Flight(found.key)
        self._flights.setdefault(found.key, set()).add(flight)
        is_joinable = found.is_plain and found.key not in self._unshared
        if is_joinable and found.key not in self._joinable:
            self._joinable[found.key] = flight
        try:
            return await self._fetch(found, incoming, flight)
        except BaseException:
            self._end(flight)
            raise

    async def _joined(self, fill: Fill, found: Lookup) -> Answer | None:
        """Return the answer that another's response is to this request too, None if it is none."""
        now = self._clock.now()
        if not matches(fill.stored.varied, found.request.fields) or fill.stored.ttl_s(now) <= 0:
            return None
        if fill.stored.directives.has("no-cache"):
            return None
        if not fill.is_whole:
            await asyncio.shield(fill.done)
            again = look_up(self._store, found.key, found.request, self._clock.now())
            if again.usable is None or again.verdict is not Reuse.FRESH:
                return None
            said = CacheStatus(found.why, is_collapsed=True)
            return self._sent(
                from_entry(again.usable, found.request, now, said, is_validated=False)
            )
        ttl_s = fill.stored.whole_ttl_s(now)
        said = CacheStatus(found.why, fill.head.status, is_collapsed=True, ttl_s=ttl_s)
        fields = fill.stored.head.fields.without({"age"})
        fields = fields.plus(("Age", str(int(fill.stored.age_s(now)))))
        head = marked(fill.stored.head.with_fields(fields), said)
        return self._sent(Answer(head, fill.join(), "collapsed"))

    async def _fetch(self, found: Lookup, incoming: Incoming, flight: Flight) -> Answer:
        """Ask the upstream, about what is stored if that can be, and act on what it says."""
        asked_about = self._to_ask_about(found)
        stored = [entry.stored for entry in asked_about]
        fields = validation(found.request.fields, stored) if stored else None
        request = found.request if fields is None else replace(found.request, fields=fields)
        try:
            reply = await self._upstream.send(request, None, incoming.interim)
        except Unavailable as error:
            self._end(flight)
            said = CacheStatus(found.why)
            had_stored = found.usable is not None
            return self._instead(found, error) or self._failed(
                error, said, found.request, had_stored=had_stored
            )
        if reply.head.status in SERVER_FAILED and (stale := self._instead(found, reply)):
            self._end(flight)
            await reply.close()
            return stale
        if reply.head.status == 304 and fields is not None:
            right = confirmed(reply.head, stored)
            await reply.close()
            if right:
                entries = [entry for entry in asked_about if entry.stored in right]
                self._end(flight)
                return self._confirmed(found, entries, reply, is_void=flight.is_void)
            # It confirms what we do not have: ask without conditions (RFC 9111, section 4.3.4).
            bare = replace(found, match=None, verdict=None)
            return await self._fetch(bare, incoming, flight)
        return self._taken(found, reply, flight, is_ours=fields is not None)

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
        self, found: Lookup, entries: list[Entry], reply: Reply, *, is_void: bool
    ) -> Answer:
        """Update what is stored and send it: RFC 9111, section 4.3.3."""
        chosen = max(entries, key=lambda entry: entry.stored.date)
        for entry in entries:
            self._update(entry, reply, found.request)
        stored = freshened(
            chosen.stored,
            reply.head,
            found.request,
            asked_at=reply.asked_at,
            received_at=reply.received_at,
        )
        said = CacheStatus(
            found.why, 304, is_stored=True, ttl_s=stored.whole_ttl_s(reply.received_at)
        )
        is_another = stored.varied != chosen.stored.varied and not is_void
        if is_another and may_store(found.request, stored.head, stored):
            self._store.put(found.key, stored, chosen.content)
        sent = Entry(found.key, stored, chosen.content)
        return self._sent(
            from_entry(sent, found.request, reply.received_at, said, is_validated=True)
        )

    def _update(self, entry: Entry, reply: Reply, request: RequestHead) -> None:
        stored = freshened(
            entry.stored,
            reply.head,
            request,
            asked_at=reply.asked_at,
            received_at=reply.received_at,
        )
        if may_store(request, stored.head, stored) or entry.stored.head.status == 206:
            self._store.freshen(entry, stored)
        else:
            self._store.drop(entry)

    def _taken(self, found: Lookup, reply: Reply, flight: Flight, *, is_ours: bool) -> Answer:
        """Store a full response if it may be, and send it: RFC 9111, section 4.3.3.

        Args:
            found: What was asked for.
            reply: The response.
            flight: Ends here, or when the response does.
            is_ours: Whether the conditions that were asked were ours, so that the client's are
                still to be evaluated.
        """
        stored = to_store(
            found.request, reply.head, asked_at=reply.asked_at, received_at=reply.received_at
        )
        size_max = self._settings.object_max_bytes
        if stored is None or not Fill.may_begin(reply, self._room, size_max):
            if reply.head.status == 304:
                self._update_same(found, reply)
            elif found.match is not None and reply.head.status < 500:
                self._store.drop(found.match)  # it is not what the upstream would send
            self._remember_unshared(found.key)
            self._end(flight)
            return self._passed_on(reply, CacheStatus(found.why, reply.head.status))
        fill = Fill(reply, stored, flight, self._store, self._room, size_max=size_max)
        self._unshared.pop(found.key, None)
        flight.land(fill if reply.head.status != 206 else None)
        self._start(self._run(fill, flight))
        said = CacheStatus(
            found.why,
            reply.head.status,
            is_stored=True,
            ttl_s=stored.whole_ttl_s(reply.received_at),
        )
        head = dated(reply.head, reply.received_at)
        is_known = precondition(found.request.fields, stored, reply.received_at)
        if is_ours and is_known is Precondition.NOT_MODIFIED:
            fill.leave()
            head = ResponseHead(304, "Not Modified", not_modified_fields(head.fields))
            return self._sent(Answer(marked(head, said), None, found.why))
        return self._sent(Answer(marked(head, said), fill.lead(), found.why))

    def _update_same(self, found: Lookup, reply: Reply) -> None:
        """Update what a 304 to the client's own conditions is about: RFC 9111, section 4.3.4."""
        etag = reply.head.fields.only("etag") or ""
        for entry in list(self._store.all(found.key)):
            if is_strong(etag) and entry.stored.etag == etag:
                self._update(entry, reply, found.request)

    async def _run(self, fill: Fill, flight: Flight) -> None:
        try:
            await fill.run()
        finally:
            self._end(flight)

    def _end(self, flight: Flight) -> None:
        flight.land(None)
        under_way = self._flights.get(flight.key)
        if under_way is not None:
            under_way.discard(flight)
            if not under_way:
                del self._flights[flight.key]
        if self._joinable.get(flight.key) is flight:
            del self._joinable[flight.key]

    def _remember_unshared(self, key: str) -> None:
        self._unshared[key] = None
        self._unshared.move_to_end(key)
        if len(self._unshared) > UNSHARED_MAX:
            self._unshared.popitem(last=False)

    # Behind the client's back

    def _refresh_behind(self, found: Lookup, incoming: Incoming) -> None:
        """Validate what was sent stale, once at a time: RFC 5861, section 3."""
        if found.key not in self._behind:
            self._behind.add(found.key)
            quiet = replace(incoming, interim=_ignore)
            self._start(self._refresh(found, quiet))

    async def _refresh(self, found: Lookup, incoming: Incoming) -> None:
        fields = found.request.fields.without({*CONDITIONS, "range", "if-range", "cache-control"})
        bare = replace(found, request=RequestHead("GET", found.request.target, fields))
        try:
            answer = await self._get(bare, incoming)
            if isinstance(answer.body, Follower | Passing):
                await answer.body.close()  # what is stored is read to its end all the same
        except (Unavailable, ClientLeft) as error:
            log.info("refresh.failed", key=found.key, error=str(error))
        finally:
            self._behind.discard(found.key)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Answers

    def _hit(self, entry: Entry, request: RequestHead, now: float) -> Answer:
        said = CacheStatus(ttl_s=entry.stored.whole_ttl_s(now))
        return self._sent(from_entry(entry, request, now, said, is_validated=False))

    def _instead(self, found: Lookup, failure: Unavailable | Reply) -> Answer | None:
        """Return what is stored instead of what could not be had, if that may be sent."""
        entry, now = found.usable, self._clock.now()
        if entry is None or not may_be_sent_on_error(
            entry.stored, found.wants, now, stale_max_s=self._settings.stale_on_error_for
        ):
            return None
        is_reply = isinstance(failure, Reply)
        said = CacheStatus(
            found.why,
            failure.head.status if isinstance(failure, Reply) else None,
            ttl_s=entry.stored.whole_ttl_s(now),
            detail="stale-if-error" if is_reply else "disconnected",
        )
        answer = from_entry(entry, found.request, now, said, is_validated=False)
        return replace(self._sent(answer), result="stale-on-error")

    def _failed(
        self,
        error: Unavailable,
        said: CacheStatus,
        request: RequestHead,
        *,
        had_stored: bool = False,
    ) -> Answer:
        """Say that the upstream gave no answer: 504 where one is stored but must not be sent."""
        log.warning("upstream.failed", target=request.target, error=str(error))
        status = 504 if had_stored else error.status
        has_body = request.method != "HEAD"
        return from_error(error, status, self._clock.now(), said, has_body=has_body)

    def _passed_on(self, reply: Reply, said: CacheStatus) -> Answer:
        head = marked(dated(reply.head, reply.received_at), said)
        return self._sent(Answer(head, Passing(reply), said.forwarded or "own"))

    def _sent(self, answer: Answer) -> Answer:
        """Return ``answer`` with us on its way."""
        head = answer.head
        return replace(answer, head=head.with_fields(with_via(head.fields)))


_SENT_AT_ONCE = frozenset({Reuse.FRESH, Reuse.STALE, Reuse.BEHIND})


async def _ignore(_head: ResponseHead) -> None:
    """Take a 1xx that is for nobody."""


def _one_hop_less(head: RequestHead) -> RequestHead:
    """Return ``head`` with one fewer to go: RFC 9110, section 7.6.2."""
    value = head.fields.only("max-forwards")
    if head.method not in {"OPTIONS", "TRACE"} or value is None or not value.isdecimal():
        return head
    hops = min(int(value[:9]), 10**9) - 1
    return replace(head, fields=head.fields.replaced("Max-Forwards", str(hops)))
