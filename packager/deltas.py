"""Add a delta set to a title that is published already, and list those there are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from kit.clock import Clock
from kit.errors import Conflict, NotFound
from manifests.documents import DeltaSet, ObjectRef, Release
from manifests.names import TitleId
from packager.delta_journal import DeltaJournal
from packager.delta_sets import NewSet, make_known, renew_heads
from packager.lock import Lock
from packager.patches import DeltaSettings, DeltaTally, make_deltas
from packager.published import stored_bundles
from packager.releases import find_release
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
    resumed_count: int
    quick_count: int
    """Runs for which there was no time left to search for the smallest delta."""
    cpu_seconds: float
    seconds: float
    was_there: bool = False
    """The set had been made before; nothing was done."""


async def add_deltas(
    store: TitleStore,
    lock: Lock,
    base: str | int | None,
    target: str | int | None,
    *,
    settings: DeltaSettings,
    cache_folder: Path,
    clock: Clock,
    on_progress: Callable[[DeltaTally], None] = lambda _: None,
    workers: int | None = None,
) -> DeltaReport:
    """Make the deltas from one release to another and tell every channel that can use them.

    The lock is taken only once they are stored: pushes need not wait. Ended early, the same call
    goes on from what is stored.

    Args:
        store: The title's objects.
        lock: Taken to make the set known.
        base: A counter or a version; by default the newest release before ``target`` that has
            another build.
        target: A counter or a version; by default the newest release.
        settings: Limits on time and memory.
        cache_folder: Holds the journal, by title.
        clock: Times it.
        on_progress: Hears of every run that is done.
        workers: Threads that encode; by default one for each core.

    Raises:
        NotFound: There is no such release, or a chunk of its build is missing.
        Conflict: Both are releases of one build, or the lock was not to be had or lost,
            or a sweep deleted what was resumed.
        IntegrityError, FormatError: Something of either build is damaged.
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
    known = [each for each in await store.delta_sets() if _leads(each, since, to)]
    if known:
        async with lock:
            await renew_heads(store, lock)
        return _known(known[0])
    journal_path = delta_journal_path(cache_folder, store.title)
    made = await make_deltas(
        store,
        await store.build(since.root),
        await store.build(to.root),
        settings=settings,
        journal_path=journal_path,
        clock=clock,
        on_progress=on_progress,
        workers=workers,
    )
    async with lock:
        if made.index is not None:
            await _check_stored(store, made.index)
            await lock.check_held()
            await make_known(store, NewSet(since, made.index, made.tally), to)
        await renew_heads(store, lock)
    await asyncio.to_thread(DeltaJournal(journal_path).delete)
    index_size = 0 if made.index is None else made.index.size
    return report_of(made.tally, since.counter, to.counter, index_size)


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


def report_of(tally: DeltaTally, base: int, target: int, index_size: int) -> DeltaReport:
    """Return a tally as it is reported."""
    return DeltaReport(
        base=base,
        target=target,
        count=tally.count,
        size=tally.size,
        index_size=index_size,
        target_size=tally.target_size,
        plain_size=tally.plain_size,
        missing_size=tally.missing_size,
        resumed_count=tally.resumed_count,
        quick_count=tally.quick_count,
        cpu_seconds=tally.cpu_seconds,
        seconds=tally.seconds,
    )


def _known(found: DeltaSet) -> DeltaReport:
    tally = DeltaTally(
        count=found.count,
        size=found.size,
        target_size=found.target_size,
        plain_size=found.plain_size,
    )
    report = report_of(tally, found.base, found.target, found.index.size)
    return msgspec.structs.replace(report, was_there=True)


def _leads(found: DeltaSet, base: Release, target: Release) -> bool:
    return (found.base, found.target) == (base.counter, target.counter)


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
