"""Delta sets of a title: make one known, and tell which of them a channel's head names.

A set leads from one release to another. A head names those that lead to its release, and those
that lead to where they start: so a console that is a few releases behind goes the way in steps,
each made once and shared by all. The nearest come first, for most consoles need no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from manifests.delta_plan import DEPTH_MAX
from manifests.documents import DELTA_SETS_MAX, DeltaRef, DeltaSet, ObjectRef, Release
from packager.lock import Lock
from packager.manifest_deltas import make_manifest_delta
from packager.patches import DeltaTally
from packager.title_store import TitleStore


@dataclass(frozen=True, slots=True)
class NewSet:
    """A stored delta set, from a release that is known to one that may not be yet."""

    base: Release
    index: ObjectRef
    tally: DeltaTally

    def to(self, target: Release, manifest: ObjectRef | None = None) -> DeltaSet:
        """Return what is to be known of the set, now that its target has a counter."""
        return DeltaSet(
            title=target.title,
            base=self.base.counter,
            target=target.counter,
            index=self.index,
            count=self.tally.count,
            size=self.tally.size,
            target_size=self.tally.target_size,
            plain_size=self.tally.plain_size,
            manifest=manifest,
        )


async def make_known(store: TitleStore, new: NewSet, target: Release) -> None:
    """Store what is known of a set; ``target`` and all of its build are stored.

    Raises:
        NotFound, IntegrityError, FormatError: A manifest of either build is missing or damaged.
        Unavailable: The storage did not answer.
    """
    manifest = await make_manifest_delta(store, new.base.root, target.root, new.index)
    await store.put_delta_set(new.to(target, manifest))


def named_sets(
    release: Release, releases: Sequence[Release], sets: Sequence[DeltaSet]
) -> tuple[DeltaRef, ...]:
    """Return what the head of ``release`` names: sets that lead there, the nearest first.

    Releases of one build are one: a rollback profits from the sets of the build it goes back to.
    """
    roots = {each.counter: each.root.digest for each in (*releases, release)}
    found: dict[DeltaRef, None] = {}
    reached = {release.root.digest: release.counter}
    frontier = dict(reached)
    for depth in range(DEPTH_MAX):
        steps = [each for each in sets if roots.get(each.target) in frontier]
        steps.sort(key=lambda each: (each.target, each.base), reverse=True)
        left, frontier = frontier, {}
        for each in steps:
            target = left[roots[each.target]]
            # Only a console at the base itself, on its way to this very release, can use it.
            manifest = each.manifest if depth == 0 else None
            ref = DeltaRef(base=each.base, target=target, index=each.index, manifest=manifest)
            found[ref] = None
            base_root = roots.get(each.base)
            if base_root is not None and base_root not in reached:
                reached[base_root] = frontier[base_root] = each.base
    return tuple(found)[:DELTA_SETS_MAX]


async def refs_for(store: TitleStore, release: Release) -> tuple[DeltaRef, ...]:
    """Return the delta sets that a head of ``release`` names."""
    return named_sets(release, await store.releases(), await store.delta_sets())


async def renew_heads(store: TitleStore, lock: Lock) -> int:
    """Make every head name the delta sets it should; return how many did not.

    Raises:
        Conflict: The lock was lost.
    """
    releases, sets = await store.releases(), await store.delta_sets()
    renewed = 0
    for head in await store.heads():
        deltas = named_sets(head.release, releases, sets)
        if deltas != head.deltas:
            await lock.check_held()
            await store.set_head(msgspec.structs.replace(head, deltas=deltas))
            renewed += 1
    return renewed
