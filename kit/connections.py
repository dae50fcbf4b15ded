"""All connections of one listener: how many there may be, and how long each may wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from kit.connection import Connection, Handler
from kit.deadlines import Deadlines
from kit.http_head import Head, HeadReader
from kit.http_server import ServerState
from kit.lane import Answer, Lane
from kit.telemetry import get_logger
from kit.writability import Writability

log = get_logger("http")

LOOKS_PER_PATIENCE = 4
TICK_S_MAX = 1.0
"""Deadlines are looked at so often: a quarter of the shortest, at least once a second."""


class Connections:
    """Makes a connection for each that is accepted. Belongs to one event loop."""

    def __init__(
        self,
        state: ServerState,
        server: web.Server,
        handler_options: Mapping[str, Any],
        lane: Lane | None,
    ) -> None:
        self._state = state
        self._server = server
        self._options = handler_options
        self._lane = lane
        self._loop = asyncio.get_running_loop()
        self._open: set[Connection] = set()
        settings = state.settings
        self.name = state.metrics.component
        self.now: Callable[[], float] = time.monotonic  # the loop's too, without a detour
        self.reader = HeadReader()
        self.idle: Deadlines[Connection] = Deadlines(settings.close_idle_after)
        self.heads: Deadlines[Connection] = Deadlines(settings.head_within)
        self.stalled: Deadlines[Connection] = Deadlines(settings.drop_stalled_after)
        self.writability = Writability(self._loop)
        metrics = state.metrics
        metrics.connections.set_function(lambda: len(self._open))
        closed = metrics.closed
        self._shed = closed.labels("shed")
        self._late = [
            (self.idle, closed.labels("idle")),
            (self.heads, closed.labels("slow-head")),
            (self.stalled, closed.labels("stalled")),
        ]
        self._by_lane = metrics.by_lane.of()

    def __call__(self) -> Connection:
        """Return the protocol of a new connection."""
        return Connection(self)

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: Connection) -> bool:
        """Count a connection in, unless there are as many as there may be."""
        if len(self._open) >= self._state.settings.connections_max:
            self._shed.inc()
            return False
        self._open.add(connection)
        self.idle.begin(connection, self.now())
        return True

    def left(self, connection: Connection) -> None:
        """Count a connection out."""
        self._open.discard(connection)
        for deadlines, _ in self._late:
            deadlines.end(connection)

    def new_handler(self) -> Handler:
        """Return aiohttp's side of a connection."""
        return Handler(self._server, loop=self._loop, **self._options)

    def answer(self, head: Head, *, by_file: bool) -> Answer | None:
        """Return the lane's answer; None if aiohttp must give it, or say that it is too much."""
        state = self._state
        if self._lane is None or state.is_draining or state.running >= state.settings.requests_max:
            return None
        return self._lane.answer(head, by_file=by_file)

    def lane_answered(self, status: int, started: float) -> None:
        """Count an answer that the kernel took at once."""
        self._by_lane.inc()
        self._state.metrics.count(status, self.now() - started)

    def lane_entered(self) -> None:
        """Count an answer in that takes longer."""
        self._state.enter()

    def lane_left(self, status: int, started: float) -> None:
        """Count it out."""
        self._state.leave()
        self.lane_answered(status, started)

    async def watch(self) -> None:
        """Hang up on whoever is too slow, for as long as this is awaited."""
        shortest = min(deadlines.patience_s for deadlines, _ in self._late)
        tick_s = min(shortest / LOOKS_PER_PATIENCE, TICK_S_MAX)
        while True:
            await asyncio.sleep(tick_s)
            now = self.now()
            for deadlines, counter in self._late:
                for connection in deadlines.expired(now):
                    counter.inc()
                    connection.abort()

    def close_free(self) -> None:
        """Hang up on whoever has no answer under way."""
        for connection in list(self._open):
            connection.close_if_free()

    def abort(self) -> None:
        """Break all off, at the end."""
        for connection in list(self._open):
            connection.abort()
        self.writability.close()
