"""Make a build visible: pages, root, release, what vouches for it, and last the channel's head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from chunks.chunk_id import Digest
from kit.clock import Clock
from kit.concurrency import for_each
from kit.errors import Conflict
from manifests.documents import Head, ObjectRef, Release
from manifests.model import Build, Shard
from manifests.names import Channel, Version
from packager.build_writer import WrittenBuild
from packager.delta_sets import NewSet, make_known, refs_for
from packager.lock import Lock
from packager.published import Published
from packager.title_store import TitleStore
from packager.vouching import Voucher

PAGE_WRITES_AT_ONCE = 8
"""Pages are 256 KiB: eight hide S3's latency and hold 2 MiB."""

COUNTER_ATTEMPTS_MAX = 8
"""Under the title's lock the first one is free; more than a few taken ones are a bug."""

Outcome = Literal["published", "pointed", "unchanged", "dry-run"]


@dataclass(frozen=True, slots=True)
class Publication:
    """What became of a build: the release that the channel points to now, and what was done."""

    outcome: Outcome
    release: Release


async def publish(
    store: TitleStore,
    written: WrittenBuild,
    published: Published,
    *,
    version: Version,
    channel: Channel,
    lock: Lock,
    clock: Clock,
    voucher: Voucher,
    if_changed: bool,
    deltas: Sequence[NewSet] = (),
) -> Publication:
    """Point ``channel`` to a release of ``version`` that is this build, with few writes.

    ``deltas`` that lead to this build are made known with the release.

    A head only moves to a higher counter, for consoles refuse to go back. So an older release of
    the same version is used if the channel is below it, and is published again if not.

    Raises:
        Conflict: The lock was lost.
        Denied: It is not vouched for; the channel is where it was.
    """
    root = ObjectRef(digest=written.build.build_id.hex(), size=len(written.root))
    head, same_version = published.head(channel), published.latest(version)
    counter = 0 if head is None else head.release.counter
    if (
        head is not None
        and head.release.root == root
        and (if_changed or head.release.version == version)
    ):
        await voucher.vouch(head.release, channel)
        return Publication("unchanged", head.release)
    if same_version is not None and same_version.root == root and same_version.counter > counter:
        for each in deltas:
            await make_known(store, each, same_version)
        await _point(store, channel, same_version, lock, voucher)
        return Publication("pointed", same_version)
    await for_each(written.pages, store.put_manifest, at_once=PAGE_WRITES_AT_ONCE)
    await store.put_manifest(written.root)
    await lock.check_held()
    release = await _add_release(store, published.highest_counter + 1, version, root, clock)
    for each in deltas:
        await make_known(store, each, release)
    await _point(store, channel, release, lock, voucher)
    return Publication("published", release)


def refusal_of_new_chunks(
    published: Published, version: Version, stored: Mapping[Digest, int]
) -> Conflict | None:
    """Return what to raise as soon as the build shows a chunk that is not in storage.

    If ``version`` is published, and all of it is in storage, such a chunk can only be of other
    content; better said before gigabytes are stored.
    """
    same_version = published.latest(version)
    build = None if same_version is None else published.builds.get(same_version.root)
    if same_version is None or build is None:
        return None
    is_stored = all(stored.get(ref.bundle_id) == ref.size for ref in build.chunks.bundles)
    return _other_content(same_version) if is_stored else None


def check_version(published: Published, version: Version, build: Build) -> None:
    """Do nothing if ``version`` is new or has the content of ``build``.

    Raises:
        Conflict: It has another, or one that cannot be read any more.
    """
    same_version = published.latest(version)
    if same_version is None:
        return
    before = published.builds.get(same_version.root)
    if before is None or not is_same_content(before, build):
        raise _other_content(same_version)


def is_same_content(one: Build, other: Build) -> bool:
    """Tell whether two builds hold the same, wherever their chunks are stored."""
    return len(one.shards) == len(other.shards) and all(
        _is_same_shard(one, a, other, b) for a, b in zip(one.shards, other.shards, strict=True)
    )


def _is_same_shard(one: Build, a: Shard, other: Build, b: Shard) -> bool:
    if (a.name, a.entries) != (b.name, b.entries):
        return False
    ids = one.chunks.ids[a.occurrences].tobytes()
    return ids == other.chunks.ids[b.occurrences].tobytes()


def _other_content(release: Release) -> Conflict:
    return Conflict(
        f"version {release.version} of {release.title} is published, as release "
        f"{release.counter}, with other content: give this build a version of its own"
    )


async def _add_release(
    store: TitleStore, counter: int, version: Version, root: ObjectRef, clock: Clock
) -> Release:
    stamp = datetime.fromtimestamp(clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for attempt in range(COUNTER_ATTEMPTS_MAX):
        release = Release(
            title=store.title,
            counter=counter + attempt,
            version=version,
            created_at=stamp,
            root=root,
        )
        if await store.add_release(release):
            return release
        # A retry finds what an attempt stored whose answer was lost.
        if await store.release(release.counter) == release:
            return release
    raise Conflict(f"releases of {store.title} are being added by someone else; push again")


async def _point(
    store: TitleStore, channel: Channel, release: Release, lock: Lock, voucher: Voucher
) -> None:
    deltas = await refs_for(store, release)
    await lock.check_held()
    await voucher.vouch(release, channel)
    await lock.check_held()
    head = Head(title=store.title, channel=channel, release=release, deltas=deltas)
    await store.set_head(head)
