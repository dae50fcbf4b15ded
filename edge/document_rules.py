"""For how long a document is reused, and what an upstream's word makes of it: pure.

The rules are those of RFC 9111 and RFC 5861 (:mod:`kit.http_semantics`). What they go by is the
edge's own: its settings count here, as a targeted field would (RFC 9213), in place of what whoever
sent the document says of caching.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from kit.http_semantics.conditions import confirmed
from kit.http_semantics.directives import NONE, Directives, parse_directives
from kit.http_semantics.fields import Fields
from kit.http_semantics.freshness import Lifetime, initial_age
from kit.http_semantics.messages import ResponseHead
from kit.http_semantics.reuse import Reuse, may_be_sent_on_error, reuse
from kit.http_semantics.stored import StoredResponse


class Use(Enum):
    """What to do with a document that is here."""

    FRESH = "fresh"
    """Send it."""
    BEHIND = "behind"
    """Send it, and ask whether it is still right behind the client's back."""
    IF_FAILS = "if fails"
    """Ask first, and send it if nobody can tell."""
    NEVER = "never"
    """Ask first; it is too old to be sent."""


@dataclass(frozen=True, slots=True)
class Policy:
    """For how long a document is fresh, and then stale but of use, in seconds."""

    fresh_s: float
    revalidate_s: float
    """After that, it is sent while it is asked about: ``stale-while-revalidate``."""
    if_error_s: float
    """Or while nobody can be asked: ``stale-if-error``."""

    def use(self, etag: str, fetched_at: float, now: float) -> Use:
        """Decide about what was fresh at its source at ``fetched_at``; both since the epoch."""
        fresh = Lifetime(self.fresh_s, is_explicit=True)
        stored = _stored(etag, fetched_at, fresh, self._allowed())
        match reuse(stored, NONE, now):
            case Reuse.FRESH:
                return Use.FRESH
            case Reuse.BEHIND:
                return Use.BEHIND
            case _:
                may_be = may_be_sent_on_error(stored, NONE, now, stale_max_s=0)
                return Use.IF_FAILS if may_be else Use.NEVER

    def _allowed(self) -> Directives:
        allowed = [f"stale-if-error={math.ceil(self.if_error_s)}"]
        if self.revalidate_s > 0:
            allowed.append(f"stale-while-revalidate={math.ceil(self.revalidate_s)}")
        return parse_directives(allowed)


def fresh_at(headers: Mapping[str, str], *, asked_at: float, received_at: float) -> float:
    """Return when an answer was fresh at its source, in seconds since the Unix epoch.

    Its ``Age``, or what its ``Date`` shows of that, and the time it took to come: RFC 9111, 4.2.3.
    """
    fields = Fields(headers.items())
    return received_at - initial_age(fields, asked_at=asked_at, received_at=received_at)


def confirms(headers: Mapping[str, str], etag: str) -> bool:
    """Tell whether a 304 says that the document with ``etag`` is right: RFC 9111, section 4.3.4."""
    head = ResponseHead(304, "Not Modified", Fields(headers.items()))
    return bool(confirmed(head, [_stored(etag, 0.0, Lifetime(0.0, is_explicit=True), NONE)]))


def _stored(
    etag: str, fetched_at: float, fresh: Lifetime, directives: Directives
) -> StoredResponse:
    """Return a document as any stored response: its age is counted from ``fetched_at``."""
    return StoredResponse(
        head=ResponseHead(200, "OK", Fields((("ETag", etag),))),
        directives=directives,
        varied=(),
        lifetime=fresh,
        date=int(fetched_at),
        initial_age_s=0.0,
        received_at=fetched_at,
    )
