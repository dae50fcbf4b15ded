"""Publish a folder as a release of a title.

1. Scan the folder and put its files into install groups. Nothing is asked of the storage before.
2. Take the title's lock; see what it has published and stored.
3. Run the pipeline: new chunks are stored in bundles, each noted in the journal.
4. If asked to, make the deltas from what the channel plays, and from before (``release_sets.py``).
5. Store pages, root and release, have it vouched for, and last point the channel to it.

Whatever is visible is complete. A push that ends early leaves bundles and a journal; the same push
again goes on from them. A version names one content: pushing it again only moves the channel, and
pushing other content under it is refused, at the first chunk that tells.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from chunks.bundle import Bundle
from chunks.chunk_id import Digest
from kit.clock import Clock
from kit.concurrency import to_its_end
from kit.errors import PlayheadError
from kit.telemetry import get_logger
from manifests.changes import entry_changes
from manifests.model import Build
from manifests.names import Channel, Version
from packager.build_writer import WrittenBuild, write_build
from packager.delta_journal import DeltaJournal
from packager.delta_sets import NewSet
from packager.deltas import DeltaReport, delta_journal_path, new_set_of, outcome_report
from packager.explain import ChangeCounts, Explanation, count_changes, explain
from packager.file_cache import RACY_NS, SegmentChunks, load_file_cache, save_file_cache
from packager.first_steps import FirstSteps, first_steps_of
from packager.ignore_rules import load_ignore_rules
from packager.journal import PushJournal
from packager.known_chunks import KnownChunks
from packager.layout import Layout, PlannedGroup, arrange
from packager.ledger import Ledger
from packager.lock import Lock
from packager.pipeline import Pipeline, StageSeconds
from packager.progress import ProgressDisplay, Unseen
from packager.publish import (
    Outcome,
    Publication,
    check_version,
    publish,
    refusal_of_new_chunks,
)
from packager.published import Published, read_published, stored_bundles
from packager.release_sets import Making, OnProgress, make_sets
from packager.scan import scan
from packager.segments import Segment, segments_of
from packager.settings import DeltaSettings
from packager.title_store import TitleStore
from packager.vouching import Voucher
from packager.windows import WindowReader

log = get_logger("packager")


@dataclass(frozen=True, kw_only=True)
class PushRequest:
    """What to push, as what, and how."""

    source: Path
    """The folder."""
    version: Version
    """A label for people; one version, one content."""
    channel: Channel
    """Pointed to the release; made if it does not exist."""
    cache_folder: Path
    """Holds file caches and journals, by title."""
    layout: Layout | None = None
    """Install groups and play order; without it there is one group, sorted by path."""
    ignore: Sequence[str] = ()
    """Patterns of what is no part of the build, after those of ``.playheadignore``."""
    dry_run: bool = False
    """Do everything but store: compress, count and explain."""
    wait_deltas: DeltaSettings | None = None
    """Make the deltas from what the channel plays before it plays this; None leaves them out."""
    if_changed: bool = False
    """If the channel plays this very build, under whatever version, leave it at that."""


class PushReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a push did; sizes in bytes."""

    title: str
    version: str
    channel: str
    outcome: Outcome
    """``published``: there is a new release. ``pointed``: the channel moved to one that was there.
    ``unchanged``: the channel was there already."""
    counter: int | None
    """Of the release the channel points to now; None for a dry run."""
    build_id: str
    entry_count: int
    build_size: int
    """Of all files."""
    stored_size: int
    """Of the build's chunks as they are stored: what an install downloads."""
    read_size: int
    """Read from files; 0 if none had changed."""
    chunk_count: int
    """Distinct chunks of the build; the neither new nor resumed ones were published before."""
    new_chunk_count: int
    resumed_chunk_count: int
    """Stored by an earlier push that did not finish."""
    bundle_count: int
    """New bundles; a dry run stores none of them."""
    uploaded_size: int
    changes: ChangeCounts
    """Against what the channel pointed to before."""
    explanation: Explanation | None
    """Of a dry run."""
    previous_counter: int | None
    """Of the release the channel pointed to before; None if there was none."""
    deltas: tuple[DeltaReport, ...] | None
    """From that one to this, then from those before it; None if none were made, or not yet."""
    first_steps: FirstSteps
    """What a fresh install begins with."""
    start_troubles: tuple[str, ...]
    """What makes installs start late, for people; mostly nothing does."""
    stage_seconds: StageSeconds
    total_seconds: float


@dataclass(frozen=True)
class _Plan:
    """What is to be pushed, known before anything is read or asked of the storage."""

    groups: list[PlannedGroup]
    segments: list[Segment]
    settled_before_ns: int
    """Files touched later than this may have been written again since, unnoticed."""

    @property
    def size(self) -> int:
        return sum(segment.size for segment in self.segments)


@dataclass(frozen=True)
class _Stock:
    """What need not be done again."""

    known: KnownChunks
    cache: dict[bytes, SegmentChunks]

    def chunks_of(self, segment: Segment) -> SegmentChunks | None:
        """Return a segment's chunks if it is unchanged and all of them are in storage."""
        chunks = self.cache.get(segment.key)
        if chunks is None or not all(chunk_id in self.known for chunk_id, _ in chunks):
            return None
        return chunks


async def push(
    store: TitleStore,
    request: PushRequest,
    *,
    lock: Lock,
    clock: Clock,
    voucher: Voucher,
    display: ProgressDisplay | None = None,
    on_deltas: OnProgress = lambda _, __: None,
    workers: int | None = None,
) -> PushReport:
    """Publish a folder as a release and point a channel to it.

    Args:
        store: The title's objects.
        request: What to push.
        lock: Taken for all but the scan; a dry run does without.
        clock: Stamps the release and times the stages.
        voucher: Has the release vouched for before the channel plays it.
        display: Is shown the progress.
        on_deltas: Hears of that of deltas, if they are waited for.
        workers: Threads that hash and compress; by default one for each core.

    Raises:
        InvalidInput: The folder cannot be published; up to twenty reasons are named.
        Conflict: The version exists with other content, or the lock was not to be had or lost.
        OutOfSpace: The storage, or the disk of the cache folder, is full.
        Unavailable: The storage did not answer.
        Denied: The release is not vouched for: its title is another publisher's.
        In every case the channel is where it was, and the same push goes on from what is stored.
    """
    started_s = clock.monotonic()
    plan = await asyncio.to_thread(_plan, request, clock)
    async with nullcontext() if request.dry_run else lock:
        published = await read_published(store, request.channel, request.version)
        ledger, pipeline = await _package(
            store,
            request,
            plan,
            published,
            clock=clock,
            display=display or Unseen(),
            workers=workers,
        )
        written = await asyncio.to_thread(write_build, store.title, plan.groups, ledger)
        await asyncio.to_thread(check_version, published, request.version, written.build)
        publication, deltas = None, None
        if not request.dry_run:
            making = _making(store, request, clock, on_deltas)
            new_sets, deltas = await _wait_deltas(store, making, request, published, written.build)
            publication = await publish(
                store,
                written,
                published,
                version=request.version,
                channel=request.channel,
                lock=lock,
                clock=clock,
                voucher=voucher,
                if_changed=request.if_changed,
                deltas=new_sets,
            )
            await asyncio.to_thread(_remember, store, request, plan, ledger)
    return await asyncio.to_thread(
        _report,
        request,
        published,
        written,
        publication=publication,
        deltas=deltas,
        pipeline=pipeline,
        ledger=ledger,
        total_seconds=clock.monotonic() - started_s,
    )


def _plan(request: PushRequest, clock: Clock) -> _Plan:
    settled_before_ns = int(clock.now() * 1e9) - RACY_NS
    rules = load_ignore_rules(request.source, request.ignore)
    groups = arrange(scan(request.source, rules), request.layout)
    return _Plan(groups, list(segments_of(groups)), settled_before_ns)


async def _package(
    store: TitleStore,
    request: PushRequest,
    plan: _Plan,
    published: Published,
    *,
    clock: Clock,
    display: ProgressDisplay,
    workers: int | None,
) -> tuple[Ledger, Pipeline]:
    """Cut the build and store what is missing of it."""
    journal = PushJournal(_journal_path(store, request))
    stored = await stored_bundles(store)
    stock = await asyncio.to_thread(_stock, store, request, published, stored)
    journaled = [] if request.dry_run else await asyncio.to_thread(journal.load)
    ledger = Ledger(
        len(plan.groups),
        stock.known,
        [bundle for bundle in journaled if stored.get(bundle.bundle_id) == bundle.size],
        refusal_of_new_chunks(published, request.version, stored),
    )

    async def store_bundle(bundle: Bundle) -> None:
        if not request.dry_run:
            await store.put_bundle(bundle)
            await to_its_end(asyncio.to_thread(journal.append, bundle))

    pipeline = Pipeline(
        WindowReader(request.source, plan.segments, stock.chunks_of),
        ledger,
        store_bundle,
        total_size=plan.size,
        clock=clock,
        display=display,
        workers=workers,
    )
    await pipeline.run()
    return ledger, pipeline


def _making(
    store: TitleStore, request: PushRequest, clock: Clock, on_deltas: OnProgress
) -> Making | None:
    if request.wait_deltas is None:
        return None
    journal_path = delta_journal_path(request.cache_folder, store.title)
    return Making(request.wait_deltas, journal_path, clock, on_deltas)


async def _wait_deltas(
    store: TitleStore,
    making: Making | None,
    request: PushRequest,
    published: Published,
    build: Build,
) -> tuple[list[NewSet], tuple[DeltaReport, ...] | None]:
    """Make the deltas from what the channel plays, if that is asked for and there is anything."""
    head = published.head(request.channel)
    before = None if head is None else published.builds.get(head.release.root)
    if making is None or head is None or before is None or before.build_id == build.build_id:
        return [], None
    outcomes = [each async for each in make_sets(store, head.release, build, making)]
    reports = tuple(outcome_report(each, 0) for each in outcomes)
    return [found for each in outcomes if (found := new_set_of(each)) is not None], reports


def _stock(
    store: TitleStore, request: PushRequest, published: Published, stored: Mapping[Digest, int]
) -> _Stock:
    known = KnownChunks((build.chunks for build in published.builds.values()), stored)
    return _Stock(known, load_file_cache(_cache_path(store, request)))


def _remember(store: TitleStore, request: PushRequest, plan: _Plan, ledger: Ledger) -> None:
    """Note how files were cut and forget the journals. The push is done: this may fail."""
    settled = {s.key for s in plan.segments if s.is_older_than(plan.settled_before_ns)}
    cuts = {key: chunks for key, chunks in ledger.cuts().items() if key in settled}
    try:
        save_file_cache(_cache_path(store, request), cuts)
        PushJournal(_journal_path(store, request)).delete()
        if request.wait_deltas is not None:
            DeltaJournal(delta_journal_path(request.cache_folder, store.title)).delete()
    except PlayheadError as error:
        log.warning("push.not_remembered", title=store.title, error=str(error))


def _cache_path(store: TitleStore, request: PushRequest) -> Path:
    return request.cache_folder / f"{store.title}.files"


def _journal_path(store: TitleStore, request: PushRequest) -> Path:
    return request.cache_folder / f"{store.title}.journal"


def _report(
    request: PushRequest,
    published: Published,
    written: WrittenBuild,
    *,
    publication: Publication | None,
    deltas: tuple[DeltaReport, ...] | None,
    pipeline: Pipeline,
    ledger: Ledger,
    total_seconds: float,
) -> PushReport:
    head = published.head(request.channel)
    before = None if head is None else published.builds.get(head.release.root)
    build, first_steps = written.build, first_steps_of(written)
    entry_count = sum(len(shard.entries) for shard in build.shards)
    is_same = before is not None and before.build_id == build.build_id
    return PushReport(
        title=build.root.title,
        version=request.version,
        channel=request.channel,
        outcome="dry-run" if publication is None else publication.outcome,
        counter=None if publication is None else publication.release.counter,
        build_id=build.build_id.hex(),
        entry_count=entry_count,
        build_size=build.installed_size,
        stored_size=int(build.chunks.stored_sizes.sum(dtype=np.uint64)),
        read_size=pipeline.tally.read_size,
        chunk_count=len(build.chunks),
        new_chunk_count=ledger.new_count,
        resumed_chunk_count=ledger.resumed_count,
        bundle_count=pipeline.tally.bundle_count,
        uploaded_size=pipeline.tally.uploaded_size,
        changes=(
            ChangeCounts(unchanged=entry_count)
            if is_same
            else count_changes(entry_changes(before, build))
        ),
        explanation=explain(before, build) if request.dry_run else None,
        previous_counter=None if head is None else head.release.counter,
        deltas=deltas,
        first_steps=first_steps,
        start_troubles=first_steps.too_large(),
        stage_seconds=pipeline.seconds,
        total_seconds=total_seconds,
    )
