"""Whether a stored response may be sent for a request: RFC 9111, sections 4 and 5.2.1; RFC 5861."""

from __future__ import annotations

from enum import Enum

from kit.http_semantics.directives import Directives
from kit.http_semantics.fields import Fields
from kit.http_semantics.stored import StoredResponse


class Reuse(Enum):
    """What to do with a stored response that matches a request."""

    FRESH = "fresh"
    """Send it."""
    STALE = "stale"
    """Send it: the client said that it takes it."""
    BEHIND = "behind"
    """Send it, and validate it behind the client's back."""
    VALIDATE = "validate"
    """Validate it first, for it is stale or must always be."""
    ASKED = "asked"
    """Validate it first, for the client wants it so."""


def reuse(stored: StoredResponse, wants: Directives, now: float) -> Reuse:
    """Decide about ``stored`` for a request with the directives ``wants``."""
    age_s, ttl_s = stored.age_s(now), stored.ttl_s(now)
    if _wants_newer(wants, age_s, ttl_s):
        return Reuse.ASKED
    if stored.directives.has_unqualified("no-cache"):
        return Reuse.VALIDATE
    if ttl_s > 0:
        return Reuse.FRESH
    return _stale(stored, wants, -ttl_s)


def _wants_newer(wants: Directives, age_s: float, ttl_s: float) -> bool:
    """Tell whether the client refuses what others would be sent: RFC 9111, section 5.2.1."""
    age_max_s, ttl_min_s = wants.seconds("max-age"), wants.seconds("min-fresh")
    return (
        wants.has("no-cache")
        or (age_max_s is not None and age_s > age_max_s)
        or (ttl_min_s is not None and 0 < ttl_s < ttl_min_s)
    )


def _stale(stored: StoredResponse, wants: Directives, staleness_s: float) -> Reuse:
    """Decide about what is stale: RFC 9111, section 4.2.4; RFC 5861, section 3."""
    if not _may_be_stale(stored.directives) or wants.has("min-fresh"):
        return Reuse.VALIDATE
    if wants.has("max-stale") and _within(staleness_s, wants, "max-stale", or_any=True):
        return Reuse.STALE
    if _within(staleness_s, stored.directives, "stale-while-revalidate"):
        return Reuse.BEHIND
    return Reuse.VALIDATE


def may_be_sent_on_error(
    stored: StoredResponse, wants: Directives, now: float, *, stale_max_s: float
) -> bool:
    """Tell whether ``stored`` may be sent since no good answer can be had: 4.2.4; RFC 5861, 4.

    Args:
        stored: Matches the request.
        wants: The directives of the request.
        now: Seconds since the Unix epoch.
        stale_max_s: How stale it may be where neither side says.
    """
    if wants.has("no-cache") or not _may_be_stale(stored.directives):
        return False
    staleness_s = max(0.0, -stored.ttl_s(now))
    for said in (stored.directives, wants):
        if said.has("stale-if-error"):
            return _within(staleness_s, said, "stale-if-error")
    return staleness_s <= stale_max_s


def sendable_fields(stored: StoredResponse) -> Fields:
    """Return what may be sent without validation: not what ``no-cache`` names: 5.2.2.4."""
    unsendable = stored.directives.fields_of("no-cache")
    fields = stored.head.fields
    return fields.without(unsendable) if unsendable else fields


def _may_be_stale(directives: Directives) -> bool:
    """Tell whether nothing forbids to send it stale: RFC 9111, section 4.2.4."""
    return not (
        directives.has("must-revalidate")
        or directives.has("proxy-revalidate")
        or directives.has("s-maxage")
        or directives.has_unqualified("no-cache")
    )


def _within(staleness_s: float, directives: Directives, name: str, *, or_any: bool = False) -> bool:
    if or_any and name in directives.arguments and directives.arguments[name] is None:
        return True
    seconds = directives.seconds(name)
    return seconds is not None and staleness_s <= seconds
