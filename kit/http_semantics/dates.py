"""Moments in fields: RFC 9110, section 5.6.7, as strict and as lenient as RFC 9111, 4.2, asks."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import formatdate

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAY = "(?:mon|tue|wed|thu|fri|sat|sun)"
_LONG_DAY = "(?:monday|tuesday|wednesday|thursday|friday|saturday|sunday)"
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
_TIME = "(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
# All are case-sensitive, but a cache compares without regard to case (RFC 9111, section 4.2).
_IMF = re.compile(f"{_DAY}, (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} gmt")
_RFC_850 = re.compile(f"{_LONG_DAY}, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} gmt")
_ASCTIME = re.compile(f"{_DAY} {_MONTH} (?P<day>[0-9]{{2}}| [0-9]) {_TIME} (?P<year>[0-9]{{4}})")
_FORMS = (_IMF, _RFC_850, _ASCTIME)
_LEAP_SECOND = 60


def parse_date(value: str, now: float) -> int | None:
    """Return the seconds since the Unix epoch that a date names, None if it is none.

    Args:
        value: In any of the three formats; a zone other than GMT is invalid.
        now: Decides the century of a year of two digits: not over 50 years ahead.
    """
    text = value.strip(" \t").lower()
    match = next((found for form in _FORMS if (found := form.fullmatch(text))), None)
    if match is None:
        return None
    year = int(match["year"])
    if len(match["year"]) == 2:
        year = _century(year, now)
    second = int(match["second"])
    try:
        moment = datetime(
            year,
            _MONTHS.index(match["month"]) + 1,
            int(match["day"]),
            int(match["hour"]),
            int(match["minute"]),
            min(second, _LEAP_SECOND - 1),
            tzinfo=UTC,
        )
    except ValueError:
        return None
    return int(moment.timestamp()) if second <= _LEAP_SECOND else None


def format_date(moment: float) -> str:
    """Return ``moment``, seconds since the Unix epoch, as an IMF-fixdate."""
    return formatdate(int(moment), usegmt=True)


def _century(year: int, now: float) -> int:
    this_year = datetime.fromtimestamp(now, UTC).year
    year += this_year - this_year % 100
    return year - 100 if year > this_year + 50 else year
