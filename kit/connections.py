"""All connections of one listener: how many there may be, and how long each may wait."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from aiohttp import web

from kit.connection import Connection, Handler
from kit.deadlines import Deadlines
from kit.http_head import Head, HeadReader
from kit.http_server import OPERATOR_PATHS, SERVER, Overloaded, ServerState
from kit.lane import Answer, Lane
from kit.refusals import Refusals
from kit.telemetry import get_logger
from kit.turns import Turns, Verdict
from kit.writability import Writability

log = get_logger("http")

LOOKS_PER_PATIENCE = 4
TICK_S_MAX = 1.0
"""Deadlines are looked at so often: a quarter of the shortest, at least once a second."""

LET_IN_SHARE = 0.05
"""Of as many requests as a late turn took up, held ones that the next begins with. To hold one back
and take it up again costs about as much as a small answer, so it is done to few."""

LET_IN_AT_ONCE = 64
"""Held ones that are taken up in a turn if the last was in time."""

LOOKED_AT_ONCE = 256
"""Held ones of which it is seen, from time to time, whether they left: a microsecond each."""

METHODS = ("GET", "HEAD", "POST", "DELETE", "PUT")
"""By which operators ask."""


class Connections:
    """Makes a connection for each that is accepted. Belongs to one event loop."""

    def __init__(
        self,
        state: ServerState,
        server: web.Server,
        handler_options: Mapping[str, Any],
        lane: Lane | None,
        *,
        chance: Callable[[], float] = random.random,
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
        self.turns = Turns(
            settings.turn_within, begin_timing=self._time_turn, observe=metrics.turns.of().observe
        )
        state.turns = self.turns
        metrics.overloaded.set_function(lambda: float(self.turns.is_overloaded))
        self._chance = chance
        self._refusals = Refusals(SERVER, Overloaded.code)
        self._held_back: deque[Connection] = deque()
        self._taken_count = 0
        """Requests that were taken up in this turn."""
        self._was_overloaded = False
        self._refused = metrics.shed.of("no-time")
        self._unread = metrics.shed.of("unread")
        self._too_many = metrics.shed.of("requests")
        self._operators = operators_begin(state.operator_prefixes)
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

    def judge(self, data: bytes, now: float, *, is_newcomer: bool) -> Verdict:
        """Return whether there is time for the request that ``data`` begins.

        For operators there always is, and for what comes on connections that drain.
        """
        verdict = self.turns.judge(now, is_newcomer=is_newcomer)
        if verdict is Verdict.SERVE:
            return verdict
        if self._state.is_draining or data.startswith(self._operators):
            return Verdict.SERVE
        (self._refused if verdict is Verdict.REFUSE else self._unread).inc()
        return verdict

    def refusal(self, *, is_head: bool, is_last: bool = False) -> Answer:
        """Return what to answer when there is no time."""
        after_s = self.turns.retry_after_s(self.now(), self._chance())
        return self._refusals.answer(after_s, is_head=is_head, is_last=is_last)

    def hold(self, connection: Connection) -> None:
        """Have a connection listened to again once there is time: the last held back first.

        Whoever has waited longest has mostly given up; served in that order, all would be late.
        """
        self._held_back.append(connection)

    def answer(self, head: Head, *, by_file: bool) -> Answer | None:
        """Return the lane's answer; None if aiohttp must give it."""
        state = self._state
        self._taken_count += 1
        if state.is_draining:
            return None
        if state.running >= state.settings.requests_max:
            if (b"GET %b " % head.target).startswith(self._operators):
                return None
            self._too_many.inc()
            return self.refusal(is_head=head.is_head)
        return None if self._lane is None else self._lane.answer(head, by_file=by_file)

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
            if not self.turns.is_timing:
                self.turns.rest(now)
                self._tell_overload()
            self._let_go()
            for deadlines, counter in self._late:
                for connection in deadlines.expired(now):
                    counter.inc()
                    connection.abort()

    def _time_turn(self) -> None:
        # What is called soon comes first in the next turn, before what sockets have for it.
        self._loop.call_soon(self._turned)

    def _turned(self) -> None:
        self.turns.turned(self.now())
        self._tell_overload()
        taken_count, self._taken_count = self._taken_count, 0
        is_pressed = self.turns.is_overloaded and self.turns.was_late
        self._let_in(1 + int(LET_IN_SHARE * taken_count) if is_pressed else LET_IN_AT_ONCE)

    def _tell_overload(self) -> None:
        """Say so when it begins, and when it ends have everybody listened to again."""
        is_overloaded = self.turns.is_overloaded
        if is_overloaded == self._was_overloaded:
            return
        self._was_overloaded = is_overloaded
        log.warning("overload.began" if is_overloaded else "overload.ended", service=self.name)
        if not is_overloaded:
            self._let_all_in()

    def _let_in(self, count: int) -> None:
        held_back = self._held_back
        for _ in range(min(count, len(held_back))):
            held_back.pop().listen_again()

    def _let_go(self) -> None:
        """Hang up on those that are held back and hung up themselves: nobody else would notice."""
        held_back = self._held_back
        for connection in islice(held_back, LOOKED_AT_ONCE):
            connection.abort_if_left()
        while held_back and not held_back[0].is_held_back:
            held_back.popleft()

    def _let_all_in(self) -> None:
        if self._held_back and not self.turns.is_overloaded:
            self._let_in(LET_IN_AT_ONCE)
            self._loop.call_soon(self._let_all_in)

    def close_free(self) -> None:
        """Hang up on whoever has no answer under way."""
        for connection in list(self._open):
            connection.close_if_free()

    def abort(self) -> None:
        """Break all off, at the end."""
        for connection in list(self._open):
            connection.abort()
        self.writability.close()


def operators_begin(prefixes: tuple[str, ...]) -> tuple[bytes, ...]:
    """Return how requests of operators begin, whose paths are fixed or below ``prefixes``."""
    asked = [f"{path} " for path in OPERATOR_PATHS] + list(prefixes)
    return tuple(f"{method} {path}".encode() for method in METHODS for path in asked)
