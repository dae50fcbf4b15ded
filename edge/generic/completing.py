"""Parts of a response completed by a request for what is missing: RFC 9111, section 3.4."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edge.generic.content import Spans, Whole
from edge.generic.errors import UpstreamBroken
from edge.generic.store import Entry, is_same_representation
from edge.generic.streams import Source
from kit.http_semantics.conditions import CONDITIONS, strong_validator
from kit.http_semantics.fields import Fields
from kit.http_semantics.messages import RequestHead, ResponseHead
from kit.http_semantics.ranges import parse_content_range
from kit.http_semantics.stored import stored_as


@dataclass(frozen=True, slots=True)
class Gap:
    """The one span ``[start, end)`` that is missing of a response, and what it is missing of."""

    entry: Entry
    validator: str
    start: int
    end: int
    size_of_all: int

    def request(self, request: RequestHead) -> RequestHead:
        """Return ``request`` for the gap alone, or all if it is of something else by now."""
        fields = request.fields.plus(
            ("Range", f"bytes={self.start}-{self.end - 1}"), ("If-Range", self.validator)
        )
        return RequestHead(request.method, request.target, fields)

    def completed(self, request: RequestHead, source: Source) -> Completed | None:
        """Return the whole response, None if ``source`` is not what is missing of it."""
        lies = parse_content_range(source.head.fields.only("content-range") or "")
        came = stored_as(
            request, source.head, asked_at=source.asked_at, received_at=source.received_at
        )
        if (
            source.head.status != 206
            or lies is None
            or (lies.start, lies.end) != (self.start, self.end)
            or lies.size not in {None, self.size_of_all}
            or not is_same_representation(self.entry.stored, came)
        ):
            return None
        return Completed(self, source)


def gap_of(entry: Entry, request: RequestHead, now: float) -> Gap | None:
    """Return what is missing of ``entry`` for a plain GET, None if no one request can bring it.

    Without a strong validator nobody knows what the parts are parts of.
    """
    spans, validator = entry.content, strong_validator(entry.stored.head.fields, now)
    is_for_all = request.method == "GET" and not any(map(request.fields.__contains__, _OF_PARTS))
    if not isinstance(spans, Spans) or spans.size_of_all is None or not is_for_all:
        return None
    if validator is None:
        return None
    gaps = list(_gaps(spans, spans.size_of_all))
    if len(gaps) != 1:
        return None
    return Gap(entry, validator, *gaps[0], spans.size_of_all)


_OF_PARTS = ("range", "if-range", *CONDITIONS)


def _gaps(spans: Spans, size_of_all: int) -> Iterator[tuple[int, int]]:
    at = 0
    for start, part in spans.spans:
        if at < start:
            yield at, start
        at = start + part.size
    if at < size_of_all:
        yield at, size_of_all


class Completed:
    """A response of which parts were here, and the rest is on its way."""

    upstream_status = 206

    def __init__(self, gap: Gap, rest: Source) -> None:
        self.asked_at = rest.asked_at
        self.received_at = rest.received_at
        self.content_length = gap.size_of_all
        self.head = ResponseHead(200, "OK", _fields(gap, rest.head.fields))
        self._rest = rest
        self._left = gap.end - gap.start
        spans = gap.entry.content
        assert isinstance(spans, Spans)
        self._before = _pieces(part for start, part in spans.spans if start < gap.start)
        self._after = _pieces(part for start, part in spans.spans if start >= gap.end)

    async def read(self) -> bytes:
        """Return the next piece, nothing at the end.

        Raises:
            UpstreamBroken: The rest is not as long as it said.
            UpstreamSlow: Nothing came for too long.
        """
        piece = next(self._before, b"")
        if not piece and (piece := await self._rest.read()):
            self._left -= len(piece)
        if self._left < 0 or (not piece and self._left):
            raise UpstreamBroken("a range is not as long as it says")
        return piece or next(self._after, b"")

    async def close(self) -> None:
        """Want no more of it."""
        await self._rest.close()


def _pieces(parts: Iterator[Whole]) -> Iterator[bytes]:
    return (piece for part in parts for piece in part.pieces)


def _fields(gap: Gap, came: Fields) -> Fields:
    """Return the fields of both, the later ones counting: section 3.2."""
    came = came.without({"content-range", "content-length"})
    names = {name.lower() for name, _ in came} | {"content-range", "content-length", "age"}
    kept = gap.entry.stored.head.fields.without(names)
    return Fields((*kept, *came, ("Content-Length", str(gap.size_of_all))))
