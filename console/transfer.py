"""Carry out a plan: fetch, copy, checkpoint, and put groups in place as they become complete.

Lanes move bytes; one keeper owns the journal. A lane receives a range into a buffer of its own
and hands it to a thread, so at most one range per lane is ever in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence

import numpy as np

from chunks.plan import FIRST_REQUEST_SIZE, RangeRequest
from console.durable import sync_files
from console.fetcher import Fetcher
from console.journal import Journal, checkpoint_of
from console.layout import Mask
from console.patcher import Patcher
from console.planner import Work, group_ends, requests_for
from console.progress import Meter
from console.safe_paths import Folder
from console.seeds import Copies, Rows
from console.settings import ConsoleSettings
from console.staging import Staging, Written
from console.workers import Workers
from kit.clock import Clock
from kit.concurrency import MemoryGate
from kit.errors import FormatError, NotFound, Unavailable
from kit.telemetry import get_logger
from manifests import locations
from manifests.delta_plan import DeltaRequest, Step
from manifests.model import Build
from manifests.names import TitleId

COPY_SIZE = 16 << 20
"""Bytes one thread copies at a time."""

log = get_logger("console")

Commit = Callable[[Sequence[int]], Awaitable[None]]


class Transfer:
    """One run over a :class:`Work`. Belongs to one event loop."""

    def __init__(
        self,
        *,
        build: Build,
        title: TitleId,
        work: Work,
        done: Mask,
        staging: Staging,
        staging_folder: Folder,
        patcher: Patcher,
        journal: Journal,
        fetcher: Fetcher,
        workers: Workers,
        settings: ConsoleSettings,
        clock: Clock,
        meter: Meter,
        commit: Commit,
        by_group: bool,
    ) -> None:
        """Bring all rows of ``work`` into ``staging``; ``commit`` puts complete groups in place.

        With ``by_group`` each group is committed as soon as it is complete, in order; without,
        all of them together at the end.
        """
        self._build = build
        self._title = title
        self._work = work
        self._done = done
        self._staging = staging
        self._staging_folder = staging_folder
        self._patcher = patcher
        self._patching = MemoryGate(settings.delta_memory_max)
        self._journal = journal
        self._fetcher = fetcher
        self._workers = workers
        self._settings = settings
        self._clock = clock
        self._meter = meter
        self._commit = commit
        self._by_group = by_group
        self._waiting = _waiting_rows(build, work, done)
        self._committed = 0
        self._fresh_rows: list[int] = []
        self._fresh_names: set[str] = set()
        self._fresh_size = 0
        self._checkpointed_at = clock.monotonic()
        self._wake = asyncio.Event()
        self._is_over = False

    async def run(self) -> None:
        """Do it all. However this ends, what was done is checkpointed and can be resumed."""
        await self._workers.run(self._staging.make_empty, self._work.changes.staged)
        await self._workers.run(self._staging.make_clones)
        # What an earlier attempt or the head start left is right, but maybe not durable yet.
        self._fresh_names.update(await self._workers.run(self._staging_folder.names))
        self._fresh_rows += np.flatnonzero(self._done).tolist()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep())
                await self._move()
                self._is_over = True
                self._wake.set()
        except BaseException:
            await self._checkpoint_if_possible()
            raise

    async def _move(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._fetch(self._work.missing, self._work.first_size))
            patching = tasks.create_task(self._patch())
            copying = tasks.create_task(self._copy())
        failed = patching.result() + copying.result()
        if failed:
            await self._fetch(np.array(sorted(failed), np.int64), FIRST_REQUEST_SIZE)

    async def _fetch(self, rows: Rows, first_size: int) -> None:
        """Fetch ``rows``, several ranges at once."""
        if len(rows) == 0:
            return
        size_max = self._settings.range_bytes_max
        windows = requests_for(self._build.chunks, rows, size_max, first_size=first_size)
        queue = _RequestQueue(windows, self._workers)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._settings.requests_at_once):
                tasks.create_task(self._lane(queue))

    async def _lane(self, queue: _RequestQueue) -> None:
        buffer = bytearray()
        while (request := await queue.take()) is not None:
            if len(buffer) < request.size:
                # Grown, not kept at the most: a small update should not take 64 MiB.
                buffer = bytearray(request.size)
            await self._fetch_range(request, memoryview(buffer)[: request.size])

    async def _fetch_range(self, request: RangeRequest, into: memoryview) -> None:
        async def accept() -> Written:
            return await self._workers.run(self._staging.put_range, request, into)

        bundle = self._build.chunks.bundles[request.bundle_index]
        key = locations.bundle_key(self._title, bundle.bundle_id)
        span = (request.start, request.end)
        written = await self._fetcher.get_span(key, span, into, accept)
        self._meter.fetched(written.read_size, written.size)
        self._note(written)

    async def _patch(self) -> list[int]:
        """Fetch and apply deltas, level by level; return the rows they did not bring."""
        failed: list[int] = []
        for level in self._work.patches.requests:
            waiting = iter(level)
            async with asyncio.TaskGroup() as tasks:
                for _ in range(min(self._settings.requests_at_once, len(level))):
                    tasks.create_task(self._patch_lane(waiting, failed))
        return failed

    async def _patch_lane(self, waiting: Iterator[DeltaRequest], failed: list[int]) -> None:
        for request in waiting:
            stored = memoryview(bytearray(request.span.size))
            try:
                await self._fetch_deltas(request, stored)
            except (NotFound, Unavailable) as error:
                for step in request.steps:
                    self._give_up(step, error, failed)
                continue
            async with asyncio.TaskGroup() as tasks:
                for step in request.steps:
                    payload = request.payload(step, stored)
                    tasks.create_task(self._apply(step, payload, failed))

    async def _fetch_deltas(self, request: DeltaRequest, into: memoryview) -> None:
        async def accept() -> None:
            """Whatever is wrong with a delta, plain chunks are soon at hand: ask no other edge."""

        key = locations.bundle_key(self._title, request.bundle.bundle_id)
        span = (request.span.start, request.span.end)
        patience_s = self._settings.delta_patience
        await self._fetcher.get_span(key, span, into, accept, patience_s=patience_s)

    async def _apply(self, step: Step, payload: memoryview, failed: list[int]) -> None:
        try:
            async with self._patching.room(step.memory):
                written = await self._workers.run(self._patcher.apply, step, payload)
        except FormatError as error:
            self._give_up(step, error, failed)
            return
        self._meter.made(written.read_size, written.size)
        self._note(written)

    def _give_up(self, step: Step, error: Exception, failed: list[int]) -> None:
        log.warning("deltas.given_up", delta=step.delta.check.hex(), error=str(error))
        self._meter.failed_deltas += 1
        failed += step.wanted_rows

    async def _copy(self) -> list[int]:
        """Copy what is here; return the rows that turned out not to be."""
        failed: list[int] = []

        def copy(batch: tuple[Copies, range]) -> Written:
            return self._staging.copy(*batch)

        batches = _copy_batches(self._build, self._work.copies)
        async for written in self._workers.each(copy, batches):
            self._meter.copied(written.read_size, written.size)
            failed += written.failed
            self._note(written)
        return failed

    def _note(self, written: Written) -> None:
        """Count finished rows, and wake the keeper when there is something for it to do."""
        rows = np.array(written.rows, np.int64)
        self._done[rows] = True
        self._waiting.finish(rows)
        self._fresh_rows += written.rows
        self._fresh_names |= written.names
        self._fresh_size += written.size
        if self._is_due() or (self._by_group and self._ready_groups()):
            self._wake.set()

    async def _keep(self) -> None:
        """Own the journal: checkpoint now and then, commit groups that are complete."""
        while True:
            is_over = self._is_over
            ready = self._ready_groups()
            if ready and (self._by_group or is_over):
                await self._checkpoint()
                await self._commit(ready)
                self._committed = ready[-1] + 1
            elif self._is_due():
                await self._checkpoint()
            if is_over:
                return
            await self._sleep()

    async def _sleep(self) -> None:
        """Return when woken, or when time alone calls for a checkpoint."""
        try:
            async with asyncio.timeout(self._settings.checkpoint.every):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    def _ready_groups(self) -> list[int]:
        """Return the groups to be committed next, if they are complete."""
        return list(range(self._committed, self._waiting.complete_groups()))

    def _is_due(self) -> bool:
        limits = self._settings.checkpoint
        waited_s = self._clock.monotonic() - self._checkpointed_at
        return self._fresh_size >= limits.every_bytes or (
            self._fresh_size > 0 and waited_s >= limits.every
        )

    async def _checkpoint(self) -> None:
        """Make everything written so far durable, then say so in the journal."""
        rows, names = self._fresh_rows, self._fresh_names
        self._fresh_rows, self._fresh_names, self._fresh_size = [], set(), 0
        self._checkpointed_at = self._clock.monotonic()
        if rows or names:
            await self._workers.run(self._make_durable, rows, sorted(names))

    def _make_durable(self, rows: list[int], names: list[str]) -> None:
        with self._staging_folder.clone() as folder:
            sync_files(folder, names)
        self._journal.append(checkpoint_of(np.array(rows, np.uint32)))

    async def _checkpoint_if_possible(self) -> None:
        # On a full disk: what is not checkpointed is verified again on resume.
        with contextlib.suppress(OSError):
            await self._checkpoint()


class _Waiting:
    """How many rows each group still waits for, beyond those of the groups before it."""

    def __init__(self, ends: Sequence[int], rows: Rows) -> None:
        self._ends = np.array(ends)
        self._counts = self._count(rows)

    def finish(self, rows: Rows) -> None:
        self._counts -= self._count(rows)

    def complete_groups(self) -> int:
        """Return how many groups from the first on lack nothing."""
        lacking = np.flatnonzero(self._counts)
        return int(lacking[0]) if len(lacking) else len(self._counts)

    def _count(self, rows: Rows) -> Rows:
        group_of_row = np.searchsorted(self._ends, rows, side="right")
        return np.bincount(group_of_row, minlength=len(self._ends)).astype(np.int64)


class _RequestQueue:
    """Hands out requests one by one; plans each window of them in a thread."""

    def __init__(self, windows: Iterator[list[RangeRequest]], workers: Workers) -> None:
        self._windows = windows
        self._workers = workers
        self._ready: deque[RangeRequest] = deque()
        self._planning = asyncio.Lock()

    async def take(self) -> RangeRequest | None:
        """Return the next request; None when there are no more."""
        async with self._planning:
            if not self._ready:
                self._ready.extend(await self._workers.run(next, self._windows, []))
            return self._ready.popleft() if self._ready else None


def _waiting_rows(build: Build, work: Work, done: Mask) -> _Waiting:
    wanted = work.layout.rows
    return _Waiting(group_ends(build), wanted[~done[wanted]].astype(np.int64))


def _copy_batches(build: Build, copies: Sequence[Copies]) -> Iterator[tuple[Copies, range]]:
    for each in copies:
        ends = np.cumsum(build.chunks.sizes[each.rows], dtype=np.int64)
        at = 0
        while at < len(ends):
            taken = int(ends[at - 1]) if at else 0
            end = max(at + 1, int(np.searchsorted(ends, taken + COPY_SIZE, side="right")))
            yield each, range(at, end)
            at = end
