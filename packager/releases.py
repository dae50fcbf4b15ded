"""Releases of a title: list them, move a channel forward to one, or roll a channel back.

A console refuses a release whose counter is lower than one it has seen. So a channel only ever
moves to a higher counter, and rolling back is a *new* release of the older build. It keeps the
older one's version, for a version is a label for people and says which build they play: that two
releases share a version then means that they share a build.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from kit.clock import Clock
from kit.concurrency import for_each
from kit.errors import Conflict, IntegrityError, InvalidInput, NotFound
from manifests.documents import Head, ObjectRef, Release
from manifests.names import Channel, TitleId
from packager.delta_sets import refs_for
from packager.title_store import TitleStore
from packager.vouching import Voucher
from packager.writer_lock import WriterLock

ROOT_READS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class ReleaseRow:
    """One line of a title's list of releases."""

    release: Release
    installed_size: int | None
    """Bytes of all files; None if the root cannot be read."""
    channels: tuple[Channel, ...]
    """Those that point to it now."""


@dataclass(frozen=True, slots=True)
class Move:
    """Where a channel points now, and whether that is new."""

    head: Head
    is_new: bool


async def list_releases(store: TitleStore) -> list[ReleaseRow]:
    """Return every release of the title, newest first.

    Raises:
        NotFound: Nothing was published under this title.
        FormatError: A head or a release is damaged; it is named.
    """
    releases, heads = await _releases_and_heads(store)
    channels: defaultdict[int, list[Channel]] = defaultdict(list)
    for head in heads:
        channels[head.release.counter].append(head.channel)
    sizes = await _installed_sizes(store, {release.root for release in releases})
    return [
        ReleaseRow(release, sizes[release.root], tuple(channels[release.counter]))
        for release in reversed(releases)
    ]


async def promote(
    store: TitleStore, lock: WriterLock, which: str | int, channel: Channel, *, voucher: Voucher
) -> Move:
    """Point ``channel``, which may be new, to a release.

    ``which`` is a counter (a number), or a version (text), which means the newest release of it.

    Raises:
        NotFound: There is no such release, or its root is gone.
        Conflict: The channel points to a newer one, or the lock was lost.
        Denied: It is not vouched for; the channel stays where it is.
        IntegrityError, FormatError: Its root is damaged; the channel stays where it is.
    """
    releases, heads = await _releases_and_heads(store)
    chosen = find_release(store.title, releases, which)
    current = next((head for head in heads if head.channel == channel), None)
    if current is not None and current.release.counter > chosen.counter:
        raise Conflict(
            f"channel {channel} of {store.title} is at release {_name(current.release)}, newer "
            f"than {_name(chosen)}: consoles refuse to go back. Use rollback, which publishes "
            "the older build again"
        )
    return await _move(store, lock, channel, chosen, current, voucher=voucher)


async def rollback(
    store: TitleStore,
    lock: WriterLock,
    channel: Channel,
    to: str | int | None = None,
    *,
    clock: Clock,
    voucher: Voucher,
) -> Move:
    """Make ``channel`` play an older build, by a new release of it.

    ``to`` is a counter, a version, or None: the newest release before the channel's that has
    another build (of any channel: what a channel pointed to before is not recorded).

    If a release of that build newer than the channel's is there already, because this call was
    killed halfway or another channel was rolled back before, the channel moves to it instead.
    A channel that plays that build stays where it is.

    Raises:
        NotFound: There is no such channel or release, or its root is gone.
        Conflict: ``to`` is newer than what the channel plays, or the lock was lost.
        Denied: It is not vouched for; the channel stays where it is.
        IntegrityError, FormatError: The older build's root is damaged; nothing was changed.
    """
    releases, heads = await _releases_and_heads(store)
    current = next((head for head in heads if head.channel == channel), None)
    if current is None:
        raise NotFound(f"title {store.title} has no channel {channel}")
    at = current.release
    target = (
        _previous(store.title, releases, at)
        if to is None
        else find_release(store.title, releases, to)
    )
    if target.root == at.root:
        await voucher.vouch(at, channel)
        return Move(current, is_new=False)
    if not any(r.root == target.root and r.counter < at.counter for r in releases):
        raise Conflict(
            f"{store.title}: release {_name(target)} is newer than what channel {channel} plays, "
            f"{_name(at)}. Use promote"
        )
    newest = next(r for r in reversed(releases) if r.root == target.root)
    if newest.counter < at.counter:
        newest = _again(target, releases, heads, clock.now())
        await _add(store, lock, newest)
    return await _move(store, lock, channel, newest, current, voucher=voucher)


async def _releases_and_heads(store: TitleStore) -> tuple[list[Release], list[Head]]:
    """Return all releases, oldest first, and all heads.

    Raises:
        NotFound: There are neither.
    """
    releases, heads = await store.releases(), await store.heads()
    if not releases and not heads:
        raise NotFound(f"title {store.title}: nothing was published under this name")
    return releases, heads


def find_release(title: TitleId, releases: Sequence[Release], which: str | int) -> Release:
    """Return the release with this counter (a number), or the newest of this version (text).

    Raises:
        NotFound: There is none among ``releases``.
    """
    for release in reversed(releases):
        if which == (release.counter if isinstance(which, int) else release.version):
            return release
    what = f"release {which}" if isinstance(which, int) else f"release of version {which!r}"
    have = ", ".join(map(_name, releases[-5:])) or "none"
    raise NotFound(f"title {title} has no {what}; the newest it has: {have}")


def _previous(title: TitleId, releases: Sequence[Release], at: Release) -> Release:
    for release in reversed(releases):
        if release.counter < at.counter and release.root != at.root:
            return release
    raise NotFound(f"title {title} has no release of another build older than {_name(at)}")


def _again(
    older: Release, releases: Sequence[Release], heads: Sequence[Head], now_s: float
) -> Release:
    """Return a release of the same build and version under the next counter."""
    used = [release.counter for release in releases] + [head.release.counter for head in heads]
    created_at = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return msgspec.structs.replace(older, counter=max(used) + 1, created_at=created_at)


async def _add(store: TitleStore, lock: WriterLock, release: Release) -> None:
    await store.root(release.root)  # what cannot be read must not be vouched for
    await lock.check_held()
    # A lost answer that was asked for again says "not stored": what counts is what is there.
    if not await store.add_release(release) and await store.release(release.counter) != release:
        raise Conflict(
            f"title {store.title}: release {release.counter} appeared meanwhile; run it again"
        )


async def _move(
    store: TitleStore,
    lock: WriterLock,
    channel: Channel,
    release: Release,
    current: Head | None,
    *,
    voucher: Voucher,
) -> Move:
    if current is not None and current.release == release:
        await voucher.vouch(release, channel)
        return Move(current, is_new=False)
    await store.root(release.root)  # what cannot be read must not be played
    await lock.check_held()
    await voucher.vouch(release, channel)
    await lock.check_held()
    head = Head(
        title=store.title,
        channel=channel,
        release=release,
        deltas=await refs_for(store, release),
    )
    await store.set_head(head)
    return Move(head, is_new=True)


async def _installed_sizes(store: TitleStore, roots: set[ObjectRef]) -> dict[ObjectRef, int | None]:
    async def size_of(root: ObjectRef) -> int | None:
        try:
            return (await store.root(root)).installed_size
        except (NotFound, IntegrityError, InvalidInput):  # `verify` says more
            return None

    ordered = list(roots)
    sizes = await for_each(ordered, size_of, at_once=ROOT_READS_AT_ONCE)
    return dict(zip(ordered, sizes, strict=True))


def _name(release: Release) -> str:
    return f"{release.counter} ({release.version})"
