"""What range headers ask for: RFC 9110, section 14, without any I/O.

Several spans in one request are answered as one if they touch, and else by the whole object, as
section 14.2 allows: a body of many parts costs caches more than it saves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

# No object has a size of 30 digits; more would only feed int().
_SPAN = re.compile(r"([0-9]{0,30})-([0-9]{0,30})")
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.IGNORECASE)
SPANS_MAX = 32
"""More spans in one request are ignored: nobody needs them who means well (section 14.2)."""


@dataclass(frozen=True, slots=True)
class Full:
    """Send the whole object: 200."""


@dataclass(frozen=True, slots=True)
class Partial:
    """Send ``[start, end)``: 206."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """The span lies outside the object: 416."""


Wanted: TypeAlias = Full | Partial | Unsatisfiable


def wanted(range_: str | None, if_range: str | None, etag: str, size: int) -> Wanted:
    """Return which bytes of an object of ``size`` bytes a GET asks for.

    Args:
        range_: The ``Range`` header. Anything but one span of bytes is ignored, as section 14.2
            allows: answering several spans at once costs caches more than it saves.
        if_range: The ``If-Range`` header; unless it is exactly ``etag``, ``range_`` is ignored.
        etag: The strong entity tag, quotes included.
        size: In bytes.
    """
    if range_ is None or (if_range is not None and if_range.strip() != etag):
        return Full()
    return span_of(range_, size)


def span_of(range_: str, size: int) -> Wanted:
    """Return the one span of an object of ``size`` bytes that ``range_`` names: section 14.1.2."""
    unit, equals, spans = range_.partition("=")
    if not equals or unit.strip().lower() != "bytes" or spans.count(",") >= SPANS_MAX:
        return Full()
    wanted_spans = [_one_span(span.strip(), size) for span in spans.split(",") if span.strip()]
    if not wanted_spans or any(isinstance(span, Full) for span in wanted_spans):
        return Full()
    inside = sorted((s.start, s.end) for s in wanted_spans if isinstance(s, Partial))
    if not inside:
        return Unsatisfiable()
    start, end = inside[0]
    for next_start, next_end in inside[1:]:
        if next_start > end:
            return Full()  # they do not touch
        end = max(end, next_end)
    return Partial(start, end)


@dataclass(frozen=True, slots=True)
class ContentRange:
    """What a ``Content-Range`` says is enclosed: ``[start, end)`` of ``size`` bytes, if known."""

    start: int
    end: int
    size: int | None


def parse_content_range(value: str) -> ContentRange | None:
    """Read a ``Content-Range`` of section 14.4; None if it is invalid or of another unit."""
    match = _CONTENT_RANGE.fullmatch(value.strip())
    if match is None:
        return None
    start, end = int(match[1]), int(match[2]) + 1
    size = None if match[3] == "*" else int(match[3])
    return (
        None
        if end <= start or (size is not None and end > size)
        else ContentRange(start, end, size)
    )


def _one_span(span: str, size: int) -> Wanted:
    match = _SPAN.fullmatch(span)
    if match is None:
        return Full()
    first, last = match.groups()
    if not first:
        return _suffix(int(last), size) if last else Full()
    start = int(first)
    end = min(int(last) + 1, size) if last else size
    if last and int(last) < start:
        return Full()  # not a valid span, hence ignored (section 14.1.1)
    return Partial(start, end) if start < size else Unsatisfiable()


def _suffix(length: int, size: int) -> Wanted:
    return Partial(max(0, size - length), size) if length and size else Unsatisfiable()


def content_range(start: int, end: int, size: int) -> str:
    """Return the ``Content-Range`` of ``[start, end)``, which is not empty."""
    return f"bytes {start}-{end - 1}/{size}"
