"""Add delta sets to a title that is published already."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import msgspec

from kit.clock import Clock
from kit.errors import Conflict, NotFound
from manifests.documents import DeltaSet, ObjectRef, Release
from manifests.names import TitleId
from packager.delta_journal import DeltaJournal
from packager.delta_sets import NewSet, make_known, renew_heads
from packager.lock import Lock
from packager.own_sets import OwnSetOmitted
from packager.patches import DeltaTally, MadeDeltas
from packager.published import stored_bundles
from packager.release_sets import Making, OnProgress, SetOutcome, make_sets
from packager.releases import find_release
from packager.settings import DeltaSettings
from packager.title_store import TitleStore


class DeltaReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the making of a delta set did; sizes in bytes."""

    base: int
    """Counter of the release it leads from."""
    target: int
    """Counter of the release it leads to; 0 while that has none, in a push that waits."""
    count: int
    """Deltas; 0 if none pays."""
    size: int
    """Of all of them."""
    index_size: int
    target_size: int
    """Plain bytes of the chunks they make."""
    plain_size: int
    """What a console fetches for these chunks without deltas."""
    missing_size: int
    """Plain bytes of all chunks that the target has and the base has not."""
    borrowed_count: int = 0
    """Deltas, of all there are, that other sets have too: they were not made again."""
    borrowed_size: int = 0
    resumed_count: int
    quick_count: int
    """Runs for which there was no time left to search for the smallest delta."""
    cpu_seconds: float
    seconds: float
    was_there: bool = False
    """The set had been made before; nothing was done."""
    omitted: OwnSetOmitted | None = None
    """Why this build has no set of its own and goes by those of the releases between."""


async def add_deltas(
    store: TitleStore,
    new_lock: Callable[[], Lock],
    base: str | int | None,
    target: str | int | None,
    *,
    settings: DeltaSettings,
    cache_folder: Path,
    clock: Clock,
    on_progress: OnProgress = lambda _, __: None,
    workers: int | None = None,
) -> AsyncIterator[DeltaReport]:
    """Make the deltas to a release and tell every channel that can use them.

    First come those from ``base``, then those from builds before it, as far as ``settings`` reach
    and as they pay; each set is yielded once heads name it. A lock is taken only then: pushes need
    not wait. Ended early, the same call goes on from what is stored.

    Args:
        store: The title's objects.
        new_lock: Makes one for each set, taken to make it known.
        base: A counter or a version; by default the newest release before ``target`` that has
            another build.
        target: A counter or a version; by default the newest release.
        settings: Limits on time, memory and reach.
        cache_folder: Holds the journal, by title.
        clock: Times it.
        on_progress: Hears of every run that is done.
        workers: Threads that encode; by default one for each core.

    Raises:
        NotFound: There is no such release, or a chunk of its build is missing.
        Conflict: Both are releases of one build, or a lock was not to be had or lost,
            or a sweep deleted what was resumed.
        IntegrityError, FormatError: Something of a build is damaged.
        Unavailable: The storage did not answer.
    """
    releases = await store.releases()
    to = chosen_release(store.title, releases, target)
    since = (
        _before(store.title, releases, to)
        if base is None
        else find_release(store.title, releases, base)
    )
    if since.root == to.root:
        raise Conflict(
            f"releases {since.counter} and {to.counter} of {store.title} are of one build:"
            " there is nothing to make"
        )
    known = [each for each in await store.delta_sets() if each.target == to.counter]
    making = Making(
        settings, delta_journal_path(cache_folder, store.title), clock, on_progress, workers
    )
    async for outcome in make_sets(store, since, await store.build(to.root), making, known):
        if not isinstance(outcome.what, OwnSetOmitted):
            await _make_known(store, new_lock(), outcome, to)
        yield outcome_report(outcome, to.counter)
    await asyncio.to_thread(DeltaJournal(making.journal_path).delete)


async def _make_known(store: TitleStore, lock: Lock, outcome: SetOutcome, to: Release) -> None:
    """Let every head name a set that it should name."""
    async with lock:
        new_set = new_set_of(outcome)
        if new_set is not None:
            await _check_stored(store, new_set.index)
            await lock.check_held()
            await make_known(store, new_set, to)
        await renew_heads(store, lock)


async def _check_stored(store: TitleStore, ref: ObjectRef) -> None:
    """Do nothing if all of a delta set is there: what was resumed may have been swept meanwhile.

    Raises:
        Conflict: Some of it is not; made again it is.
    """
    stored = await stored_bundles(store)
    try:
        bundles = (await store.delta_index(ref)).bundles
    except NotFound:
        bundles = ()
    if not bundles or any(stored.get(each.bundle_id) != each.size for each in bundles):
        raise Conflict(f"deltas of {store.title} were swept while more were made; run it again")


def delta_journal_path(cache_folder: Path, title: TitleId) -> Path:
    """Return where the making of a title's deltas notes what it has stored."""
    return cache_folder / f"{title}.deltas"


def new_set_of(outcome: SetOutcome) -> NewSet | None:
    """Return what is to be made known; None if that is nothing, or known already."""
    match outcome.what:
        case MadeDeltas(index=ObjectRef() as index, tally=tally):
            return NewSet(outcome.base, index, tally)
        case _:
            return None


def outcome_report(outcome: SetOutcome, target: int) -> DeltaReport:
    """Return what became of a set as it is reported; ``target`` is 0 while there is no counter."""
    base = outcome.base.counter
    match outcome.what:
        case MadeDeltas(index=index, tally=tally):
            return _report(tally, base, target, 0 if index is None else index.size)
        case DeltaSet() as found:
            return msgspec.structs.replace(
                _report(_known_tally(found), base, target, found.index.size), was_there=True
            )
        case OwnSetOmitted() as omitted:
            return msgspec.structs.replace(_report(DeltaTally(), base, target, 0), omitted=omitted)


def _report(tally: DeltaTally, base: int, target: int, index_size: int) -> DeltaReport:
    return DeltaReport(
        base=base,
        target=target,
        count=tally.count,
        size=tally.size,
        index_size=index_size,
        target_size=tally.target_size,
        plain_size=tally.plain_size,
        missing_size=tally.missing_size,
        borrowed_count=tally.borrowed_count,
        borrowed_size=tally.borrowed_size,
        resumed_count=tally.resumed_count,
        quick_count=tally.quick_count,
        cpu_seconds=tally.cpu_seconds,
        seconds=tally.seconds,
    )


def _known_tally(found: DeltaSet) -> DeltaTally:
    return DeltaTally(
        count=found.count,
        size=found.size,
        target_size=found.target_size,
        plain_size=found.plain_size,
    )


def chosen_release(title: TitleId, releases: Sequence[Release], which: str | int | None) -> Release:
    """Return the release with this counter, the newest of this version, or the newest of all.

    Raises:
        NotFound: There is none.
    """
    if which is not None:
        return find_release(title, releases, which)
    if not releases:
        raise NotFound(f"title {title}: nothing was published under this name")
    return releases[-1]


def _before(title: TitleId, releases: Sequence[Release], target: Release) -> Release:
    for release in reversed(releases):
        if release.counter < target.counter and release.root != target.root:
            return release
    raise NotFound(f"title {title} has no other build before release {target.counter}")
