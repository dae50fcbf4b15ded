"""How long a server asks not to be asked again: RFC 9110, section 10.2.3."""

from __future__ import annotations

import re

from kit.http_semantics.dates import parse_date

_SECONDS = re.compile(r"[0-9]{1,9}")


def retry_after_s(value: str | None, date: str | None, now: float) -> float:
    """Return how many seconds ``Retry-After`` asks to wait; 0 if it does not, or makes no sense.

    Args:
        value: The field: seconds, or a date.
        date: The field ``Date`` of the same answer. Two words of one clock tell a span; ours may
            be wrong.
        now: Seconds since the Unix epoch, for an answer without a date.
    """
    text = (value or "").strip(" \t")
    if _SECONDS.fullmatch(text):
        return float(text)
    until = parse_date(text, now)
    if until is None:
        return 0.0
    said = parse_date(date or "", now)
    return max(0.0, until - (now if said is None else said))
