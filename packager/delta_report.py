"""Say what an update costs from older releases, and when a delta set of their own would pay."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from kit.errors import NotFound
from manifests.documents import DeltaSet, Release
from manifests.model import Build
from packager.chains import Chain, Cost, cost_of, follow
from packager.delta_sets import named_sets
from packager.title_store import TitleStore

BUILDS_MAX = 8
"""The newest so many older builds are looked at."""

SAVING_MIN = 1 << 20
SAVING_PERCENT_MIN = 10
"""A set of its own must spare each player so much to be worth making and keeping."""


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """What a console at one release downloads to be at the newest; sizes in bytes."""

    base: int
    version: str
    size: int
    """Of deltas and plain chunks, gaps included."""
    request_count: int
    delta_count: int
    depth: int
    """Deltas in a row, at most."""
    detour_size: int
    """What of the deltas makes stepping stones, and whatever else the newest build has not."""
    undelta_size: int
    """Of the plain chunks: no delta leads to them from here, or none pays."""
    plain_size: int
    """What it would be without deltas."""
    own_set_size: int | None
    """What a set made for this release might take, judged by the sets there are: at least what
    deltas take now, without their detour. None if there is one, or nothing to judge by."""
    would_pay: bool
    """Whether to make it: `playhead deltas add TITLE --from VERSION`."""


async def ways_to(store: TitleStore, target: Release, releases: Sequence[Release]) -> list[Way]:
    """Return the way from each older build to ``target``, the newest build first.

    Raises:
        NotFound, IntegrityError, FormatError: A manifest or an index is missing or damaged.
    """
    new = await store.build(target.root)
    ways: list[Way] = []
    seen = {target.root}
    for base in reversed(releases):
        if base.counter > target.counter or base.root in seen or len(ways) >= BUILDS_MAX:
            continue
        seen.add(base.root)
        try:
            old = await store.build(base.root)
        except NotFound:
            continue  # swept: nobody can have it for long
        ways.append(await way_between(store, (base, old), (target, new), releases))
    return ways


async def way_between(
    store: TitleStore,
    before: tuple[Release, Build],
    after: tuple[Release, Build],
    releases: Sequence[Release],
) -> Way:
    """Return the way of a console from one release, and its build, to another."""
    (base, old), (target, new) = before, after
    sets = await store.delta_sets()
    chain = await follow(
        store,
        named_sets(target, releases, sets),
        old,
        new,
        base=base.counter,
        at=target.counter,
    )
    cost = await asyncio.to_thread(cost_of, old, new, chain.indexes)
    return _way(base, chain, cost, _judged(sets, base, target))


def _judged(sets: Sequence[DeltaSet], base: Release, target: Release) -> float | None:
    """Return which share of plain chunks deltas take here; None if there is a set of its own."""
    if any((each.base, each.target) == (base.counter, target.counter) for each in sets):
        return None
    known = [each for each in sets if each.target == target.counter and each.plain_size]
    return min((each.size / each.plain_size for each in known), default=None)


def _way(base: Release, chain: Chain, cost: Cost, share: float | None) -> Way:
    own_size = None
    if share is not None:
        least = cost.patches.download_size - cost.detour_size if chain.is_whole else 0
        own_size = max(round(cost.plain_size * share), least)
    saving = 0 if own_size is None else cost.size - own_size
    return Way(
        base=base.counter,
        version=base.version,
        size=cost.size,
        request_count=cost.request_count,
        delta_count=cost.patches.count,
        depth=len(cost.patches.levels),
        detour_size=cost.detour_size,
        undelta_size=cost.undelta_size,
        plain_size=cost.plain_size,
        own_set_size=own_size,
        would_pay=saving >= SAVING_MIN and saving * 100 >= cost.size * SAVING_PERCENT_MIN,
    )
