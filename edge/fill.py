"""Blobs by digest, from the store, or filled from upstream: each verified before use.

A fill belongs to the edge and not to a client: requests for one blob share it, and when a
client leaves, the fill goes on for the others and for the cache. What it brings is handed out as
soon as its digest is right; writing it to disk follows behind.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from chunks.chunk_id import Digest, check_digest, digest_of
from edge.metrics import EdgeMetrics, Tier
from edge.store.departures import Departed, Reason
from edge.store.located import Located
from edge.store.store import Store
from edge.upstream.siblings import SiblingGone, Siblings
from edge.upstream.upstreams import Upstreams
from kit.buffers import Buffer
from kit.clock import Clock
from kit.errors import FormatError, NotFound
from kit.http_client import HttpReply
from kit.single_flight import SingleFlight
from manifests.names import TitleId

AHEAD = 4
"""Slices of one response under way at a time: four in parallel hide a round trip of 50 ms at
2 MB/s a connection; more would only take from other responses."""

LAND_FIRST_S = 0.025
"""What lands so soon after it seemed sure is waited for before a head is sent: where upstream is
near, what turns out wrong is a 502 still and no answer cut short. At 1 Gbit/s a slice
takes 8 ms."""

MISSING_S = 2.0
MISSING_COUNT_MAX = 4096
"""A path found missing is not asked for again for so long, and so many are remembered."""

STORED_HEADER = "Playhead-Stored"
"""By which a worker tells another where it keeps what it sends."""

INLINE_SIZE = 32 << 10
"""Hashing this takes 10 us: less than the way to a thread and back."""


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes by their digest, and where upstream has them."""

    digest: Digest
    path: str
    size_max: int
    size: int | None = None
    """In bytes, where it is known beforehand."""
    owner: TitleId | None = None
    """The title it is cached for; None for what only a title's own blobs lead to.

    Whoever may read one title could otherwise read another's pages under its own URLs, as soon
    as they are cached, if it learns their digests.
    """

    title: TitleId | None = None
    """For which title it is fetched, where that is not its ``owner``; others may use it too."""

    @property
    def name(self) -> Digest:
        """What it is cached under."""
        if self.owner is None:
            return self.digest
        return digest_of(self.owner.encode() + b"/" + self.digest)


@dataclass(frozen=True, slots=True)
class Landed:
    """A verified blob and where it was found."""

    content: Buffer
    tier: Tier
    is_collapsed: bool = False
    """Whether the request joined another's fetch."""
    at: Located | None = None
    """Where the store has it; None if it does not, or not yet."""


@dataclass(frozen=True, slots=True)
class Flight:
    """A blob on its way. Await it by :meth:`landed` only."""

    future: asyncio.Future[Landed]
    is_collapsed: bool
    """Whether it was under way already."""
    answered: asyncio.Event | None = None
    """Set once upstream has begun to send what is as long as it must be."""

    async def landed(self) -> Landed:
        """Return the blob.

        Raises:
            NotFound: There is none of this digest.
            NoUpstream: It is not cached, and no upstream can give it.
        """
        landed = await asyncio.shield(self.future)
        return replace(landed, is_collapsed=self.is_collapsed)

    async def is_coming(self, *, is_sure: bool = False) -> bool:
        """Return once it landed or failed (False), or seems sure to land but takes a while (True).

        It does once upstream has begun to send it, or at once if ``is_sure``: for who had another
        part of the same thing from upstream just now. It may fail all the same.
        """
        if self.answered is None or self.future.done():
            return False
        if not is_sure:
            answered = asyncio.ensure_future(self.answered.wait())
            either: list[asyncio.Future[Any]] = [self.future, answered]
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            finally:
                answered.cancel()
        done, _ = await asyncio.wait([self.future], timeout=LAND_FIRST_S)
        return not done


class Blobs:
    """All tiers of one edge."""

    def __init__(
        self,
        *,
        store: Store,
        upstreams: Upstreams,
        siblings: Siblings,
        fills_max: int,
        ahead_max: int,
        departed: Departed = lambda _names, _reason: None,
        clock: Clock,
        metrics: EdgeMetrics,
    ) -> None:
        self._store = store
        self._upstreams = upstreams
        self._siblings = siblings
        self._clock = clock
        self._metrics = metrics
        self._flights: SingleFlight[tuple[Digest, bool], Landed] = SingleFlight()
        self._answered: dict[tuple[Digest, bool], asyncio.Event] = {}
        self._fills = asyncio.Semaphore(fills_max)
        self._ahead_left = ahead_max
        self._departed = departed
        self._writes: dict[asyncio.Task[Located | None], Digest] = {}
        self._writes_max = fills_max
        self._being_written: dict[Digest, Buffer] = {}
        self._missing: OrderedDict[str, float] = OrderedDict()
        metrics.watch("fills_running", "Blobs on their way.", lambda: len(self._flights))

    def has(self, name: Digest) -> bool:
        """Tell whether the blob is thought to be cached."""
        return name in self._being_written or name in self._store

    async def settled(self, name: Digest) -> None:
        """Return once a blob that was handed out is on disk, or is not going to be."""
        writing = [task for task, of in self._writes.items() if of == name]
        if writing:
            await asyncio.wait(writing)

    @property
    def is_writing(self) -> bool:
        """Whether something that was handed out is not on disk yet."""
        return bool(self._being_written)

    def begin(self, blob: Blob, *, is_pushed: bool = False) -> Flight:
        """Start bringing ``blob``, or join whoever is; ``is_pushed`` if nobody asked for it yet."""
        name = blob.name
        here = self._in_memory(name)
        if here is not None:
            at_hand: asyncio.Future[Landed] = asyncio.get_running_loop().create_future()
            at_hand.set_result(here)
            return Flight(at_hand, is_collapsed=False)
        flights = self._flights
        flight = name, self._upstreams.is_shielded(blob.path, lambda way: (name, way) in flights)
        is_collapsed = flight in flights
        if is_collapsed:
            self._metrics.collapsed.inc()

        async def bring() -> Landed:
            answered = self._answered[flight]
            try:
                return await self._bring(blob, name, answered, is_pushed=is_pushed)
            finally:
                del self._answered[flight]

        def start() -> Coroutine[Any, Any, Landed]:
            self._answered[flight] = asyncio.Event()
            return bring()

        future = flights.join(flight, start)
        return Flight(future, is_collapsed, self._answered[flight])

    def part_now(self, blob: Blob, start: int, end: int) -> Landed | None:
        """Return the bytes ``[start, end)`` of a blob if they can be had from memory at once.

        Whoever wants a few of a slice need not wait for all of it to be copied.
        """
        name = blob.name
        at = self._store.locate(name)
        if at is None or end > at.size:
            return None
        part = self._store.read_now(at, start, end)
        return None if part is None else Landed(part, Tier.MEMORY, at=at)

    async def in_order(self, blobs: Sequence[Blob]) -> AsyncGenerator[Flight, None]:
        """Yield ``blobs`` one by one, still on their way, and the next few as well.

        Nothing more is begun before what was yielded has been used, so a slow client holds its
        own few blobs and nobody's fills.
        """
        begun: deque[tuple[Flight, bool]] = deque()
        next_index = 0
        try:
            for index in range(len(blobs)):
                while next_index < min(len(blobs), index + AHEAD):
                    is_ahead = next_index > index
                    if is_ahead and not self._take_ahead():
                        break
                    begun.append((self.begin(blobs[next_index]), is_ahead))
                    next_index += 1
                flight, was_ahead = begun.popleft()
                self._ahead_left += was_ahead
                yield flight
        finally:
            self._ahead_left += sum(is_ahead for _, is_ahead in begun)

    async def close(self) -> None:
        """Give up what is on its way, and finish what is being written."""
        await self._flights.close()
        await asyncio.gather(*self._writes)

    def _take_ahead(self) -> bool:
        if self._ahead_left == 0:
            return False
        self._ahead_left -= 1
        return True

    def _in_memory(self, name: Digest) -> Landed | None:
        content = self._being_written.get(name)
        if content is not None:
            return Landed(content, Tier.MEMORY)
        at = self._store.locate(name)
        if at is None:
            return None
        cached = self._store.read_now(at, 0, at.size)
        return None if cached is None else Landed(cached, Tier.MEMORY, at=at)

    async def _bring(
        self, blob: Blob, name: Digest, answered: asyncio.Event, *, is_pushed: bool
    ) -> Landed:
        kept = await self._store.get(name, blob.digest)
        if kept is not None:
            return Landed(kept, Tier.DISK, at=self._store.locate(name))
        self._check_missing(blob.path)
        if not self._siblings.owns(name):
            with suppress(SiblingGone):
                return await self._from_owner(blob, name, answered)
        async with self._fills:
            try:
                content = await self._upstreams.fetch(
                    blob.path, lambda reply: _take(reply, blob, answered)
                )
            except NotFound:
                self._note_missing(blob.path)
                raise
        self._metrics.fills.inc()
        self._metrics.upstream_bytes.inc(len(content))
        if self._siblings.owns(name):  # and was not only done without
            self._write_behind(blob, content, is_pushed)
        return Landed(content, Tier.FILL)

    async def _from_owner(self, blob: Blob, name: Digest, answered: asyncio.Event) -> Landed:
        """Have the blob from the worker that fetches and keeps it for all."""

        async def take(reply: HttpReply) -> Landed:
            content = await _take(reply, blob, answered)
            self._adopt(name, reply.headers.get(STORED_HEADER))
            is_hit = "hit" in reply.headers.get("Cache-Status", "")
            return Landed(content, Tier.DISK if is_hit else Tier.FILL)

        return await self._siblings.fetch(name, blob.path, take)

    def _adopt(self, name: Digest, token: str | None) -> None:
        """Learn from the owner where a blob is, to read it there ourselves the next time."""
        if token is not None:
            with suppress(FormatError):
                self._store.adopt(name, Located.parse(token))

    def _write_behind(self, blob: Blob, content: Buffer, is_pushed: bool) -> None:
        name, title = blob.name, blob.owner or blob.title
        if name in self._being_written:
            return  # it was fetched by way of a shield as well, for who takes us for one
        if len(self._writes) >= self._writes_max:
            self._metrics.not_cached.labels("disk-busy").inc()
            self._departed([name], Reason.DISK_BUSY)
            return
        self._being_written[name] = content
        task = asyncio.create_task(
            self._store.put(
                name, blob.digest, content, title=title, path=blob.path, is_pushed=is_pushed
            )
        )
        self._writes[task] = name
        task.add_done_callback(self._written)

    def _written(self, task: asyncio.Task[Located | None]) -> None:
        del self._being_written[self._writes.pop(task)]

    def _check_missing(self, path: str) -> None:
        if self._missing.get(path, 0.0) > self._clock.monotonic():
            raise NotFound(f"{path}: not found")

    def _note_missing(self, path: str) -> None:
        self._missing[path] = self._clock.monotonic() + MISSING_S
        self._missing.move_to_end(path)
        while len(self._missing) > MISSING_COUNT_MAX:
            self._missing.popitem(last=False)


async def _take(reply: HttpReply, blob: Blob, answered: asyncio.Event) -> Buffer:
    """Read an answer that must be ``blob``."""
    if blob.size is not None:
        reply.require_size(blob.size)
        answered.set()
        content = await reply.read_exactly(blob.size)
    else:
        content = await reply.read(size_max=blob.size_max)
    if len(content) <= INLINE_SIZE:
        check_digest(reply.url, content, blob.digest)
    else:
        await asyncio.to_thread(check_digest, reply.url, content, blob.digest)
    return content
