"""The start call: one request that brings what an operation asks for at first.

::

    start ─► edge ──► trust bundle, lease, root, first page, first range
      └─ 300 ms without an answer ─► the next edge too; who begins first goes on, the other is left

What comes is kept by path and span until somebody asks for just that (``console/fetcher.py``) and
verifies it as ever. Whatever does not come, for whatever reason, is asked for singly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from console.edge_memory import EdgeMemory
from console.edges import Edge
from console.leases import GrantedLease, Leases
from console.progress import Meter
from kit.clock import Clock
from kit.errors import FormatError, IntegrityError, NotFound, PlayheadError, Unavailable
from kit.http_client import HttpClient, HttpReply
from kit.http_problem import read_problem
from kit.telemetry import get_logger
from manifests.names import Channel, TitleId
from manifests.start import (
    Absent,
    Content,
    LeasePart,
    Part,
    Refusal,
    Span,
    Wish,
    encode_wish,
    start_path,
)
from manifests.start_reader import AnswerReader

log = get_logger("console.start")

HEDGE_AFTER_S = 0.3
"""Three round trips of 100 ms: who has not begun by then is slow, silent or behind a lossy line."""

CONTENDERS_MAX = 2

SLOWEST_PER_S = 4096
"""An answer that comes slower than this is given up, patience aside."""

_UNKNOWN = {405, 501}
"""What servers say to a method or a path that they have never heard of."""


@dataclass(frozen=True, slots=True)
class Means:
    """What start calls of one operation work with."""

    http: HttpClient
    leases: Leases
    clock: Clock
    meter: Meter
    memory: EdgeMemory
    take_rate: Callable[[int], Awaitable[None]]
    """Waits until so many bytes may be received."""
    blame: Callable[[Edge, Exception], None]
    """Passes an edge over for a while."""
    patience_s: float
    """An edge that sends nothing for so long is gone."""


class StartCall:
    """One start call, from its request to the last part that somebody takes. Close it."""

    def __init__(
        self, means: Means, title: TitleId, channel: Channel, installed: int | None
    ) -> None:
        """Start ``title`` from nothing, or from the release ``installed``."""
        self._means = means
        self._title = title
        self._channel = channel
        self._wish = encode_wish(Wish(installed=installed))
        self._reader = AnswerReader(title, channel)
        self._parts: dict[tuple[str, Span], bytes] = {}
        self._winner: Edge | None = None
        self._turn = asyncio.Event()
        """Set when an answer has begun, or an edge will give none."""
        self._news = asyncio.Event()
        self._has_ended = False
        self._task: asyncio.Task[None] | None = None

    def begin(self, edges: Sequence[Edge]) -> None:
        """Ask the first of ``edges``, and the next if that one is slow; returns at once."""
        known = [edge for edge in edges if self._means.memory.may_know_start(edge.url)]
        if known:
            self._task = asyncio.create_task(self._run(known[:CONTENDERS_MAX]))
        else:
            self._has_ended = True

    def may_bring(self, path: str, span: Span) -> bool:
        """Tell whether what is at ``path`` is here, or may still come."""
        if (path, span) in self._parts:
            return True
        return not self._has_ended and self._reader.may_bring(path, span)

    async def take(self, path: str, span: Span) -> bytes | None:
        """Return what came for ``path``, once; None as soon as it is sure that nothing will.

        It is *not verified*. If it turns out to be wrong, tell :meth:`distrust`.
        """
        while True:
            found = self._parts.pop((path, span), None)
            if found is not None:
                return found
            if not self.may_bring(path, span):
                return None
            await self._news.wait()

    async def distrust(self, error: Exception) -> None:
        """Use nothing more of the answer: a part of it was wrong."""
        await self.close()
        self._parts.clear()
        if self._winner is not None:
            self._means.blame(self._winner, error)

    async def close(self) -> None:
        """Give up what has not come yet."""
        if self._task is not None:
            await _cancelled([self._task])
        self._end()

    async def _run(self, contenders: Sequence[Edge]) -> None:
        try:
            await self._race(contenders)
        finally:
            self._end()

    async def _race(self, contenders: Sequence[Edge]) -> None:
        """Follow the answer that begins first to its end."""
        legs: list[tuple[Edge, asyncio.Task[None]]] = []
        try:
            for edge in contenders:
                self._means.meter.hedges += any(not leg.done() for _, leg in legs)
                leg = asyncio.create_task(self._follow(edge))
                leg.add_done_callback(lambda _: self._turn.set())
                legs.append((edge, leg))
                is_last = edge is contenders[-1]
                await self._begun_or_over(legs, None if is_last else HEDGE_AFTER_S)
                if self._winner is not None:
                    break
            for edge, leg in legs:
                if edge is self._winner:
                    self._pass_over_silent(legs)
                    await leg
        finally:
            await _cancelled([leg for _, leg in legs])

    async def _begun_or_over(
        self, legs: Sequence[tuple[Edge, asyncio.Task[None]]], patience_s: float | None
    ) -> None:
        """Wait until an answer has begun, none can any more, or patience is at its end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while self._winner is None and any(not leg.done() for _, leg in legs):
                    await self._turn.wait()
                    self._turn.clear()

    def _pass_over_silent(self, legs: Sequence[tuple[Edge, asyncio.Task[None]]]) -> None:
        for edge, leg in legs:
            if edge is not self._winner and not leg.done():
                leg.cancel()
                self._means.blame(edge, Unavailable(f"{edge.url}: slow to begin an answer"))

    async def _follow(self, edge: Edge) -> None:
        """Take the answer of one edge, unless another's has begun before."""
        try:
            await self._ask(edge)
        except (Unavailable, NotFound, IntegrityError, FormatError) as error:
            log.debug("start.failed", edge=edge.url, code=error.code, detail=str(error))
            self._means.blame(edge, error)
        except PlayheadError as error:
            # Whoever may not, or cannot, have a lease is told when content is asked for.
            log.debug("start.not_made", edge=edge.url, code=error.code, detail=str(error))

    async def _ask(self, edge: Edge) -> None:
        means = self._means
        shown = await means.leases.shown_at_start(self._title, edge.url)
        if shown is None:
            return
        url = edge.url + start_path(self._title, self._channel)
        headers = {**shown, "Content-Type": "application/json"}
        means.meter.requests += 1
        asked_at = means.clock.monotonic()
        async with means.http.send("POST", url, headers=headers, body=self._wish) as reply:
            if reply.status != 200:
                await self._refused(edge, reply)
                return
            await self._read(edge, reply, asked_at)

    async def _refused(self, edge: Edge, reply: HttpReply) -> None:
        """Judge an answer that is none; what is wrong with the player is not the edge's fault.

        Raises:
            Unavailable: The edge is in trouble.
        """
        problem = await read_problem(reply)
        is_ours = problem.code == NotFound.code
        if reply.status in _UNKNOWN or (reply.status == 404 and not is_ours):
            self._means.memory.note_no_start(edge.url)
        elif reply.status >= 500 or reply.status == 429:
            raise reply.unavailable(f"answered {reply.status} {problem.code[:60]}")
        log.debug("start.refused", edge=edge.url, status=reply.status, code=problem.code[:60])

    async def _read(self, edge: Edge, reply: HttpReply, asked_at: float) -> None:
        reader, received = AnswerReader(self._title, self._channel), 0
        async for piece in reply.pieces():
            received += len(piece)
            self._means.meter.received(len(piece))
            await self._means.take_rate(len(piece))
            self._check_pace(reply, received, asked_at)
            parts = list(reader.feed(piece))
            if self._winner is None and reader.has_begun:
                self._winner, self._reader = edge, reader
                self._turn.set()
            if self._winner is not edge:
                if self._winner is None:
                    continue
                return
            for part in parts:
                self._keep(part, asked_at)
            self._tell()
        if not reader.is_complete:
            raise IntegrityError(f"{reply.url}: the answer ended early")
        edge.succeeded()

    def _check_pace(self, reply: HttpReply, received: int, asked_at: float) -> None:
        elapsed_s = self._means.clock.monotonic() - asked_at
        if elapsed_s > self._means.patience_s + received / SLOWEST_PER_S:
            raise Unavailable(f"{reply.url}: {received} bytes in {elapsed_s:.0f} s")

    def _keep(self, part: Part, asked_at: float) -> None:
        match part:
            case Content(path, span, body):
                self._parts[path, span] = body
            case LeasePart():
                granted = GrantedLease(part.lease, part.expires_in_s)
                self._means.leases.adopt(self._title, granted, asked_at)
            case Refusal():
                log.debug("start.no_lease", code=part.code, detail=part.detail)
            case Absent(path, _):
                log.debug("start.absent", path=path)

    def _end(self) -> None:
        self._has_ended = True
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


async def _cancelled(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
