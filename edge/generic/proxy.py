"""The cache itself: answers from what is stored, passes on the rest.

Source: RFC 9111, section 4, whose order it follows.
"""

from __future__ import annotations

from dataclasses import replace

from edge.generic.answer import Answer, own
from edge.generic.answering import Answering
from edge.generic.fetching import SENT_AT_ONCE, Fetching
from edge.generic.incoming import Incoming
from edge.generic.keeping import Keeping
from edge.generic.lookup import Lookup, is_for_cache, key_of, look_up
from edge.generic.settings import GenericSettings
from edge.generic.store import ResponseStore
from edge.generic.upstream import Upstream
from kit.clock import Clock
from kit.errors import Unavailable
from kit.http_semantics.cache_status import Forwarded
from kit.http_semantics.fields import Fields
from kit.http_semantics.invalidation import invalidated
from kit.http_semantics.messages import RequestHead, ResponseHead
from kit.http_semantics.reuse import Reuse
from kit.http_semantics.statuses import SERVER_FAILED
from kit.http_semantics.stored import dated


class Proxy:
    """A shared cache in front of one upstream. Belongs to one event loop."""

    def __init__(
        self, settings: GenericSettings, upstream: Upstream, store: ResponseStore, clock: Clock
    ) -> None:
        self._upstream = upstream
        self._store = store
        self._clock = clock
        self._scheme = "https" if upstream.place.is_tls else "http"
        self._answering = Answering(settings, clock)
        self._fetching = Fetching(settings, upstream, store, self._answering, clock)
        self._keeping = Keeping(store, self._fetching.flights)

    def at_once(self, incoming: Incoming) -> Answer | Lookup | None:
        """Return the answer to a request that needs nobody else.

        Else what was found out about it, None for one that is not for a cache.
        """
        head = incoming.head
        refusal = self._refusal(head)
        if refusal is not None:
            return refusal
        if not is_for_cache(head, has_body=incoming.body is not None):
            return None
        key = key_of(self._scheme, incoming.host, head.target)
        now = self._clock.now()
        found = look_up(self._store, key, head, now)
        if found.usable is not None and found.verdict in SENT_AT_ONCE:
            if found.verdict is Reuse.BEHIND:
                self._fetching.refresh_behind(found, incoming)
            return self._answering.hit(found.usable, head, now)
        if found.wants.has("only-if-cached"):
            return self._answering.only_if_cached(head, now)
        return found

    async def answer(self, found: Lookup | None, incoming: Incoming) -> Answer:
        """Return the answer to a request that ``at_once`` has none for.

        Whatever fails upstream is an answer too.

        Raises:
            ClientLeft: There is nobody to answer.
        """
        if found is None:
            return await self._forward(incoming)
        if incoming.head.method == "HEAD":
            return await self._head(found, incoming)
        return await self._fetching.get(found, incoming)

    async def close(self) -> None:
        """End what goes on behind clients' backs."""
        await self._fetching.close()
        self._upstream.close()

    async def _forward(self, incoming: Incoming) -> Answer:
        """Pass a request on, and forget what it makes outdated: RFC 9111, section 4.4."""
        head = incoming.head
        why: Forwarded = "bypass" if head.method in {"GET", "HEAD"} else "method"
        try:
            reply = await self._upstream.send(_one_hop_less(head), incoming.body, incoming.interim)
        except Unavailable as error:
            return self._answering.failed(error, head)
        origin = f"{self._scheme}://{incoming.host}"
        for target in invalidated(head, reply.head, origin):
            self._keeping.invalidate(key_of(self._scheme, incoming.host, target))
        return self._answering.passed_on(reply, why, is_collapsed=None)

    async def _head(self, found: Lookup, incoming: Incoming) -> Answer:
        """Pass a HEAD on; what it says of stored responses updates them: RFC 9111, 4.3.5."""
        request = found.request
        try:
            reply = await self._upstream.send(request, None, incoming.interim)
        except Unavailable as error:
            had_stored = found.match is not None
            return self._answering.instead(found, error) or self._answering.failed(
                error, request, had_stored=had_stored
            )
        if reply.head.status in SERVER_FAILED and (stale := self._answering.instead(found, reply)):
            await reply.close()
            return stale
        self._keeping.note_head(found.key, request, reply)
        return self._answering.passed_on(reply, found.why, is_collapsed=None)

    def _refusal(self, head: RequestHead) -> Answer | None:
        """Answer what is for us and not for the upstream: RFC 9110, sections 7.6.2 and 9.3.6."""
        if head.method not in {"CONNECT", "OPTIONS", "TRACE"}:
            return None
        now = self._clock.now()
        if head.method == "CONNECT":
            text: dict[str, object] = {"code": "not-implemented", "status": 501}
            return own(501, text | {"detail": "no tunnels here"}, now, has_body=True)
        if head.fields.get("max-forwards") != "0":
            return None
        if head.method == "OPTIONS":
            fields = Fields((("Content-Length", "0"),))
            return Answer(dated(ResponseHead(200, "OK", fields), now), None, "own")
        text = {"code": "method-not-allowed", "status": 405}
        return own(405, text | {"detail": "not traced"}, now, has_body=True)


def _one_hop_less(head: RequestHead) -> RequestHead:
    """Return ``head`` with one fewer to go: RFC 9110, section 7.6.2."""
    value = head.fields.only("max-forwards")
    if head.method not in {"OPTIONS", "TRACE"} or value is None or not value.isdecimal():
        return head
    hops = min(int(value[:9]), 10**9) - 1
    return replace(head, fields=head.fields.replaced("Max-Forwards", str(hops)))
