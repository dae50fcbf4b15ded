"""The answers to clients, with what we say of each: from what is stored, or as it came."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

from edge.generic.answer import Answer, from_entry, from_error, marked, own
from edge.generic.fill import Fill
from edge.generic.lookup import Lookup
from edge.generic.settings import GenericSettings
from edge.generic.store import Entry
from edge.generic.streams import Passing, Source
from edge.generic.upstream import with_via
from kit.clock import Clock
from kit.errors import Unavailable
from kit.http_semantics.cache_status import CacheStatus, Forwarded
from kit.http_semantics.conditions import Precondition, not_modified_fields, precondition
from kit.http_semantics.messages import RequestHead, ResponseHead
from kit.http_semantics.reuse import may_be_sent_on_error
from kit.http_semantics.stored import dated
from kit.telemetry import get_logger

log = get_logger("edge.generic")

Failure: TypeAlias = Unavailable | Source
"""No answer, or one that says that the server failed."""


class Answering:
    """Puts answers together. Asks nobody."""

    def __init__(self, settings: GenericSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock

    def hit(self, entry: Entry, request: RequestHead, now: float) -> Answer:
        """Return the answer by what is stored, without anybody having been asked."""
        said = CacheStatus(ttl_s=entry.stored.whole_ttl_s(now), key=self._key(entry.key))
        return self._sent(from_entry(entry, request, now, said, is_validated=False))

    def collapsed(self, found: Lookup, entry: Entry, why: Forwarded, now: float) -> Answer:
        """Return the answer by what another's request has just brought."""
        said = CacheStatus(
            why,
            ttl_s=entry.stored.whole_ttl_s(now),
            is_collapsed=True,
            key=self._key(found.key),
        )
        answer = from_entry(entry, found.request, now, said, is_validated=False)
        return replace(self._sent(answer), result="collapsed")

    def joined(self, found: Lookup, fill: Fill, now: float) -> Answer:
        """Return the answer by what another's request is about to bring."""
        stored = fill.stored
        said = CacheStatus(
            found.why,
            fill.upstream_status,
            ttl_s=stored.whole_ttl_s(now),
            is_collapsed=True,
            key=self._key(found.key),
        )
        fields = stored.head.fields.without({"age"})
        fields = fields.plus(("Age", str(int(stored.age_s(now)))))
        if precondition(found.request.fields, stored, now) is Precondition.NOT_MODIFIED:
            head = ResponseHead(304, "Not Modified", not_modified_fields(fields))
            return self._sent(Answer(marked(head, said), None, "collapsed"))
        head = marked(stored.head.with_fields(fields), said)
        return self._sent(Answer(head, fill.join(), "collapsed"))

    def confirmed(self, found: Lookup, entry: Entry, now: float) -> Answer:
        """Return the answer by what the upstream has just said is right: RFC 9111, 4.3.3."""
        said = CacheStatus(
            found.why,
            304,
            is_stored=True,
            ttl_s=entry.stored.whole_ttl_s(now),
            is_collapsed=found.is_collapsed,
            key=self._key(found.key),
        )
        return self._sent(from_entry(entry, found.request, now, said, is_validated=True))

    def led(self, found: Lookup, fill: Fill, source: Source, *, is_ours: bool) -> Answer:
        """Return the answer by what is being stored, for the client that asked for it.

        Args:
            found: What was asked for.
            fill: Reads ``source``.
            source: The response.
            is_ours: Whether the conditions that were asked were ours, so that the client's are
                still to be evaluated.
        """
        stored, now = fill.stored, source.received_at
        said = CacheStatus(
            found.why,
            source.upstream_status,
            is_stored=True,
            ttl_s=stored.whole_ttl_s(now),
            is_collapsed=found.is_collapsed,
            key=self._key(found.key),
        )
        head = dated(source.head, now)
        is_known = precondition(found.request.fields, stored, now) is Precondition.NOT_MODIFIED
        if is_ours and is_known:
            fill.leave()
            head = ResponseHead(304, "Not Modified", not_modified_fields(head.fields))
            return self._sent(Answer(marked(head, said), None, found.why))
        return self._sent(Answer(marked(head, said), fill.lead(), found.why))

    def instead(
        self, found: Lookup, failure: Failure, *, is_collapsed: bool | None = None
    ) -> Answer | None:
        """Return what is stored instead of what could not be had, if that may be sent."""
        entry, now = found.usable, self._clock.now()
        if entry is None or not may_be_sent_on_error(
            entry.stored, found.wants, now, stale_max_s=self._settings.stale_on_error_for
        ):
            return None
        is_silent = isinstance(failure, Unavailable)
        said = CacheStatus(
            found.why,
            None if isinstance(failure, Unavailable) else failure.upstream_status,
            ttl_s=entry.stored.whole_ttl_s(now),
            is_collapsed=is_collapsed,
            detail="disconnected" if is_silent else "stale-if-error",
            key=self._key(found.key),
        )
        answer = from_entry(entry, found.request, now, said, is_validated=False)
        return replace(self._sent(answer), result="stale-on-error")

    def failed(
        self, error: Unavailable, request: RequestHead, *, had_stored: bool = False
    ) -> Answer:
        """Say that the upstream gave no answer: 504 where one is stored but must not be sent."""
        log.warning("upstream.failed", target=request.target, error=str(error))
        status = 504 if had_stored else error.status
        has_body = request.method != "HEAD"
        return from_error(error, status, self._clock.now(), has_body=has_body)

    def passed_on(self, source: Source, why: Forwarded, *, is_collapsed: bool | None) -> Answer:
        """Return what the upstream says, which is not stored."""
        said = CacheStatus(why, source.upstream_status, is_collapsed=is_collapsed)
        head = marked(dated(source.head, source.received_at), said)
        return self._sent(Answer(head, Passing(source), why))

    def only_if_cached(self, request: RequestHead, now: float) -> Answer:
        """Say that nothing usable is stored: RFC 9111, section 5.2.1.7."""
        text: dict[str, object] = {"code": "only-if-cached", "status": 504}
        detail = {"detail": "nothing usable is stored"}
        return own(504, text | detail, now, has_body=request.method != "HEAD")

    def _sent(self, answer: Answer) -> Answer:
        """Return ``answer`` with us on its way."""
        head = answer.head
        return replace(answer, head=head.with_fields(with_via(head.fields)))

    def _key(self, key: str) -> str | None:
        return key if self._settings.tell_key else None
