"""Delete what no live release needs.

A release is **live** if a channel points to it or did within the grace time, or if it is one of
the newest few, or new. Live releases need their roots, pages, bundles and slice lists; everything
else that is older than the grace time goes. So:

* A console that is amid a download when its channel moves on can finish it: it has the grace time.
* What a push left behind that died is kept for the grace time, for the same push to go on from.
* What cannot be told is not deleted: if one live release's manifest cannot be read, nothing is.

Delta sets live as long as a channel's head names them.

Things are deleted in the reverse of the order in which a push stores them: releases, then roots,
pages and delta indexes, then slice lists, then bundles. So a release or slice list that can be
found is complete at every moment; a sweep that was killed leaves only objects that nothing refers
to, and the next one, which plans afresh, deletes them.

No push can build on what is being deleted: both hold the title's lock. Ages are told by the
storage's own clock, whatever ours says.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from chunks.chunk_id import Digest
from kit.concurrency import for_each
from kit.errors import Conflict, FormatError, IntegrityError, InvalidInput, NotFound
from kit.object_storage import ObjectStat
from manifests import locations
from manifests.documents import PageRef, Release
from manifests.page import parse_page
from packager.settings import SweepSettings
from packager.title_store import TitleStore
from packager.writer_lock import WriterLock

DELETES_AT_ONCE = 500
"""So often the lock is looked at; on S3 one request, on a disk well under a second."""

PAGES_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class LiveRelease:
    """A release whose objects are kept, and why."""

    release: Release
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Deletion:
    """An object to delete: its size in bytes, and why."""

    key: str
    size: int
    why: str


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """What a sweep would do; ``stages`` are carried out one after the other."""

    live: tuple[LiveRelease, ...]
    stages: tuple[tuple[Deletion, ...], ...]
    spared_count: int
    """Objects that no live release needs, but younger than the grace time."""
    spared_size: int
    """Their bytes."""

    @property
    def count(self) -> int:
        """How many objects it deletes."""
        return sum(map(len, self.stages))

    @property
    def size(self) -> int:
        """How many bytes that frees."""
        return sum(deletion.size for stage in self.stages for deletion in stage)


async def plan_sweep(store: TitleStore, lock: WriterLock, settings: SweepSettings) -> SweepPlan:
    """Return what to delete of a title; deletes nothing.

    Raises:
        Conflict: What a live release needs cannot be told, as something of it is missing or
            damaged; it is named. Or the lock was lost.
        Unavailable: The storage did not answer.
    """
    oldest_kept_s = await lock.storage_now() - settings.grace
    stored = await _stored(store)
    live = await _live(store, stored.releases, settings.keep, oldest_kept_s)
    needed = await _needed(store, live)
    spared: list[ObjectStat] = []

    def stage(stats: Iterable[ObjectStat], why: str) -> tuple[Deletion, ...]:
        unneeded = [stat for stat in stats if stat.key not in needed]
        spared.extend(stat for stat in unneeded if stat.modified_at >= oldest_kept_s)
        old = (stat for stat in unneeded if stat.modified_at < oldest_kept_s)
        return tuple(Deletion(stat.key, stat.size, why) for stat in old)

    stages = (
        stage(stored.delta_sets, "delta set that no channel names"),
        stage(stored.releases.values(), "release superseded and older than what is kept"),
        stage(stored.manifests, "root, page or delta index of no live release"),
        stage(stored.slice_lists, "slice list of a bundle that no live release needs"),
        stage(_as_young_as_their_lists(stored), "bundle that no live release needs"),
    )
    return SweepPlan(tuple(live), stages, len(spared), sum(stat.size for stat in spared))


async def sweep(
    store: TitleStore,
    lock: WriterLock,
    plan: SweepPlan,
    on_progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Carry out ``plan``, made under this same lock; ``on_progress`` hears how many are deleted.

    Raises:
        Conflict: The lock was lost; what was deleted so far was right to delete.
        Unavailable: The storage did not answer. Sweep again to delete the rest.
    """
    deleted_count = 0
    for stage in plan.stages:
        for start in range(0, len(stage), DELETES_AT_ONCE):
            batch = stage[start : start + DELETES_AT_ONCE]
            await lock.check_held()
            await store.storage.delete([deletion.key for deletion in batch])
            deleted_count += len(batch)
            on_progress(deleted_count)


@dataclass(frozen=True, slots=True)
class _Stored:
    """A title's objects that a sweep may delete. What has a strange name is none of them."""

    releases: dict[int, ObjectStat]
    """By counter."""
    delta_sets: list[ObjectStat]
    manifests: list[ObjectStat]
    slice_lists: list[ObjectStat]
    bundles: list[ObjectStat]


async def _stored(store: TitleStore) -> _Stored:
    async def named(prefix: str, pattern: str) -> list[ObjectStat]:
        name = re.compile(re.escape(prefix) + pattern)
        return [s async for s in store.storage.list(prefix) if name.fullmatch(s.key)]

    digest = "[0-9a-f]{64}"
    releases_prefix = locations.releases_prefix(store.title)
    releases = await named(releases_prefix, "[0-9]{10}")
    return _Stored(
        {int(stat.key.removeprefix(releases_prefix)): stat for stat in releases},
        await named(locations.delta_sets_prefix(store.title), "[0-9]{10}-[0-9]{10}"),
        await named(locations.manifests_prefix(store.title), digest),
        await named(locations.slice_lists_prefix(store.title), digest),
        await named(locations.bundles_prefix(store.title), digest),
    )


async def _live(
    store: TitleStore, stored: dict[int, ObjectStat], keep: int, oldest_kept_s: float
) -> list[LiveRelease]:
    """Return the live releases, oldest first."""
    with _nothing_deleted(f"what the channels of {store.title} point to"):
        heads = await store.heads()
    reasons: dict[int, list[str]] = {head.release.counter: [] for head in heads}
    for head in heads:
        reasons[head.release.counter].append(f"channel {head.channel} points to it")
    for counter in sorted(stored)[-keep:]:
        reasons.setdefault(counter, []).append(f"one of the newest {keep}")
    for counter, stat in stored.items():
        if stat.modified_at >= oldest_kept_s:
            reasons.setdefault(counter, []).append(
                "new, or left by a channel, within the grace time"
            )
    headed = {head.release.counter: head.release for head in heads}
    live: list[LiveRelease] = []
    for counter in sorted(reasons):
        with _nothing_deleted(f"what release {counter} of {store.title} is"):
            release = await store.release(counter) if counter in stored else headed[counter]
            if headed.get(counter, release) != release:
                raise FormatError("a channel's head holds another release of this counter")
        live.append(LiveRelease(release, tuple(reasons[counter])))
    return live


async def _needed(store: TitleStore, live: Sequence[LiveRelease]) -> set[str]:
    """Return the keys of all objects that ``live`` needs."""
    title = store.title
    needed = {locations.release_key(title, one.release.counter) for one in live}
    for ref, release in {one.release.root: one.release for one in live}.items():
        what = f"what release {release.counter} ({release.version}) of {title} needs"
        with _nothing_deleted(what):
            root = await store.root(ref)
            pages = [page for group in root.groups for page in group.pages]
            needed |= {locations.manifest_key(title, of.raw_digest) for of in (ref, *pages)}
            read = functools.partial(_bundles_of_page, store)
            for bundle_ids in await for_each(pages, read, at_once=PAGES_AT_ONCE):
                needed |= {locations.bundle_key(title, id_) for id_ in bundle_ids}
                needed |= {locations.slice_list_key(title, id_) for id_ in bundle_ids}
    return needed | await _needed_deltas(store)


async def _needed_deltas(store: TitleStore) -> set[str]:
    """Return the keys of all that the delta sets need which channels name."""
    title, needed = store.title, set[str]()
    with _nothing_deleted(f"which delta sets the channels of {title} name"):
        heads = await store.heads()
        refs = [ref for head in heads for ref in head.deltas]
        named = {ref.index for ref in refs}
        manifests = [ref.manifest for ref in refs if ref.manifest is not None]
        for each in await store.delta_sets():
            if each.index in named:
                needed.add(locations.delta_set_key(title, each.base, each.target))
                manifests += [each.manifest] if each.manifest else []
        needed |= {locations.manifest_key(title, of.raw_digest) for of in (*named, *manifests)}
        for ref in named:
            for bundle in (await store.delta_index(ref)).bundles:
                needed.add(locations.bundle_key(title, bundle.bundle_id))
                needed.add(locations.slice_list_key(title, bundle.bundle_id))
    return needed


async def _bundles_of_page(store: TitleStore, ref: PageRef) -> set[Digest]:
    key = locations.manifest_key(store.title, ref.raw_digest)
    data = await store.storage.get(key, size_max=ref.size)
    page = await asyncio.to_thread(parse_page, data, ref)
    return {bundle.bundle_id for bundle in page.chunks.bundles}


@contextmanager
def _nothing_deleted(what: str) -> Iterator[None]:
    """Refuse to sweep if ``what`` cannot be told."""
    try:
        yield
    except (NotFound, IntegrityError, InvalidInput) as error:
        raise Conflict(
            f"nothing was deleted, as it cannot be told {what}: {error}. Mend that first (verify "
            "lists all that is wrong; pushing the build again stores what is missing)"
        ) from error


def _as_young_as_their_lists(stored: _Stored) -> Iterator[ObjectStat]:
    """Yield the bundles; a slice list promises its bundle, so while one is kept both are."""
    listed_at_s = {stat.key.rpartition("/")[2]: stat.modified_at for stat in stored.slice_lists}
    for stat in stored.bundles:
        list_at_s = listed_at_s.get(stat.key.rpartition("/")[2], stat.modified_at)
        yield dataclasses.replace(stat, modified_at=max(stat.modified_at, list_at_s))
