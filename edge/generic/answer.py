"""Answers made here: from what is stored, or of our own. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from edge.generic.content import Spans, Whole
from edge.generic.store import Entry
from edge.generic.streams import Stream
from kit.errors import PlayheadError
from kit.http_semantics.cache_status import CacheStatus, with_cache_status
from kit.http_semantics.conditions import (
    Precondition,
    if_range_holds,
    not_modified_fields,
    precondition,
)
from kit.http_semantics.dates import format_date
from kit.http_semantics.fields import Fields
from kit.http_semantics.messages import RequestHead, ResponseHead
from kit.http_semantics.ranges import (
    Full,
    Partial,
    Unsatisfiable,
    content_range,
    span_of,
)
from kit.http_semantics.reuse import sendable_fields

CACHE_NAME = "playhead"
RETRY_AFTER_S = 1

Body: TypeAlias = Iterator[bytes] | Stream | None


@dataclass(frozen=True, slots=True)
class Answer:
    """A response as it is sent. Its body is iterated to its end, or closed."""

    head: ResponseHead
    body: Body
    result: str
    """For the metrics: ``hit``, or why it was none."""


def covers(entry: Entry, request: RequestHead, now: float) -> bool:
    """Tell whether what is stored has what is asked for: RFC 9111, section 3.3."""
    match entry.content:
        case Whole():
            return True
        case Spans() as spans:
            range_ = request.fields.only("range")
            return (
                request.method == "GET"
                and range_ is not None
                and if_range_holds(request.fields.only("if-range"), entry.stored, now)
                and spans.wanted(range_) is not None
            )


def from_entry(
    entry: Entry, request: RequestHead, now: float, status: CacheStatus, *, is_validated: bool
) -> Answer:
    """Return the answer to a GET or HEAD by what is stored and covers it.

    Args:
        entry: What is stored.
        request: Its conditions and ranges are evaluated here.
        now: Seconds since the Unix epoch.
        status: What we say of it.
        is_validated: Whether the upstream has just confirmed it; else its ``Age`` is ours to say.
    """
    stored = entry.stored
    if is_validated:
        fields = stored.head.fields
    else:
        fields = sendable_fields(stored).without({"age"})
        fields = fields.plus(("Age", str(int(stored.age_s(now)))))
    head = ResponseHead(stored.head.status, stored.head.reason, fields)
    if precondition(request.fields, stored, now) is Precondition.NOT_MODIFIED:
        head = ResponseHead(304, "Not Modified", not_modified_fields(fields))
        return _marked(head, None, status)
    part = _part(entry, request, now)
    match part:
        case Full():
            assert isinstance(entry.content, Whole)
            pieces = iter(entry.content.pieces) if request.method != "HEAD" else None
            return _marked(_whole(head, entry.content.size), pieces, status)
        case Partial(start, end):
            size = _size_of_all(entry)
            fields = _lengths(fields, end - start).plus(
                ("Content-Range", content_range(start, end, size))
            )
            head = ResponseHead(206, "Partial Content", fields)
            return _marked(head, _cut(entry, start, end), status)
        case Unsatisfiable():
            fields = _lengths(fields, 0).without({"content-type", "content-encoding"})
            fields = fields.plus(("Content-Range", f"bytes */{_size_of_all(entry)}"))
            return _marked(ResponseHead(416, "Range Not Satisfiable", fields), None, status)


def from_error(error: PlayheadError, status: int, now: float, *, has_body: bool) -> Answer:
    """Return an answer of our own that says what went wrong."""
    text = {"type": f"urn:playhead:error:{error.code}", "code": error.code, "status": status}
    return own(status, text | {"detail": str(error)}, now, has_body=has_body)


def own(status: int, text: dict[str, object], now: float, *, has_body: bool) -> Answer:
    """Return an answer of our own: a problem document, stored by nobody.

    It says nothing of a cache, since none had a part in it: RFC 9211, section 2.
    """
    content = msgspec.json.encode(text)
    fields = Fields(
        (
            ("Date", format_date(now)),
            ("Content-Type", "application/problem+json"),
            ("Content-Length", str(len(content))),
            ("Cache-Control", "no-store"),
        )
    )
    if status == 503:
        fields = fields.plus(("Retry-After", str(RETRY_AFTER_S)))
    head = ResponseHead(status, _REASONS.get(status, ""), fields)
    body = iter((content,)) if has_body else None
    return Answer(head, body, "error")


def marked(head: ResponseHead, status: CacheStatus) -> ResponseHead:
    """Return ``head`` with what we say of it: RFC 9211."""
    return head.with_fields(with_cache_status(head.fields, status.member(CACHE_NAME)))


_REASONS = {
    400: "Bad Request",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
}


def _marked(head: ResponseHead, body: Body, status: CacheStatus) -> Answer:
    return Answer(marked(head, status), body, status.forwarded or "hit")


def _part(entry: Entry, request: RequestHead, now: float) -> Full | Partial | Unsatisfiable:
    """Return what of it is asked for: RFC 9110, sections 13.2.2 and 14.2."""
    range_ = request.fields.only("range")
    if request.method != "GET" or range_ is None or entry.stored.head.status not in {200, 206}:
        return Full()
    if isinstance(entry.content, Spans):
        return entry.content.wanted(range_) or Full()
    if not if_range_holds(request.fields.only("if-range"), entry.stored, now):
        return Full()
    return span_of(range_, entry.content.size)


def _whole(head: ResponseHead, size: int) -> ResponseHead:
    if head.status in {204, 304} or "content-length" in head.fields:
        return head
    return head.with_fields(head.fields.plus(("Content-Length", str(size))))


def _lengths(fields: Fields, size: int) -> Fields:
    return fields.without({"content-length", "content-range"}).plus(("Content-Length", str(size)))


def _size_of_all(entry: Entry) -> int:
    match entry.content:
        case Whole(size=size):
            return size
        case Spans(size_of_all=size_of_all):
            assert size_of_all is not None  # else no range of it is known to be covered
            return size_of_all


def _cut(entry: Entry, start: int, end: int) -> Iterator[bytes]:
    match entry.content:
        case Whole() as whole:
            return whole.cut(start, end)
        case Spans() as spans:
            found = spans.holding(start, end)
            assert found is not None
            begins, part = found
            return part.cut(start - begins, end - begins)
