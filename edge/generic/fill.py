"""A response on its way into the cache: read once, sent to everybody who waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from edge.generic.content import Content, Spans, Whole
from edge.generic.errors import UpstreamBroken
from edge.generic.store import ENTRY_OVERHEAD, ResponseStore
from edge.generic.streams import Source
from kit.errors import Unavailable
from kit.http_semantics.conditions import strong_validator
from kit.http_semantics.messages import ResponseHead
from kit.http_semantics.ranges import parse_content_range
from kit.http_semantics.stored import StoredResponse

AHEAD_MAX = 1024 * 1024
"""Bytes read ahead of the one client of a response that turned out too large to be kept."""


class Room:
    """How many bytes may be on their way into the cache."""

    def __init__(self, size_max: int) -> None:
        self._left = size_max

    def take(self, size: int) -> bool:
        """Take ``size`` bytes, if there are so many."""
        if size > self._left:
            return False
        self._left -= size
        return True

    def give(self, size: int) -> None:
        """Give back what was taken."""
        self._left += size


class Fill:
    """Reads one response to its end, keeps it, and lets any number follow.

    If its length is known it has room for all of it, and others may follow from the head on; else
    it grows, and if it outgrows what may be kept, it goes on for the client that asked for it.
    """

    def __init__(
        self,
        reply: Source,
        stored: StoredResponse,
        store: ResponseStore,
        room: Room,
        *,
        key: str,
        is_void: Callable[[], bool],
        size_max: int,
    ) -> None:
        """Take over ``reply``, to store it under ``key`` unless it ``is_void`` once it is all here.

        What is larger than ``size_max`` bytes is not kept.
        """
        self.stored = stored
        self.head: ResponseHead = reply.head
        self.upstream_status = reply.upstream_status
        self.is_whole = reply.content_length is not None
        """Whether its end is certain from the head on."""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reply = reply
        self._key = key
        self._is_void = is_void
        self._store = store
        self._room = room
        self._size_max = size_max
        self._taken = 0
        self._pieces: list[bytes] = []
        self._size = 0
        self._sent = 0
        self._error: Unavailable | None = None
        self._is_kept = True
        self._changed = asyncio.Event()
        self._followers = 1
        self._has_ended = False

    @classmethod
    def may_begin(cls, reply: Source, room: Room, size_max: int) -> bool:
        """Tell whether there is room for the response, and take it."""
        length = reply.content_length or 0
        return length <= size_max and room.take(length + ENTRY_OVERHEAD)

    async def run(self) -> None:
        """Read it to its end, or as far as somebody wants it. ``may_begin`` must have said so."""
        self._taken = (self._reply.content_length or 0) + ENTRY_OVERHEAD
        try:
            while piece := await self._reply.read():
                await self._take(piece)
                if not self._is_kept and not self._followers:
                    return
            self._keep()
        except Unavailable as error:
            self._error = error
            self._keep_part()
        finally:
            if not self._has_ended and self._error is None:
                self._error = UpstreamBroken("the response was not read to its end")
            self._wake()
            self._room.give(self._taken)
            self.done.set_result(None)
            await self._reply.close()

    def join(self) -> Follower:
        """Return the content for one more; only of one that is whole from the head on."""
        self._followers += 1
        return Follower(self)

    def lead(self) -> Follower:
        """Return the content for the client that asked for it; it counts from the beginning."""
        return Follower(self)

    def leave(self) -> None:
        """Count one fewer who wants the content."""
        self._followers -= 1
        self._wake()

    async def piece(self, index: int) -> bytes:
        """Return a piece of the content once it is there, nothing after the last.

        Raises:
            UpstreamBroken: It ended too early.
            UpstreamSlow: Its end did not come.
        """
        while index >= len(self._pieces):
            if self._error is not None:
                raise self._error
            if self._has_ended:
                return b""
            changed = self._changed
            await changed.wait()
        piece = self._pieces[index]
        if not self._is_kept:
            self._pieces[index] = b""
            self._sent = self._size - sum(map(len, self._pieces[index + 1 :]))
            self._wake()
        return piece

    async def _take(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)
        needed = self._size + ENTRY_OVERHEAD - self._taken
        if self._is_kept and needed > 0:
            if self._size <= self._size_max and self._room.take(needed):
                self._taken += needed
            else:
                self._is_kept = False
        self._wake()
        while not self._is_kept and self._followers and self._size - self._sent > AHEAD_MAX:
            changed = self._changed
            await changed.wait()

    def _keep(self) -> None:
        self._has_ended = True
        content = _content(self.head, self._pieces) if self._is_kept else None
        if content is not None and not self._is_void():
            self._store.put(self._key, self.stored, content)

    def _keep_part(self) -> None:
        """Keep what came of a response that broke off, if the rest can be asked for: 3.3."""
        length = self._reply.content_length
        if (
            self.head.status == 200
            and self._is_kept
            and self._size
            and length is not None
            and not self._is_void()
            and strong_validator(self.stored.head.fields, self.stored.received_at) is not None
            and self.head.fields.get("accept-ranges") != "none"
        ):
            part = Spans(((0, Whole.of(self._pieces)),), length)
            # What is whole, be it old, is worth more than what is not.
            self._store.put(self._key, self.stored, part, unless_whole=True)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _content(head: ResponseHead, pieces: list[bytes]) -> Content | None:
    """Return what a complete response holds; None if its length is not what it says."""
    whole = Whole.of(pieces)
    if head.status != 206:
        return whole
    lies = parse_content_range(head.fields.only("content-range") or "")
    if lies is None or lies.end - lies.start != whole.size:
        return None
    return Spans(((lies.start, whole),), lies.size)


class Follower:
    """The content of a fill as one client takes it."""

    def __init__(self, fill: Fill) -> None:
        self._fill = fill
        self._index = 0
        self._has_left = False

    async def read(self) -> bytes:
        """Return the next piece, nothing at the end."""
        piece = await self._fill.piece(self._index)
        self._index += 1
        return piece

    async def close(self) -> None:
        """Want no more of it; what is kept is read to its end all the same."""
        if not self._has_left:
            self._has_left = True
            self._fill.leave()
