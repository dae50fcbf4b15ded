"""Answers content that is in memory at once: the same answers as :mod:`edge.routes`, sooner.

What it leaves to aiohttp, by saying None: what is no content, what is not at hand, whom the guard
does not let in, and spans outside of an object. So all that can go wrong is said in one place.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Generic, TypeVar

from chunks.chunk_id import Digest
from edge.at_hand import AtHand, Sized
from edge.cache_status import CACHE_NAME
from edge.fill import Blobs, Landed
from edge.metrics import EdgeMetrics, FirstByte, Tier
from edge.targets import Target, Targets
from kit import trace
from kit.buffers import BYTES, Buffer, Scratch
from kit.clock import Clock
from kit.errors import Denied
from kit.http_head import END, Head
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
_IF_NONE_MATCH, _IF_RANGE = b"if-none-match", b"if-range"
_HIT = f"Cache-Status: {CACHE_NAME}; hit; detail={Tier.MEMORY.value}\r\n".encode()


@dataclass(frozen=True, slots=True)
class Plan(Generic[L]):
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
    places: list[L] = field(default_factory=list)
    """Where they were found, if they were; such a place becomes invalid, never another blob's."""


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
        self._plans: dict[tuple[bytes, bytes | None], Plan[L]] = {}
        self._scratch = Scratch(PIECE_SIZE)
        self._blobs = blobs
        self._guard = guard
        self._clock = clock
        self._served = metrics.served
        self._served_bytes = metrics.served_bytes
        self._served_from_memory = metrics.served[Tier.MEMORY]
        self._bytes_from_memory = metrics.served_bytes[Tier.MEMORY]
        self._first_byte = metrics.first_byte[FirstByte.MEMORY]
        self._dated_s = 0
        self._signed = b""

    def answer(self, head: Head, *, by_file: bool) -> Answer | None:
        """Return the answer to ``head`` if all it needs is at hand."""
        began, headers = time.perf_counter(), head.headers
        is_plain = not (head.is_head or _IF_NONE_MATCH in headers or _IF_RANGE in headers)
        key = head.target, head.span
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
        said = self._signed_head(plan, headers)
        self._first_byte.observe(time.perf_counter() - began)
        return Answer(plan.status, said, *body)

    def _remember(self, key: tuple[bytes, bytes | None], plan: Plan[L]) -> None:
        self._plans[key] = plan
        if len(self._plans) > PLANS_MAX:
            del self._plans[next(iter(self._plans))]

    def _plan(self, head: Head) -> Plan[L] | None:
        """Return what to answer if the lease is good; None if that is for the other lane."""
        target, headers = self._targets.find(head.target), head.headers
        if target is None:
            return None
        if is_known_to_client(_text(headers, _IF_NONE_MATCH), target.etag):
            return Plan(target, 304, b"HTTP/1.1 304 Not Modified\r\n" + target.kept)
        told = target.kept + target.described
        if head.is_head:
            said = b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n" % (told, target.size)
            return Plan(target, 200, said)
        start, end, line = 0, target.size, b"HTTP/1.1 200 OK\r\n"
        status = 200
        span = None if head.span is None else head.span.decode("ascii")
        if_range = _text(headers, _IF_RANGE)
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

    def _body(self, plan: Plan[L], *, by_file: bool) -> tuple[Piece, Rest | None] | None:
        """Return the first piece and what comes after it; None if a blob is not cached."""
        is_known = bool(plan.places)
        if not is_known and not self._locate(plan):
            return None
        blob_size = plan.target.blob_size
        base = plan.index * blob_size
        start, end = plan.start - base, min(blob_size, plan.end - base)
        first = self.piece_now(plan.places[0], start, end, by_file=by_file)
        if first is None:
            plan.places.clear()
            return self._body(plan, by_file=by_file) if is_known else None
        sent_to = plan.start + _size(first)
        if sent_to == plan.end:
            return first, None
        return first, _Rest(self, plan, sent_to, by_file=by_file)

    def _locate(self, plan: Plan[L]) -> bool:
        """Find all blobs of a plan, or none."""
        for name in plan.names:
            at = self._at_hand.locate(name)
            if at is None:
                plan.places.clear()
                return False
            plan.places.append(at)
        return True

    def _signed_head(self, plan: Plan[L], headers: dict[bytes, bytes]) -> bytes:
        now_s = int(self._clock.now())
        if now_s != self._dated_s:
            self._dated_s = now_s
            date = formatdate(now_s, usegmt=True)
            self._signed = _HIT + f"Server: {SERVER}\r\nDate: {date}\r\ntraceparent: ".encode()
        here = trace.answer_header(headers.get(b"traceparent"))
        return plan.said + self._signed + here + END

    def piece_now(self, at: L, start: int, end: int, *, by_file: bool) -> Piece | None:
        """Return bytes of a blob if they are in memory, counted as served."""
        piece: Piece | None = self._at_hand.span_now(at, start, end) if by_file else None
        if piece is None:
            end = min(end, start + PIECE_SIZE)
            piece = self._at_hand.read_now(at, start, end, self._scratch.room)
            if piece is None:
                return None
            end = start + len(piece)
        self._bytes_from_memory.value += end - start
        if start == 0:
            self._served_from_memory.value += 1
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

    def __init__(self, lane: FastLane[L], plan: Plan[L], at: int, *, by_file: bool) -> None:
        self._lane = lane
        self._plan = plan
        self._target = plan.target
        self._by_file = by_file
        self._blob_size = plan.target.blob_size
        self._arriving: AsyncGenerator[Landed, None] | None = None
        self._at = at
        self._end = plan.end

    def now(self) -> Piece | None:
        if self._at == self._end:
            return b""
        plan = self._plan
        if self._arriving is not None or not plan.places:
            return None  # what is on its way is sent in its order
        index, start = divmod(self._at, self._blob_size)
        end = min(self._blob_size, self._end - index * self._blob_size)
        place = plan.places[index - plan.index]
        piece = self._lane.piece_now(place, start, end, by_file=self._by_file)
        if piece is None:
            plan.places.clear()  # whoever asks next looks again
        else:
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
