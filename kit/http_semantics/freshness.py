"""For how long a response is fresh, and how old it is: RFC 9111, section 4.2."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kit.http_semantics.dates import parse_date
from kit.http_semantics.directives import SECONDS_MAX, Directives
from kit.http_semantics.fields import Fields, split_list
from kit.http_semantics.statuses import HEURISTICALLY_CACHEABLE

HEURISTIC_SHARE = 0.1
"""Of the time since the last change, where nothing else is said: RFC 9111, section 4.2.2."""
HEURISTIC_MAX_S = 24 * 3600.0
"""Longer is not guessed: section 4.2.2 wants users told of older ones, which nobody can be."""

_DIGITS = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class Lifetime:
    """For how many seconds a response is fresh, and whether somebody said so."""

    seconds: float
    is_explicit: bool


def lifetime(
    status: int, fields: Fields, directives: Directives, *, is_targeted: bool, received_at: float
) -> Lifetime:
    """Return the freshness lifetime for a shared cache: section 4.2.1.

    Args:
        status: Decides whether it may be guessed.
        fields: Of the response.
        directives: Those that count for us.
        is_targeted: Whether they are from a targeted field, beside which ``Expires`` counts not.
        received_at: Seconds since the Unix epoch; stands for a missing or invalid ``Date``.
    """
    for name in ("s-maxage", "max-age"):
        seconds = directives.seconds(name)
        if seconds is not None:
            return Lifetime(seconds, is_explicit=True)
    if not is_targeted and "expires" in fields:
        date = date_of(fields, received_at)
        expires = fields.only("expires")  # two of them are invalid, hence in the past (5.3)
        moment = parse_date(expires, received_at) if expires is not None else None
        return Lifetime(0 if moment is None else max(0.0, moment - date), is_explicit=True)
    return Lifetime(_guessed(status, fields, directives, received_at), is_explicit=False)


def date_of(fields: Fields, received_at: float) -> int:
    """Return the ``Date`` of a response, or when it came: RFC 9110, section 6.6.1."""
    value = fields.only("date")
    moment = parse_date(value, received_at) if value is not None else None
    return int(received_at) if moment is None else moment


def initial_age(fields: Fields, *, asked_at: float, received_at: float) -> float:
    """Return how old a response was, in seconds, when it was received: section 4.2.3.

    A ``Date`` has whole seconds, so what is compared with it has: or a response of this second
    would count as up to one second old.
    """
    apparent_age = max(0, int(received_at) - date_of(fields, received_at))
    corrected_age = age_value(fields) + max(0.0, received_at - asked_at)
    return min(max(float(apparent_age), corrected_age), float(SECONDS_MAX))


def age_value(fields: Fields) -> int:
    """Return what ``Age`` says: section 5.1. The first of a list counts; an invalid one is 0."""
    members = split_list(fields.get("age") or "")
    if not members or not _DIGITS.fullmatch(members[0]):
        return 0
    text = members[0].lstrip("0")
    return SECONDS_MAX if len(text) > 10 else min(int(text or "0"), SECONDS_MAX)


def _guessed(status: int, fields: Fields, directives: Directives, received_at: float) -> float:
    """Return a heuristic lifetime in seconds: section 4.2.2."""
    if status not in HEURISTICALLY_CACHEABLE and not directives.has("public"):
        return 0.0
    value = fields.only("last-modified")
    changed_at = parse_date(value, received_at) if value is not None else None
    if changed_at is None:
        return 0.0
    unchanged_s = date_of(fields, received_at) - changed_at
    return min(max(0.0, unchanged_s * HEURISTIC_SHARE), HEURISTIC_MAX_S)
