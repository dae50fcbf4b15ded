"""All warms of one worker: begun, gone on with after a restart, cancelled, remembered.

A warm is a task and a file. The file is written when its phase changes and once a second while it
works, so kill -9 costs a second of counting; the bytes are in the cache.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import msgspec

from edge.operating.messages import Warm, WarmPhase, WarmRequest, plus_all
from edge.operating.warm_files import FOLDER, forget_warm, read_warms, write_warm
from edge.operating.warming import Warming, warm_target
from kit.clock import Clock
from kit.concurrency import to_its_end
from kit.errors import Conflict, NotFound, PlayheadError
from kit.telemetry import get_logger

log = get_logger("edge.operating")

RUNNING_MAX = 4
"""Warms of one worker at the same time."""
KEPT_MAX = 64
"""Warms remembered once they are over, the latest."""
NOTE_EVERY_S = 1.0

NewWarming = Callable[[Warm], Warming]


class Warms:
    """Belongs to one event loop. Open it before use."""

    def __init__(
        self,
        cache_dir: Path,
        new_warming: NewWarming,
        *,
        worker: int,
        workers: int,
        clock: Clock,
        random: Random,
    ) -> None:
        self._folder = cache_dir / FOLDER
        self._new_warming = new_warming
        self._worker = worker
        self._workers = workers
        self._clock = clock
        self._random = random
        self._warms: dict[str, Warm] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._cancelled: set[str] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Go on with warms that a restart ended; on leaving, end them so that the next can."""
        for warm in await asyncio.to_thread(read_warms, self._folder):
            if warm.worker % self._workers == self._worker:  # there may have been more of them
                self._warms[warm.warm_id] = warm
                if not warm.phase.is_over:
                    self._start(warm)
        try:
            yield
        finally:
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def all(self) -> list[Warm]:
        """Every warm that is known, the oldest first."""
        return list(self._warms.values())

    @property
    def running_count(self) -> int:
        """How many are under way."""
        return len(self._tasks)

    @property
    def left_size(self) -> int:
        """Bytes that those under way have yet to bring, as far as they know."""
        left = (
            warm.planned_total().size - warm.done_total().size
            for warm in self._warms.values()
            if not warm.phase.is_over
        )
        return sum(max(0, size) for size in left)

    def get(self, warm_id: str) -> Warm:
        """Return a warm.

        Raises:
            NotFound: None has this id.
        """
        found = self._warms.get(warm_id)
        if found is None:
            raise NotFound(f"no warm {warm_id[:80]!r} here")
        return found

    async def begin(self, request: WarmRequest) -> Warm:
        """Begin a warm; if one for the same is under way, return that.

        Raises:
            InvalidInput: It names no release.
            Conflict: Its deadline is over, or as many are under way as may be.
        """
        warm = Warm(
            warm_id=self._new_id(),
            request=request,
            begun_s=self._clock.now(),
            worker=self._worker,
        )
        warm_target(warm)
        if request.deadline_s <= self._clock.now():
            raise Conflict(f"the deadline of {request.target} is over already")
        for other in self._warms.values():
            if not other.phase.is_over and aims_at(other.request, request):
                return other
        if len(self._tasks) >= RUNNING_MAX:
            raise Conflict(f"{RUNNING_MAX} warms are under way; wait for one, or cancel it")
        # Before anything is waited for: whoever asks may leave, and what is noted is under way.
        self._warms[warm.warm_id] = warm
        self._start(warm)
        await self._note(warm)
        await self._forget_surplus()
        return warm

    async def cancel(self, warm_id: str) -> Warm:
        """End a warm; what it brought stays, and stays pinned.

        Raises:
            NotFound: None has this id.
        """
        warm = self.get(warm_id)
        task = self._tasks.get(warm_id)
        if task is not None:
            self._cancelled.add(warm_id)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return warm

    def _start(self, warm: Warm) -> None:
        task = asyncio.create_task(self._run(warm), name=f"warm {warm.warm_id}")
        self._tasks[warm.warm_id] = task
        task.add_done_callback(lambda _task: self._tasks.pop(warm.warm_id, None))

    async def _run(self, warm: Warm) -> None:
        """Carry a warm through, and write down what became of it."""
        warm.runs += 1
        warm.phase = WarmPhase.PLANNING
        plus_all(warm.earlier, warm.fetched)
        warm.fetched, warm.present, warm.failed, warm.failed_count = {}, {}, [], 0
        began, worked_before_s = self._clock.monotonic(), warm.worked_s

        async def noting() -> None:
            while True:
                await asyncio.sleep(NOTE_EVERY_S)
                warm.worked_s = worked_before_s + self._clock.monotonic() - began
                await self._note(warm)

        noter = asyncio.create_task(noting())
        try:
            await self._to_its_end(warm)
        except asyncio.CancelledError:
            if warm.warm_id in self._cancelled:
                self._cancelled.discard(warm.warm_id)
                warm.phase = WarmPhase.CANCELLED
            raise
        finally:
            noter.cancel()
            await asyncio.gather(noter, return_exceptions=True)
            warm.worked_s = worked_before_s + self._clock.monotonic() - began
            await self._note(warm)
            log.info("warm.ended", warm=warm.warm_id, target=warm.target, phase=warm.phase.value)

    async def _to_its_end(self, warm: Warm) -> None:
        warming = self._new_warming(warm)
        try:
            async with asyncio.timeout(max(0.0, warm.request.deadline_s - self._clock.now())):
                await warming.run()
        except TimeoutError:
            warm.phase = WarmPhase.EXPIRED
        except PlayheadError as error:
            warm.phase, warm.fault = WarmPhase.FAILED, f"{error.code}: {error}"
        except Exception as error:
            log.exception("warm.broken", warm=warm.warm_id)
            warm.phase, warm.fault = WarmPhase.FAILED, f"a bug of ours: {type(error).__name__}"
        else:
            warm.phase = WarmPhase.DONE

    async def _note(self, warm: Warm) -> None:
        try:
            # To its end: a write that was let go of could still replace a later one.
            content = msgspec.json.encode(warm)
            await to_its_end(asyncio.to_thread(write_warm, self._folder, warm.warm_id, content))
        except OSError as error:
            log.warning("warm.not_noted", warm=warm.warm_id, error=str(error))

    async def _forget_surplus(self) -> None:
        over = [warm for warm in self._warms.values() if warm.phase.is_over]
        for warm in over[:-KEPT_MAX]:
            del self._warms[warm.warm_id]
            await asyncio.to_thread(forget_warm, self._folder, warm.warm_id)

    def _new_id(self) -> str:
        stamp = datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y%m%dt%H%M%S")
        return f"{stamp}-{self._random.randbytes(4).hex()}"


def aims_at(one: WarmRequest, other: WarmRequest) -> bool:
    """Tell whether two requests want the same, whatever the rate and the deadline."""
    return (one.target, one.groups, one.deltas, one.supersede) == (
        other.target,
        other.groups,
        other.deltas,
        other.supersede,
    )
