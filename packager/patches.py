"""Make the deltas that lead from one published build to another, and store them.

    sources   for each chunk that is new, the old chunks it may be made of (``delta_sources.py``)
    runs      up to 16 MiB of them become one delta (``delta_runs.py``)
    encode    any worker; the smallest of several methods while the time allows, then a quick one
    pack      in order, what pays, into bundles; each is noted in a journal once it is stored
    index     last, so that whoever can see it can fetch all of it

Everything is read back from storage, so deltas can be made anywhere, long after the push. What is
made depends on the two builds, and on what is borrowed from other sets, as long as time allows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from chunks.chunk_id import CHUNK_ID_SIZE, ChunkId, Digest
from chunks.delta import (
    DELTA_SIZE_MAX,
    Delta,
    Effort,
    Method,
    make_delta,
)
from chunks.delta_bundle import DeltaBundleWriter, PackedDelta
from kit.clock import Clock
from kit.concurrency import core_count, in_order, to_its_end
from manifests.changes import missing_rows
from manifests.delta_index import StoredDelta, encode_delta_index
from manifests.documents import ObjectRef
from manifests.model import Build, BundleRef
from packager.chunk_source import ChunkSource
from packager.delta_journal import DeltaJournal, JournaledDelta, name_of_delta
from packager.delta_runs import Run, runs_of, size_of
from packager.delta_sources import find_sources
from packager.published import stored_bundles
from packager.settings import DeltaSettings
from packager.title_store import TitleStore

SAVED_SIZE_MIN = 4096
SAVED_PERCENT_MIN = 1
"""A delta that saves less is not kept: a player's console would work for next to nothing. Of large
ones that save two hundredths there are many where a release brings much that is compressed."""

DELTA_MEMORY = 240 << 20
"""What one delta under way takes at most: 24 MiB of base, its suffix array and the match cache."""


@dataclass(slots=True)
class DeltaTally:
    """What the making of a delta set came to; sizes in bytes."""

    missing_size: int = 0
    """Plain bytes of the chunks that are new."""
    done_size: int = 0
    """Of them, looked at so far."""
    count: int = 0
    """Deltas kept, borrowed ones too."""
    size: int = 0
    """Of the deltas kept."""
    target_size: int = 0
    """Plain bytes of the chunks they make."""
    plain_size: int = 0
    """What these chunks take as they are stored."""
    borrowed_count: int = 0
    """Deltas that other sets have, and that were not made again."""
    borrowed_size: int = 0
    resumed_count: int = 0
    """Deltas that an earlier attempt had stored."""
    quick_count: int = 0
    """Runs for which there was no time left to search."""
    cpu_seconds: float = 0.0
    """Spent on encoding, all threads together."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Borrowed:
    """What need not be made for a set, and what is left."""

    deltas: tuple[StoredDelta, ...]
    """Deltas of other sets; they make, of chunks of the old build, chunks that only the new has."""
    rows_left: tuple[int, ...]
    """Rows of the new build to be made; of any other that is missing it is known that none pays."""


@dataclass(frozen=True, slots=True)
class MadeDeltas:
    """A stored delta set that nobody is told of yet; ``index`` is None if no delta pays."""

    index: ObjectRef | None
    tally: DeltaTally


class _Packed(NamedTuple):
    """A delta in the bundle that is still open."""

    run: Run
    delta: Delta
    place: PackedDelta


async def make_deltas(
    store: TitleStore,
    old: Build,
    new: Build,
    *,
    settings: DeltaSettings,
    journal_path: Path,
    clock: Clock,
    borrowed: Borrowed | None = None,
    on_progress: Callable[[DeltaTally], None] = lambda _: None,
    workers: int | None = None,
) -> MadeDeltas:
    """Store the deltas from ``old`` to ``new`` and their index. No lock is needed.

    Args:
        store: Holds both builds.
        old: What consoles have.
        new: What they shall have.
        settings: Limits on time and memory.
        journal_path: A file that lets the same call go on after a kill.
        clock: Times it.
        borrowed: What other sets have of it; by default everything is made.
        on_progress: Hears of every run that is done.
        workers: Threads that encode; by default one for each core.

    Raises:
        NotFound, IntegrityError, FormatError: A chunk of either build is missing or damaged.
        Unavailable: The storage did not answer.
        OutOfSpace: The storage, or the disk of the journal, is full.
    """
    started_s = clock.monotonic()
    count_max = max(1, settings.memory_max // DELTA_MEMORY)
    worker_count = min(workers or core_count(), count_max)
    threads = ThreadPoolExecutor(worker_count, "delta")
    try:
        maker = _Maker(
            store,
            ChunkSource(store, old, threads),
            ChunkSource(store, new, threads),
            settings=settings,
            journal=DeltaJournal(journal_path),
            threads=threads,
            ahead_max=worker_count + 1,
            clock=clock,
            on_progress=on_progress,
        )
        index = await maker.run(borrowed)
    finally:
        await asyncio.to_thread(threads.shutdown, cancel_futures=True)
    maker.tally.seconds = clock.monotonic() - started_s
    return MadeDeltas(index, maker.tally)


class _Maker:
    """One delta set in the making. Belongs to one event loop."""

    def __init__(
        self,
        store: TitleStore,
        old: ChunkSource,
        new: ChunkSource,
        *,
        settings: DeltaSettings,
        journal: DeltaJournal,
        threads: ThreadPoolExecutor,
        ahead_max: int,
        clock: Clock,
        on_progress: Callable[[DeltaTally], None],
    ) -> None:
        self.tally = DeltaTally()
        self._store = store
        self._old = old
        self._new = new
        self._settings = settings
        self._journal = journal
        self._journaled: dict[Digest, JournaledDelta] = {}
        self._threads = threads
        self._ahead_max = ahead_max
        self._clock = clock
        self._on_progress = on_progress
        self._writer = DeltaBundleWriter()
        self._open: list[_Packed] = []
        """What is in the writer."""
        self._stored: list[StoredDelta] = []

    async def run(self, borrowed: Borrowed | None) -> ObjectRef | None:
        rows = missing_rows(self._new.build, self._old.build.row_of.__contains__).tolist()
        self.tally.missing_size = size_of(self._new, rows)
        if borrowed is not None:
            rows = list(borrowed.rows_left)
            self._borrow(borrowed.deltas)
            self.tally.done_size = self.tally.missing_size - size_of(self._new, rows)
            self._on_progress(self.tally)
        if rows:
            await self._make(rows)
        await self._close_bundle()
        if not self._stored:
            return None
        return await self._store.put_manifest(await asyncio.to_thread(self._index))

    def _borrow(self, deltas: Sequence[StoredDelta]) -> None:
        for delta in deltas:
            self._keep([self._new.build.row_of[chunk_id] for chunk_id in delta.targets], delta)
            self.tally.borrowed_count += 1
            self.tally.borrowed_size += delta.size

    async def _make(self, rows: Sequence[int]) -> None:
        self._journaled = await self._resumable()
        sources = await find_sources(self._old, self._new, rows, self._threads)
        await in_order(
            runs_of(self._old, self._new, sources),
            self._encode,
            self._take,
            at_once=self._ahead_max,
        )

    async def _resumable(self) -> dict[Digest, JournaledDelta]:
        """Return what an earlier attempt stored, as far as it is there: a sweep may have been."""
        journaled = await asyncio.to_thread(self._journal.load)
        if not journaled:
            return {}
        stored = await stored_bundles(self._store)
        return {
            name: delta
            for name, delta in journaled.items()
            if stored.get(delta.bundle.bundle_id) == delta.bundle.size
        }

    async def _encode(self, run: Run) -> Delta | JournaledDelta | None:
        """Return a run's delta, made now or before; None if there is no time for it."""
        found = self._journaled.get(self._name(run, Effort.BEST))
        if found is not None:
            return found
        has_time = self.tally.cpu_seconds < self._settings.cpu_seconds_max
        if not has_time:
            self.tally.quick_count += 1
            found = self._journaled.get(self._name(run, Effort.QUICK))
            if found is not None or not run.old_rows:
                return found
        around = await self._new.read((*run.before, *run.rows, *run.after))
        base = await self._old.read(run.old_rows)
        start = size_of(self._new, run.before)
        end = start + size_of(self._new, run.rows)
        effort = Effort.BEST if has_time else Effort.QUICK
        encode = partial(_timed, around, start, end, base, effort)
        delta, cpu_s = await asyncio.get_running_loop().run_in_executor(self._threads, encode)
        self.tally.cpu_seconds += cpu_s
        return delta

    async def _take(self, run: Run, delta: Delta | JournaledDelta | None) -> None:
        """Keep a delta if it pays."""
        self.tally.done_size += size_of(self._new, run.rows)
        match delta:
            case JournaledDelta() if self._pays(run, delta.size):
                self.tally.resumed_count += 1
                self._keep(run.rows, self._described(run, delta))
            case Delta() if self._pays(run, len(delta.payload)):
                self._open.append(_Packed(run, delta, self._writer.add(delta.payload)))
                if self._writer.is_full:
                    await self._close_bundle()
        self._on_progress(self.tally)

    def _pays(self, run: Run, size: int) -> bool:
        if size > DELTA_SIZE_MAX:
            return False
        plain_size = self._plain_size(run.rows)
        saved_size = plain_size - size
        return saved_size >= SAVED_SIZE_MIN and saved_size * 100 >= plain_size * SAVED_PERCENT_MIN

    def _plain_size(self, rows: Sequence[int]) -> int:
        return int(self._new.build.chunks.stored_sizes[list(rows)].sum(dtype=np.uint64))

    async def _close_bundle(self) -> None:
        """Store the open bundle and note it: what was made by now is not made again."""
        if self._writer.is_empty:
            return
        bundle = await asyncio.to_thread(self._writer.close)
        await self._store.put_bundle(bundle)
        ref = BundleRef(bundle.bundle_id, len(bundle.data))
        named: list[tuple[Digest, StoredDelta]] = []
        for run, delta, packed in self._open:
            check = packed.digest[:CHUNK_ID_SIZE]
            place = JournaledDelta(delta.method, check, ref, packed.offset, packed.size)
            stored = self._described(run, place)
            named.append((self._name(run, delta.effort), stored))
            self._keep(run.rows, stored)
        await to_its_end(asyncio.to_thread(self._journal.append, named))
        self._writer, self._open = DeltaBundleWriter(), []

    def _described(self, run: Run, place: JournaledDelta) -> StoredDelta:
        return StoredDelta(
            targets=self._ids(self._new, run.rows),
            bases=() if place.method is Method.LZMA else self._ids(self._old, run.old_rows),
            method=place.method,
            check=place.check,
            bundle=place.bundle,
            offset=place.offset,
            size=place.size,
        )

    def _keep(self, rows: Sequence[int], stored: StoredDelta) -> None:
        self._stored.append(stored)
        self.tally.count += 1
        self.tally.size += stored.size
        self.tally.target_size += size_of(self._new, rows)
        self.tally.plain_size += self._plain_size(rows)

    def _index(self) -> bytes:
        sizes: dict[ChunkId, int] = {}
        for source in (self._old, self._new):
            sizes |= zip(source.build.chunks.all_ids(), source.sizes, strict=True)
        return encode_delta_index(self._stored, sizes)

    def _name(self, run: Run, effort: Effort) -> Digest:
        ids = self._ids(self._new, run.rows), self._ids(self._old, run.old_rows)
        return name_of_delta(*ids, effort)

    def _ids(self, source: ChunkSource, rows: Sequence[int]) -> tuple[ChunkId, ...]:
        return tuple(source.build.chunks.chunk_id(row) for row in rows)


def _timed(around: bytes, start: int, end: int, base: bytes, effort: Effort) -> tuple[Delta, float]:
    started_s = time.thread_time()
    view = memoryview(around)
    delta = make_delta(view[start:end], base, effort, before=view[:start], after=view[end:])
    return delta, time.thread_time() - started_s
