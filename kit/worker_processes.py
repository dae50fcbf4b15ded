"""Several processes that do one job: started, watched, started again, and stopped together.

A worker is a command of its own, never a fork: a fork takes over locks that threads of its parent
hold. It is told what to do by one line on its standard input, which stays open for as long as the
supervisor lives: at its end the worker ends too, however the supervisor died. It says that it is
ready by one line on its standard output. What it logs goes where the supervisor's log goes.
"""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from kit.clock import Clock
from kit.telemetry import get_logger

log = get_logger("workers")

READY = b"ready\n"
READY_WITHIN_S = 60.0
"""A worker reads the index of its cache first; 100 GB of it take less than a second."""

PAUSE_MIN_S, PAUSE_MAX_S = 0.1, 10.0
"""Before a worker that ended is started again: twice as long each time, so that one that cannot
run takes no more than a little of the machine."""
STEADY_S = 60.0
"""Who ran for so long starts again with the shortest pause."""

GRACE_S = 5.0
"""Beyond the time to drain, for closing what is open."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run."""

    count: int
    words: Sequence[str]
    """The command, the same for all."""
    orders: Callable[[int, int], bytes]
    """Returns the line that tells a worker what to do: by its index, and how often it was started
    again."""
    drain_within_s: float


class WorkerFailed(Exception):  # noqa: N818 - an outcome, caught by who supervises
    """A worker ended before it was ever ready; it has said why."""

    def __init__(self, index: int, exit_code: int) -> None:
        super().__init__(f"worker {index} did not start: exit code {exit_code}")
        self.exit_code = exit_code


class Supervisor:
    """Runs the workers of a plan. Belongs to one event loop, and to one call of :meth:`run`."""

    def __init__(self, plan: Plan, clock: Clock, when_stopping: Callable[[], None]) -> None:
        """``when_stopping`` is called before workers are asked to finish."""
        self._plan = plan
        self._when_stopping = when_stopping
        self._clock = clock
        self._children: dict[int, Process] = {}
        self._ready: set[int] = set()
        self._is_stopping = False

    async def run(self, stop: asyncio.Event, when_ready: Callable[[], None]) -> int:
        """Run all until ``stop`` is set; then let them drain, and return the exit code.

        ``when_ready`` is called once all are ready. The code is 0 if every worker drained in time.

        Raises:
            WorkerFailed: One could not start; none is left.
        """
        keepers = [asyncio.create_task(self._keep(i, when_ready)) for i in range(self._plan.count)]
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([stopping, *keepers], return_when=asyncio.FIRST_COMPLETED)
            if not stopping.done():
                await next(keeper for keeper in keepers if keeper.done())
            self._is_stopping = True
            self._when_stopping()
            log.info("draining", workers=self._plan.count)
            codes = await self._drained()
            log.info("workers.stopped", exit_codes=codes)
            return int(any(codes))
        finally:
            for task in (stopping, *keepers):
                task.cancel()
            await asyncio.gather(stopping, *keepers, return_exceptions=True)
            for child in self._children.values():
                await _killed(child)

    async def _keep(self, index: int, when_ready: Callable[[], None]) -> None:
        """Have worker ``index`` run, again and again."""
        pause_s, restarts = PAUSE_MIN_S, 0
        while not self._is_stopping:
            started = self._clock.monotonic()
            child = await self._start(index, restarts)
            is_ready = await self._is_ready(child)
            if is_ready:
                self._note_ready(index, when_ready)
            else:
                await _killed(child)
            exit_code = await child.wait()
            if self._is_stopping:
                return
            if index not in self._ready:
                raise WorkerFailed(index, exit_code)
            ran_s = self._clock.monotonic() - started
            pause_s = PAUSE_MIN_S if ran_s > STEADY_S else pause_s
            log.error(
                "worker.ended", worker=index, exit_code=exit_code, again_in_s=pause_s, ran_s=ran_s
            )
            await asyncio.sleep(pause_s)
            pause_s, restarts = min(2 * pause_s, PAUSE_MAX_S), restarts + 1

    async def _start(self, index: int, restarts: int) -> Process:
        # A session of its own: Ctrl-C in a terminal is for the supervisor, which tells the others.
        child = await asyncio.create_subprocess_exec(
            *self._plan.words, stdin=PIPE, stdout=PIPE, start_new_session=True
        )
        self._children[index] = child
        log.info("worker.started", worker=index, pid=child.pid, restarts=restarts)
        assert child.stdin is not None
        with suppress(ConnectionError):  # it ended already, which is noticed below
            child.stdin.write(self._plan.orders(index, restarts) + b"\n")
            await child.stdin.drain()
        return child

    async def _is_ready(self, child: Process) -> bool:
        assert child.stdout is not None
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                return await child.stdout.readline() == READY
        except TimeoutError:
            return False

    def _note_ready(self, index: int, when_ready: Callable[[], None]) -> None:
        was_complete = len(self._ready) == self._plan.count
        self._ready.add(index)
        if len(self._ready) == self._plan.count and not was_complete:
            when_ready()

    async def _drained(self) -> list[int]:
        """Ask all to finish; return their exit codes, of which none is left after."""
        children = list(self._children.values())
        for child in children:
            _signal(child, signal.SIGTERM)
        waiting = [asyncio.create_task(child.wait()) for child in children]
        _, late = await asyncio.wait(waiting, timeout=self._plan.drain_within_s + GRACE_S)
        if late:
            log.error("workers.killed", count=len(late), advice="they did not drain in their time")
        return [await _killed(child) for child in children]


async def _killed(child: Process) -> int:
    """End ``child`` if it still runs; return its exit code."""
    _signal(child, signal.SIGKILL)
    return await child.wait()


def _signal(child: Process, number: signal.Signals) -> None:
    """Send ``child`` a signal if it still runs.

    Not by its own method, which looks after it first: if it just ended, it takes its exit code
    from whoever waits for it, who is then told 255.
    """
    if child.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(child.pid, number)
