"""Say what an update costs from older releases, and when a delta set of their own would pay."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import numpy as np

from chunks.plan import range_requests
from kit.errors import NotFound
from manifests.changes import missing_rows
from manifests.delta_index import DeltaIndex
from manifests.delta_plan import DEPTH_MAX, choose_patches, made_by, step_from, unmade_bases
from manifests.documents import DeltaRef, DeltaSet, Release
from manifests.model import Build
from packager.delta_sets import named_sets
from packager.explain import wanted_of
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
    undelta_size: int
    """Of the plain chunks: no delta leads to them from here, or none pays."""
    plain_size: int
    """What it would be without deltas."""
    own_set_size: int | None
    """What a set made for this release might take, judged by the sets there are; None if there
    is one, or nothing to judge by."""
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
    refs = named_sets(target, releases, sets)
    span = (base.counter, target.counter)
    indexes = await _indexes(store, refs, old, new, span)
    share = _judged(sets, base, target)
    return await asyncio.to_thread(_way, base, old, new, indexes, share)


async def _indexes(
    store: TitleStore,
    refs: Sequence[DeltaRef],
    old: Build,
    new: Build,
    span: tuple[int, int],
) -> list[DeltaIndex]:
    """Return the indexes a console fetches on its way over ``span``, in the order it does."""
    base, at = span
    rows = missing_rows(new, old.row_of.__contains__).tolist()
    wanted = {new.chunks.chunk_id(row) for row in rows}
    found: list[DeltaIndex] = []
    while wanted and len(found) < DEPTH_MAX and at != base:
        ref = step_from(refs, at, base)
        if ref is None:
            break
        index = await store.delta_index(ref.index)
        found.append(index)
        needed = await asyncio.to_thread(unmade_bases, index, wanted, old.row_of)
        wanted = needed | (wanted - made_by(index))
        at = ref.base
    return found


def _judged(sets: Sequence[DeltaSet], base: Release, target: Release) -> float | None:
    """Return which share of plain chunks deltas take here; None if there is a set of its own."""
    if any((each.base, each.target) == (base.counter, target.counter) for each in sets):
        return None
    known = [each for each in sets if each.target == target.counter and each.plain_size]
    return min((each.size / each.plain_size for each in known), default=None)


def _way(
    base: Release, old: Build, new: Build, indexes: Sequence[DeltaIndex], share: float | None
) -> Way:
    rows = missing_rows(new, old.row_of.__contains__).tolist()
    patches = choose_patches(new, rows, indexes, old.row_of)
    left = [row for row in rows if row not in patches.rows]
    plain, undelta = _plain(new, rows), _plain(new, left)
    size = patches.download_size + undelta.size
    own_size = None if share is None else round(plain.size * share)
    saving = 0 if own_size is None else size - own_size
    return Way(
        base=base.counter,
        version=base.version,
        size=size,
        request_count=patches.request_count + undelta.request_count,
        delta_count=patches.count,
        depth=len(patches.levels),
        undelta_size=undelta.size,
        plain_size=plain.size,
        own_set_size=own_size,
        would_pay=saving >= SAVING_MIN and saving * 100 >= size * SAVING_PERCENT_MIN,
    )


class _Plain(msgspec.Struct, frozen=True):
    size: int
    request_count: int


def _plain(build: Build, rows: Sequence[int]) -> _Plain:
    requests = list(range_requests(wanted_of(build, np.array(rows, np.uint32))))
    return _Plain(sum(request.size for request in requests), len(requests))
