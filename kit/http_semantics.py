"""What conditional and range headers ask for: RFC 9110, sections 13 and 14, without any I/O.

Only what immutable or small objects with one strong entity tag need: ``If-None-Match``,
``If-Range`` with a tag, and a ``Range`` of one span of bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

# No object has a size of 30 digits; more would only feed int().
_SPAN = re.compile(r"bytes=([0-9]{0,30})-([0-9]{0,30})", re.IGNORECASE)
_TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


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
    match = _SPAN.fullmatch(range_.strip()) if range_ is not None else None
    if match is None or (if_range is not None and if_range.strip() != etag):
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


def is_known_to_client(if_none_match: str | None, etag: str) -> bool:
    """Tell whether the client already has the object with ``etag``: 304.

    Compares weakly, as section 13.1.2 demands: ``W/"a"`` matches ``"a"``.
    """
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or etag in _TAG.findall(if_none_match)


def content_range(start: int, end: int, size: int) -> str:
    """Return the ``Content-Range`` of ``[start, end)``, which is not empty."""
    return f"bytes {start}-{end - 1}/{size}"
