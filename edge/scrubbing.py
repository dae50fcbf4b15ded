"""Reading all that is cached again, slowly: what rots is found before anybody asks for it.

Each worker goes round the shelves that it writes, blob by blob as they lie on the disk, around
memory where that can be. What is not as it was is dropped and asked for again, by the same way as
for a player, so that breakers and budgets of retries hold.

Where it is, it notes with each segment, in the shelf: a restart goes on from there, and another
number of workers does, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec

from chunks.chunk_id import Digest
from edge.fill import Blob, Blobs
from edge.metrics import EdgeMetrics
from edge.store.checking import Check, Checked
from edge.store.segments import Segment, shelf_folder
from edge.store.store import Store
from kit.clock import Clock
from kit.errors import PlayheadError
from kit.rate_limit import RateLimit
from kit.telemetry import get_logger
from kit.units import KIB

log = get_logger("edge.scrub")

COST_MIN = 64 * KIB
"""What a small blob counts as at least, in bytes: to open a file and to seek costs as much."""
LOOK_EVERY_S = 0.05
YIELD_MAX_S = 5.0
"""It stands back while others wait for the disk, but so long for one blob at most: where they
always do, a megabyte in five seconds hurts nobody, and a pass still ends."""
IDLE_S = 5.0
"""Between two looks whether something is due."""
PROGRESS_NAME = "scrub.json"

Find = Callable[[str], Awaitable[Blob]]
"""Returns what upstream has at a path."""


class Progress(msgspec.Struct, frozen=True):
    """How far the scrubbing of a shelf is; its file, as JSON."""

    ended_s: float = 0.0
    """When the last whole pass did, Unix epoch; 0 if there was none."""
    begun_s: float = 0.0
    """When the pass that is under way did, or the last one."""
    since_s: float = 0.0
    """When the first did."""
    next_segment: int = 0
    """Where the pass that is under way goes on; 0 if none is."""


class Scrub:
    """Scrubs the shelves of one worker, as long as it is open. Belongs to one event loop."""

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        find: Find,
        *,
        folder: Path,
        bytes_per_s: float,
        every_s: float,
        clock: Clock,
        metrics: EdgeMetrics,
    ) -> None:
        """Read ``bytes_per_s`` of ``store`` at most, 0 for none, each blob once in ``every_s``."""
        self._store = store
        self._blobs = blobs
        self._find = find
        self._folder = folder
        self._bytes_per_s = bytes_per_s
        self._every_s = every_s
        self._limit = RateLimit(max(1, int(bytes_per_s)), clock)
        self._clock = clock
        self._metrics = metrics
        self._progress: dict[int, Progress] = {}
        metrics.watch(
            "scrub_pass_age_seconds",
            "Since a whole pass over the cache ended, of the part that waits longest.",
            self.age_s,
        )

    def age_s(self) -> float:
        """Return since when some of what is cached was not read again; 0 if nothing is late."""
        begun = [each.ended_s or each.since_s for each in self._progress.values()]
        ages = [self._clock.now() - begun_s for begun_s in begun if begun_s]
        return max(0.0, *ages) if ages else 0.0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Scrub until the block is left, which ends it at once."""
        if not self._bytes_per_s:
            yield
            return
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        for shelf in self._store.shelves:
            self._progress[shelf] = await asyncio.to_thread(self._read, shelf)
        while True:
            due = self._due()
            if due is None:
                await asyncio.sleep(min(IDLE_S, self._every_s))
            else:
                await self._pass(due)
                await asyncio.sleep(LOOK_EVERY_S)

    def _due(self) -> int | None:
        """Return the shelf to go on with: one in the midst of a pass, or the first that is due."""
        now = self._clock.now()
        for shelf, progress in self._progress.items():
            if progress.next_segment:
                return shelf
        begun_s, first = min((each.begun_s, shelf) for shelf, each in self._progress.items())
        return first if now >= begun_s + self._every_s else None

    async def _pass(self, shelf: int) -> None:
        progress, now = self._progress[shelf], self._clock.now()
        if not progress.next_segment:
            progress = msgspec.structs.replace(
                progress, begun_s=now, since_s=progress.since_s or now
            )
        for segment in self._store.segments_on(shelf):
            if segment.number >= progress.next_segment:
                await self._scrub(segment)
                progress = msgspec.structs.replace(progress, next_segment=segment.number + 1)
                await self._note(shelf, progress)
        ended_s = self._clock.now()
        ended = msgspec.structs.replace(progress, ended_s=ended_s, next_segment=0)
        await self._note(shelf, ended)

    async def _scrub(self, segment: Segment) -> None:
        for name in await self._store.names_in(segment):
            at = self._store.locate(name)
            if at is None:
                continue
            await self._limit.take(max(COST_MIN, at.size))
            await self._stand_back()
            check = await self._store.check(name)
            if check.found is Checked.GONE:
                continue
            self._metrics.scrubbed_bytes.inc(at.size)
            if check.found is Checked.DAMAGED:
                self._metrics.scrub_rotten.inc()
                await self._mend(name, check)

    async def _stand_back(self) -> None:
        """Wait while others wait for the disk."""
        for _ in range(round(YIELD_MAX_S / LOOK_EVERY_S)):
            if not self._store.is_busy:
                return
            await asyncio.sleep(LOOK_EVERY_S)

    async def _mend(self, name: Digest, check: Check) -> None:
        """Ask for what was damaged again, and pin it as it was."""
        try:
            blob = await self._find(check.path)
            if blob.name == name:
                await self._blobs.begin(blob).landed()
                await self._blobs.settled(name)
        except PlayheadError as error:
            log.warning("scrub.not_mended", name=name.hex(), path=check.path, detail=str(error))
            return
        if name in self._store:
            self._metrics.scrub_repaired.inc()
            log.info("scrub.mended", name=name.hex(), path=check.path)
            if check.pinned_until:
                self._store.pin([name], check.pinned_until)

    async def _note(self, shelf: int, progress: Progress) -> None:
        self._progress[shelf] = progress
        await asyncio.to_thread(self._write, shelf, progress)

    def _read(self, shelf: int) -> Progress:
        try:
            return msgspec.json.decode(self._file(shelf).read_bytes(), type=Progress)
        except (OSError, msgspec.DecodeError):
            return Progress()

    def _write(self, shelf: int, progress: Progress) -> None:
        file = self._file(shelf)
        with suppress(OSError):  # a restart begins this shelf anew
            new = file.with_suffix(".new")
            new.write_bytes(msgspec.json.encode(progress))
            new.replace(file)

    def _file(self, shelf: int) -> Path:
        return shelf_folder(self._folder, shelf) / PROGRESS_NAME
