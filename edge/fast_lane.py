"""Answers content that is in memory at once: the same answers as :mod:`edge.routes`, sooner.

What it leaves to aiohttp, by saying None: what is no content, what is not at hand, whom the guard
does not let in, and spans outside of an object. So all that can go wrong is said in one place.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from email.utils import formatdate
from typing import Generic, TypeVar

from edge.at_hand import AtHand, Sized
from edge.cache_status import CACHE_NAME
from edge.fill import Blobs, Landed
from edge.metrics import EdgeMetrics, Tier
from edge.targets import Target, Targets
from kit import trace
from kit.buffers import Buffer
from kit.clock import Clock
from kit.errors import Denied
from kit.http_head import Head
from kit.http_semantics import Full, Partial, Unsatisfiable, is_known_to_client, wanted
from kit.http_server import SERVER
from kit.lane import Answer
from manifests.lease import HEADER
from manifests.lease_gate import Guard

L = TypeVar("L", bound=Sized)

PIECE_SIZE = 256 << 10
"""Read and handed to the socket at a time: what was just read is still in the processor's cache."""

_LEASE = HEADER.lower().encode()
_HIT = f"Cache-Status: {CACHE_NAME}; hit; detail={Tier.MEMORY.value}\r\n".encode()


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
        self._blobs = blobs
        self._guard = guard
        self._clock = clock
        self._metrics = metrics
        self._dated_s = 0
        self._signed = b""

    def answer(self, head: Head) -> Answer | None:
        """Return the answer to ``head`` if all it needs is at hand."""
        target = self._targets.find(head.target)
        if target is None:
            return None
        headers = head.headers
        token = headers.get(_LEASE)
        try:
            self._guard.check(None if token is None else token.decode("ascii"), target.title)
        except Denied:
            return None
        if b"if-none-match" in headers and is_known_to_client(
            headers[b"if-none-match"].decode("ascii"), target.etag
        ):
            return Answer(304, self._head(b"304 Not Modified", target.kept, headers))
        if head.is_head:
            return self._described(target, headers)
        return self._content(target, headers)

    def _described(self, target: Target, headers: dict[bytes, bytes]) -> Answer:
        length = b"Content-Length: %d\r\n" % target.size
        told = target.kept + target.described + length
        return Answer(200, self._head(b"200 OK", told, headers))

    def _content(self, target: Target, headers: dict[bytes, bytes]) -> Answer | None:
        start, end, status, said, told = 0, target.size, 200, b"200 OK", b""
        if b"range" in headers:
            match _wanted(target, headers):
                case Partial(start, end):
                    status, said = 206, b"206 Partial Content"
                    told = b"Content-Range: bytes %d-%d/%d\r\n" % (start, end - 1, target.size)
                case Unsatisfiable():
                    return None
                case Full():
                    pass
        places = self._places(target, start, end)
        if places is None:
            return None
        rest = _Rest(self, target, places, start, end)
        first = rest.now()
        if first is None:
            return None
        told = b"%b%b%bContent-Length: %d\r\n" % (target.kept, target.described, told, end - start)
        return Answer(
            status, self._head(said, told, headers), first, rest if rest.at < end else None
        )

    def _places(self, target: Target, start: int, end: int) -> list[L] | None:
        """Return where the blobs are that hold ``[start, end)``; None if one is not cached."""
        places: list[L] = []
        size = target.blob_size
        for name in target.names[start // size : (end - 1) // size + 1]:
            at = self._at_hand.locate(name)
            if at is None:
                return None
            places.append(at)
        return places

    def _head(self, status: bytes, told: bytes, headers: dict[bytes, bytes]) -> bytes:
        now_s = int(self._clock.now())
        if now_s != self._dated_s:
            self._dated_s = now_s
            date = formatdate(now_s, usegmt=True)
            self._signed = _HIT + f"Server: {SERVER}\r\nDate: {date}\r\ntraceparent: ".encode()
        parent = headers.get(b"traceparent")
        here = trace.follow(None if parent is None else parent.decode("ascii"))
        return b"HTTP/1.1 %b\r\n%b%b%b\r\n\r\n" % (
            status,
            told,
            self._signed,
            here.header.encode(),
        )

    def read_now(self, at: L, start: int, end: int) -> Buffer | None:
        """Return bytes of a blob if they are in memory, counted as served."""
        piece = self._at_hand.read_now(at, start, end)
        if piece is not None:
            self.count(Tier.MEMORY, len(piece), is_first=start == 0)
        return piece

    def count(self, tier: Tier, size: int, *, is_first: bool) -> None:
        """Count bytes of a blob as served."""
        self._metrics.served_bytes[tier].inc(size)
        if is_first:
            self._metrics.served[tier].inc()

    async def bring(self, target: Target, index: int) -> AsyncGenerator[Landed, None]:
        """Yield the blobs of ``target`` from ``index`` on, wherever they are."""
        blobs = [target.blob(i) for i in range(index, len(target.names))]
        async with aclosing(self._blobs.in_order(blobs)) as arriving:
            async for landed in arriving:
                yield landed


class _Rest(Generic[L]):
    """The bytes ``[at, end)`` of a target, piece by piece."""

    def __init__(
        self, lane: FastLane[L], target: Target, places: list[L], start: int, end: int
    ) -> None:
        self._lane = lane
        self._target = target
        self._places = places
        self._blob_size = target.blob_size
        self._first_index = start // self._blob_size
        self._arriving: AsyncGenerator[Landed, None] | None = None
        self.at = start
        self._end = end

    def now(self) -> Buffer | None:
        if self.at == self._end:
            return b""
        if self._arriving is not None:
            return None  # what is on its way is sent in its order
        index, start = divmod(self.at, self._blob_size)
        end = min(start + PIECE_SIZE, self._blob_size, self._end - index * self._blob_size)
        piece = self._lane.read_now(self._places[index - self._first_index], start, end)
        if piece is not None:
            self.at += end - start
        return piece

    async def later(self) -> Buffer:
        index, start = divmod(self.at, self._blob_size)
        if self._arriving is None:
            self._arriving = self._lane.bring(self._target, index)
        landed = await anext(self._arriving)
        end = min(self._blob_size, self._end - index * self._blob_size)
        self._lane.count(landed.tier, end - start, is_first=start == 0)
        self.at += end - start
        return memoryview(landed.content)[start:end]


def _wanted(target: Target, headers: dict[bytes, bytes]) -> Full | Partial | Unsatisfiable:
    if_range = headers.get(b"if-range")
    return wanted(
        headers[b"range"].decode("ascii"),
        None if if_range is None else if_range.decode("ascii"),
        target.etag,
        target.size,
    )
