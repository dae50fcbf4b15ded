"""Answers content that is in memory at once: the same answers as :mod:`edge.routes`, sooner.

What it leaves to aiohttp, by saying None: what is no content, what is not at hand, whom the guard
does not let in, and spans outside of an object. So all that can go wrong is said in one place.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from email.utils import formatdate
from typing import Generic, TypeVar

from chunks.chunk_id import Digest
from edge.at_hand import AtHand, Sized
from edge.cache_status import CACHE_NAME
from edge.fill import Blobs, Landed
from edge.metrics import EdgeMetrics, Tier
from edge.targets import Target, Targets
from kit import trace
from kit.buffers import BYTES, Buffer
from kit.clock import Clock
from kit.errors import Denied
from kit.http_head import Head
from kit.http_semantics import (
    Full,
    Partial,
    Unsatisfiable,
    content_range,
    is_known_to_client,
    wanted,
)
from kit.http_server import SERVER
from kit.lane import Answer, Piece, Rest
from manifests.lease import HEADER
from manifests.lease_gate import Guard

L = TypeVar("L", bound=Sized)

PIECE_SIZE = 256 << 10
"""Read and handed to the socket at a time: what was just read is still in the processor's cache."""

PLANS_MAX = 16_384
"""Paths and spans remembered with the head of their answer, some 1 KB each: many consoles ask for
the same of a new build."""

_LEASE = HEADER.lower().encode()
_CONDITIONS = (b"if-none-match", b"if-range")
_HIT = f"Cache-Status: {CACHE_NAME}; hit; detail={Tier.MEMORY.value}\r\n".encode()


@dataclass(frozen=True, slots=True)
class Plan:
    """An answer but for what differs from request to request: who, when, and in which trace."""

    target: Target
    status: int
    said: bytes
    """Status line and headers, as far as they are known beforehand."""
    start: int = 0
    end: int = 0
    """What of the target is the body."""
    index: int = 0
    """Of the first blob."""
    names: tuple[Digest, ...] = ()
    """Of all blobs that are needed."""


class FastLane(Generic[L]):
    """A :class:`kit.lane.Lane` of an edge. Belongs to one event loop."""

    def __init__(
        self,
        at_hand: AtHand[L],
        blobs: Blobs,
        guard: Guard,
        clock: Clock,
        metrics: EdgeMetrics,
    ) -> None:
        self._at_hand = at_hand
        self._targets = Targets(at_hand)
        self._plans: dict[tuple[bytes, bytes | None], Plan] = {}
        self._blobs = blobs
        self._guard = guard
        self._clock = clock
        self._served = metrics.served
        self._served_bytes = metrics.served_bytes
        self._dated_s = 0
        self._signed = b""

    def answer(self, head: Head, *, by_file: bool) -> Answer | None:
        """Return the answer to ``head`` if all it needs is at hand."""
        headers = head.headers
        key = head.target, headers.get(b"range")
        is_plain = not (head.is_head or _CONDITIONS[0] in headers or _CONDITIONS[1] in headers)
        plan = self._plans.get(key) if is_plain else None
        if plan is None:
            plan = self._plan(head)
            if plan is None:
                return None
            if is_plain:
                self._remember(key, plan)
        token = headers.get(_LEASE)
        try:
            self._guard.check(None if token is None else token.decode("ascii"), plan.target.title)
        except Denied:
            return None
        if not plan.names:
            return Answer(plan.status, self._signed_head(plan, headers))
        body = self._body(plan, by_file=by_file)
        if body is None:
            return None
        first, rest = body
        return Answer(plan.status, self._signed_head(plan, headers), first, rest)

    def _remember(self, key: tuple[bytes, bytes | None], plan: Plan) -> None:
        self._plans[key] = plan
        if len(self._plans) > PLANS_MAX:
            del self._plans[next(iter(self._plans))]

    def _plan(self, head: Head) -> Plan | None:
        """Return what to answer if the lease is good; None if that is for the other lane."""
        target, headers = self._targets.find(head.target), head.headers
        if target is None:
            return None
        if is_known_to_client(_text(headers, b"if-none-match"), target.etag):
            return Plan(target, 304, b"HTTP/1.1 304 Not Modified\r\n" + target.kept)
        told = target.kept + target.described
        if head.is_head:
            said = b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n" % (told, target.size)
            return Plan(target, 200, said)
        start, end, line = 0, target.size, b"HTTP/1.1 200 OK\r\n"
        status = 200
        span, if_range = _text(headers, b"range"), _text(headers, b"if-range")
        match wanted(span, if_range, target.etag, target.size):
            case Partial(start, end):
                status, line = 206, b"HTTP/1.1 206 Partial Content\r\n"
                told += f"Content-Range: {content_range(start, end, target.size)}\r\n".encode()
            case Unsatisfiable():
                return None
            case Full():
                pass
        said = b"%b%bContent-Length: %d\r\n" % (line, told, end - start)
        index, index_end = start // target.blob_size, (end - 1) // target.blob_size + 1
        return Plan(target, status, said, start, end, index, target.names[index:index_end])

    def _body(self, plan: Plan, *, by_file: bool) -> tuple[Piece, Rest | None] | None:
        """Return the first piece and what comes after it; None if a blob is not cached."""
        places: list[L] = []
        for name in plan.names:
            at = self._at_hand.locate(name)
            if at is None:
                return None
            places.append(at)
        blob_size = plan.target.blob_size
        base = plan.index * blob_size
        start, end = plan.start - base, min(blob_size, plan.end - base)
        first = self.piece_now(places[0], start, end, by_file=by_file)
        if first is None:
            return None
        sent_to = plan.start + _size(first)
        if sent_to == plan.end:
            return first, None
        return first, _Rest(self, plan, places, sent_to, by_file=by_file)

    def _signed_head(self, plan: Plan, headers: dict[bytes, bytes]) -> bytes:
        now_s = int(self._clock.now())
        if now_s != self._dated_s:
            self._dated_s = now_s
            date = formatdate(now_s, usegmt=True)
            self._signed = _HIT + f"Server: {SERVER}\r\nDate: {date}\r\ntraceparent: ".encode()
        parent = headers.get(b"traceparent")
        here = trace.answer_header(None if parent is None else parent.decode("ascii"))
        return b"%b%b%b\r\n\r\n" % (plan.said, self._signed, here.encode())

    def piece_now(self, at: L, start: int, end: int, *, by_file: bool) -> Piece | None:
        """Return bytes of a blob if they are in memory, counted as served."""
        piece: Piece | None = self._at_hand.span_now(at, start, end) if by_file else None
        if piece is None:
            piece = self._at_hand.read_now(at, start, min(end, start + PIECE_SIZE))
            if piece is None:
                return None
            end = start + len(piece)
        self.count(Tier.MEMORY, end - start, is_first=start == 0)
        return piece

    def count(self, tier: Tier, size: int, *, is_first: bool) -> None:
        """Count bytes of a blob as served."""
        self._served_bytes[tier].inc(size)
        if is_first:
            self._served[tier].inc()

    async def bring(self, target: Target, index: int, last: int) -> AsyncGenerator[Landed, None]:
        """Yield the blobs of ``target`` from ``index`` to ``last``, wherever they are."""
        blobs = [target.blob(i) for i in range(index, last + 1)]
        async with aclosing(self._blobs.in_order(blobs)) as arriving:
            async for flight in arriving:
                yield await flight.landed()


class _Rest(Generic[L]):
    """The body of a plan from ``at`` on, piece by piece."""

    def __init__(
        self, lane: FastLane[L], plan: Plan, places: list[L], at: int, *, by_file: bool
    ) -> None:
        self._lane = lane
        self._target = plan.target
        self._places = places
        self._by_file = by_file
        self._first_index = plan.index
        self._blob_size = plan.target.blob_size
        self._arriving: AsyncGenerator[Landed, None] | None = None
        self._at = at
        self._end = plan.end

    def now(self) -> Piece | None:
        if self._at == self._end:
            return b""
        if self._arriving is not None:
            return None  # what is on its way is sent in its order
        index, start = divmod(self._at, self._blob_size)
        end = min(self._blob_size, self._end - index * self._blob_size)
        place = self._places[index - self._first_index]
        piece = self._lane.piece_now(place, start, end, by_file=self._by_file)
        if piece is not None:
            self._at += _size(piece)
        return piece

    async def later(self) -> Buffer:
        index, start = divmod(self._at, self._blob_size)
        if self._arriving is None:
            last = (self._end - 1) // self._blob_size
            self._arriving = self._lane.bring(self._target, index, last)
        landed = await anext(self._arriving)
        end = min(self._blob_size, self._end - index * self._blob_size)
        self._lane.count(landed.tier, end - start, is_first=start == 0)
        self._at += end - start
        return memoryview(landed.content)[start:end]


def _size(piece: Piece) -> int:
    return len(piece) if isinstance(piece, BYTES) else piece.end - piece.offset


def _text(headers: dict[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("ascii")
