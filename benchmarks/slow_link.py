"""A line between a client and a server on this machine: far, of some width, and begun slowly.

Linux can do better, but not in every container: this is a proxy in a process of its own. What a
connection may have under way starts at ten segments and doubles with each round trip, as TCP's does
where nothing is lost; after a pause it starts anew. Opening a connection takes a round trip, unless
what is measured keeps its connections and shall not be charged for the first.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection

FIRST_WINDOW = 10 * 1460
"""RFC 6928: what a connection may send before it hears anything."""
WINDOW_MAX = 4 << 20
IDLE_S = 0.25
"""After so long a window starts anew: the least time after which Linux sends again."""
READ_SIZE = 64 << 10


@dataclass(frozen=True, slots=True)
class Line:
    """What a line is like."""

    round_trip_s: float
    rate: float
    """Bytes a second, each way."""
    has_window: bool = True
    """Whether a connection starts slowly."""
    is_kept: bool = False
    """Whether its connections count as open before they are asked for."""


@dataclass(frozen=True, slots=True)
class Passed:
    """What went through since it was last asked for."""

    connections: int
    opened_at: float
    """When the first connection was, by the monotonic clock of this machine."""
    sent_at: float
    """When a client first sent anything; infinite if none did."""
    answered_size: int
    """Bytes from the server."""


_NOTHING = Passed(0, float("inf"), float("inf"), 0)


@dataclass
class _Way:
    """One direction of one connection."""

    line: Line
    delay_s: float
    into: asyncio.StreamWriter
    window: float = field(init=False)
    under_way: int = 0
    free_at: float = 0.0
    last_at: float = float("-inf")
    acks: deque[tuple[float, int]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.window = FIRST_WINDOW if self.line.has_window else float("inf")

    async def send(self, piece: bytes, loop: asyncio.AbstractEventLoop) -> None:
        """Have ``piece`` arrive when the line allows."""
        now = loop.time()
        if self.line.has_window and now - self.last_at > IDLE_S:
            self.window = FIRST_WINDOW
        view = memoryview(piece)
        while view:
            await self._acknowledged(loop)
            size = min(len(view), int(max(1, min(self.window - self.under_way, len(view)))))
            now = loop.time()
            self.free_at = max(self.free_at, now) + size / self.line.rate
            loop.call_at(self.free_at + self.delay_s, self._arrive, bytes(view[:size]))
            self.acks.append((self.free_at + self.line.round_trip_s, size))
            self.under_way += size
            self.last_at = now
            view = view[size:]

    async def _acknowledged(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait until the window has room."""
        while self.acks and (self.acks[0][0] <= loop.time() or self.under_way >= self.window):
            at, size = self.acks.popleft()
            await asyncio.sleep(max(0.0, at - loop.time()))
            self.under_way -= size
            self.window = min(self.window + size, max(self.window, WINDOW_MAX))

    def _arrive(self, piece: bytes) -> None:
        if not self.into.is_closing():
            self.into.write(piece)


class _Proxy:
    def __init__(self, line: Line, port: int) -> None:
        self._line = line
        self._port = port
        self.passed = _NOTHING

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        now, seen = time.monotonic(), self.passed
        self.passed = replace(
            seen, connections=seen.connections + 1, opened_at=min(seen.opened_at, now)
        )
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.close()
            return
        half_s = self._line.round_trip_s / 2
        # The client believes it has a connection a round trip before it could: add that here.
        open_s = 0.0 if self._line.is_kept else self._line.round_trip_s
        up = _Way(self._line, half_s, far_writer)
        down = _Way(self._line, half_s, writer)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._carry(reader, up, self._asked, open_s))
            tasks.create_task(self._carry(far_reader, down, self._answered))

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        way: _Way,
        count: Callable[[int], None],
        open_s: float = 0.0,
    ) -> None:
        loop = asyncio.get_running_loop()
        open_at = loop.time() + open_s
        with contextlib.suppress(OSError):
            while piece := await reader.read(READ_SIZE):
                count(len(piece))
                await asyncio.sleep(open_at - loop.time())
                await way.send(piece, loop)
        await asyncio.sleep(max(way.free_at - loop.time(), 0.0) + self._line.round_trip_s)
        way.into.close()

    def _asked(self, _size: int) -> None:
        self.passed = replace(self.passed, sent_at=min(self.passed.sent_at, time.monotonic()))

    def _answered(self, size: int) -> None:
        self.passed = replace(self.passed, answered_size=self.passed.answered_size + size)


def _run(line: Line, port: int, told: Connection) -> None:
    asyncio.run(_serve(line, port, told))


async def _serve(line: Line, port: int, told: Connection) -> None:
    proxy, loop, over = _Proxy(line, port), asyncio.get_running_loop(), asyncio.Event()

    def ask() -> None:
        try:
            told.recv()
        except EOFError:
            over.set()
            return
        told.send(proxy.passed)
        proxy.passed = _NOTHING

    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, backlog=1024)
    told.send(server.sockets[0].getsockname()[1])
    loop.add_reader(told.fileno(), ask)
    await over.wait()
    loop.remove_reader(told.fileno())


@dataclass(frozen=True, slots=True)
class Link:
    """A line to one server, while it is laid."""

    port: int
    told: Connection

    def passed(self) -> Passed:
        """Return what went through since this was last called. Blocks for a moment."""
        self.told.send(None)
        found: Passed = self.told.recv()
        return found


@contextmanager
def laid(line: Line, port: int) -> Iterator[Link]:
    """Lay a line to ``port`` of this machine."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_run, args=(line, port, theirs), daemon=True)
    child.start()
    theirs.close()
    try:
        yield Link(ours.recv(), ours)
    finally:
        ours.close()
        child.join(5)
        child.kill()
