"""A stored response, and which ones a shared cache may store: RFC 9111, section 3."""

from __future__ import annotations

from dataclasses import dataclass

from kit.http_semantics.dates import format_date
from kit.http_semantics.directives import (
    Directives,
    request_directives,
    response_directives,
)
from kit.http_semantics.freshness import Lifetime, date_of, initial_age, lifetime
from kit.http_semantics.messages import (
    RequestHead,
    ResponseHead,
    end_to_end,
    storable_fields,
)
from kit.http_semantics.ranges import parse_content_range
from kit.http_semantics.statuses import HEURISTICALLY_CACHEABLE, UNDERSTOOD
from kit.http_semantics.vary import Varied, varied, varies_beyond_request


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """The head of a stored response, and all that is asked of it at every reuse.

    Times are seconds since the Unix epoch.
    """

    head: ResponseHead
    directives: Directives
    varied: Varied
    lifetime: Lifetime
    date: int
    initial_age_s: float
    received_at: float

    def age_s(self, now: float) -> float:
        """Return how old it is: RFC 9111, section 4.2.3."""
        return self.initial_age_s + max(0.0, now - self.received_at)

    def ttl_s(self, now: float) -> float:
        """Return how long it is fresh from now on; negative once it is stale."""
        return self.lifetime.seconds - self.age_s(now)

    def whole_ttl_s(self, now: float) -> int:
        """Return how long it is fresh, in whole seconds, as ``Age`` counts them."""
        return int(self.lifetime.seconds) - int(self.age_s(now))

    @property
    def etag(self) -> str | None:
        """Its entity tag."""
        return self.head.fields.only("etag")

    @property
    def last_modified(self) -> str | None:
        """Its ``Last-Modified``."""
        return self.head.fields.only("last-modified")


def dated(head: ResponseHead, received_at: float) -> ResponseHead:
    """Return ``head`` as it is passed on: end-to-end fields, and a ``Date`` if it had none.

    Source: RFC 9110, sections 6.6.1 and 7.6.1. A ``Date`` that is there is not touched.
    """
    fields = end_to_end(head.fields)
    if "date" not in fields:
        fields = fields.plus(("Date", format_date(received_at)))
    return head.with_fields(fields)


def to_store(
    request: RequestHead, head: ResponseHead, *, asked_at: float, received_at: float
) -> StoredResponse | None:
    """Return ``head`` as it may be stored, None if it may not, or never could be used."""
    stored = stored_as(request, head, asked_at=asked_at, received_at=received_at)
    return stored if may_store(request, head, stored) and _is_of_use(stored) else None


def stored_as(
    request: RequestHead, head: ResponseHead, *, asked_at: float, received_at: float
) -> StoredResponse:
    """Return ``head`` as it is stored, whether or not it may be."""
    directives, is_targeted = response_directives(head.fields)
    fields = storable_fields(dated(head, received_at).fields)
    if directives.has("private"):
        # Only what it does not name is for a shared cache: section 5.2.2.7.
        fields = fields.without(directives.fields_of("private"))
    return StoredResponse(
        head=head.with_fields(fields),
        directives=directives,
        varied=varied(head.fields, request.fields),
        lifetime=lifetime(
            head.status, head.fields, directives, is_targeted=is_targeted, received_at=received_at
        ),
        date=date_of(head.fields, received_at),
        initial_age_s=initial_age(head.fields, asked_at=asked_at, received_at=received_at),
        received_at=received_at,
    )


def may_store(request: RequestHead, head: ResponseHead, stored: StoredResponse) -> bool:
    """Tell whether a shared cache may store a response: RFC 9111, section 3, point by point."""
    directives = stored.directives
    return (
        request.method == "GET"  # the one whose responses we know how to reuse
        and _is_understood(head, directives)
        and not _is_forbidden(head.status, directives)
        and not request_directives(request.fields).has("no-store")
        and not directives.has_unqualified("private")
        and ("authorization" not in request.fields or _is_for_all(directives))
        and not varies_beyond_request(head.fields)  # stored, it would match no request (4.1)
        and (
            directives.has("public")
            or stored.lifetime.is_explicit
            or head.status in HEURISTICALLY_CACHEABLE
        )
    )


def _is_understood(head: ResponseHead, directives: Directives) -> bool:
    """Tell whether we know what it takes to store a response of this final status code.

    304 updates what is stored (4.3.4), 416 is about the range that was asked for, and a 206 is of
    use only if it is one span of bytes (3.3).
    """
    if head.status < 200 or head.status in {304, 416}:
        return False
    if head.status == 206:
        value = head.fields.only("content-range")
        return value is not None and parse_content_range(value) is not None
    return not directives.has("must-understand") or head.status in UNDERSTOOD


def _is_forbidden(status: int, directives: Directives) -> bool:
    """Tell whether ``no-store`` counts: not beside a ``must-understand`` that is met (5.2.2.3)."""
    if not directives.has("no-store"):
        return False
    return not (directives.has("must-understand") and status in UNDERSTOOD)


def _is_for_all(directives: Directives) -> bool:
    """Tell whether a response to somebody authorized may be sent to others: section 3.5."""
    return any(map(directives.has, ("public", "s-maxage", "must-revalidate")))


def _is_of_use(stored: StoredResponse) -> bool:
    """Tell whether it could ever be reused: it was fresh by somebody's word, or can be validated.

    What was fresh no longer than it took to arrive may still be asked for stale: max-stale.
    """
    if stored.etag is not None or stored.last_modified is not None:
        return True
    if stored.directives.has_unqualified("no-cache"):
        return False
    return stored.lifetime.seconds > 0 or stored.lifetime.is_explicit
