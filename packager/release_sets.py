"""Make the delta sets of a release: from the build before it, then from those farther back.

The set from the build before serves most players, so it comes first. Builds before that one get
sets of their own where the way in steps costs more (``own_sets.py``), as long as the time for the
release lasts. One that was made and spares too little after all is not named, so that no console
is ever led a longer way; a sweep deletes what it stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from kit.clock import Clock
from kit.errors import NotFound
from kit.units import Seconds
from manifests.delta_index import DeltaIndex
from manifests.documents import DeltaRef, DeltaSet, Release
from manifests.model import Build
from packager.chains import Chain, Link, cost_of, follow
from packager.delta_sets import named_sets
from packager.own_sets import OwnSetOmitted, Prospect, Reason, is_worth, prospect
from packager.patches import DeltaTally, MadeDeltas, make_deltas
from packager.settings import DeltaSettings
from packager.title_store import TitleStore

OnProgress = Callable[[Release, DeltaTally], None]
"""Hears of every run that is done, and of which release the set leads from."""


@dataclass(frozen=True, slots=True)
class SetOutcome:
    """What became of the set from one release."""

    base: Release
    what: MadeDeltas | DeltaSet | OwnSetOmitted
    """It was made, though maybe nothing pays; it was there; or there shall be none."""


@dataclass(frozen=True, slots=True)
class Making:
    """How sets are made."""

    settings: DeltaSettings
    journal_path: Path
    clock: Clock
    on_progress: OnProgress = lambda _, __: None
    workers: int | None = None


async def make_sets(
    store: TitleStore,
    since: Release,
    new: Build,
    making: Making,
    known: Sequence[DeltaSet] = (),
) -> AsyncIterator[SetOutcome]:
    """Yield the sets that lead to ``new``, each once it is stored: that from ``since`` first.

    Args:
        store: The title's objects.
        since: The release before: what most consoles have.
        new: The build they shall have; it may not be published yet.
        making: Limits on time, memory and reach, and where the journal is.
        known: Sets that lead to it already.

    Raises:
        NotFound, IntegrityError, FormatError: Something of a build is missing or damaged.
        Unavailable: The storage did not answer.
        OutOfSpace: The storage, or the disk of the journal, is full.
    """
    there = {each.base: each for each in known}
    before = await store.build(since.root)
    nearest = there.get(since.counter) or await _made(store, since, before, new, making)
    yield SetOutcome(since, nearest)
    spent_s = 0.0 if isinstance(nearest, DeltaSet) else nearest.tally.cpu_seconds
    first = await _link(store, nearest)
    releases = await store.releases()
    maker = _OwnSets(
        store,
        before,
        new,
        making,
        refs=named_sets(since, releases, await store.delta_sets()),
        at=since.counter,
        first=first,
        left_s=making.settings.cpu_seconds_max - spent_s,
    )
    for base in builds_before(releases, since, new)[: making.settings.reach - 1]:
        outcome = await maker.look_at(base, there)
        if outcome is not None:
            yield outcome


def builds_before(releases: Sequence[Release], since: Release, new: Build) -> list[Release]:
    """Return the releases before ``since`` of other builds than it and ``new``, newest first."""
    seen = {since.root.digest, new.build_id.hex()}
    found: list[Release] = []
    for release in sorted(releases, key=lambda each: each.counter, reverse=True):
        if release.counter < since.counter and release.root.digest not in seen:
            seen.add(release.root.digest)
            found.append(release)
    return found


class _OwnSets:
    """Sets from builds farther back. Belongs to one event loop."""

    def __init__(
        self,
        store: TitleStore,
        before: Build,
        new: Build,
        making: Making,
        *,
        refs: Sequence[DeltaRef],
        at: int,
        first: Link | None,
        left_s: float,
    ) -> None:
        self._store = store
        self._before = before
        self._new = new
        self._making = making
        self._refs = refs
        self._at = at
        self._first = first
        self._left_s = left_s
        self._others: list[DeltaIndex] = []
        """Own sets there are by now: what they have is not made again."""

    async def look_at(self, base: Release, there: Mapping[int, DeltaSet]) -> SetOutcome | None:
        """Make the set from ``base`` if it is worth it; None if nobody can have that build."""
        try:
            old = await self._store.build(base.root)
        except NotFound:
            return None  # swept
        found = there.get(base.counter) or await self._own_set(base, old)
        if not isinstance(found, OwnSetOmitted):
            link = await _link(self._store, found)
            self._others += [] if link is None else [link[1]]
        return SetOutcome(base, found)

    async def _own_set(self, base: Release, old: Build) -> MadeDeltas | OwnSetOmitted:
        outlook = await self._prospect(base, old)
        if not outlook.would_pay:
            return outlook.omitted("few-stones")
        if self._left_s <= 0 and outlook.borrowed.rows_left:
            return outlook.omitted("no-time")
        limits = msgspec.structs.replace(
            self._making.settings, cpu_seconds_max=Seconds(max(self._left_s, 0.0))
        )
        made = await make_deltas(
            self._store,
            old,
            self._new,
            settings=limits,
            journal_path=self._making.journal_path,
            clock=self._making.clock,
            borrowed=outlook.borrowed,
            on_progress=lambda tally: self._making.on_progress(base, tally),
            workers=self._making.workers,
        )
        self._left_s -= made.tally.cpu_seconds
        spared_size = await self._spared(old, outlook, made)
        if is_worth(outlook.way_size, spared_size):
            return made
        reason: Reason = "no-time" if made.tally.quick_count else "spares-little"
        return outlook.omitted(reason, max(spared_size, 0))

    async def _prospect(self, base: Release, old: Build) -> Prospect:
        chain = Chain((), is_whole=False)
        if self._first is not None:
            chain = await follow(
                self._store,
                self._refs,
                old,
                self._new,
                base=base.counter,
                at=self._at,
                first=self._first,
            )

        def judge() -> Prospect:
            cost = cost_of(old, self._new, chain.indexes)
            return prospect(chain, cost, self._others, (old, self._before, self._new))

        return await asyncio.to_thread(judge)

    async def _spared(self, old: Build, outlook: Prospect, made: MadeDeltas) -> int:
        """Return what the set that was made spares, which may be less than nothing."""
        link = await _link(self._store, made)
        if link is None:
            return 0
        ref, index = link
        cost = await asyncio.to_thread(cost_of, old, self._new, [index])
        return outlook.way_size - cost.size - ref.size


async def _made(
    store: TitleStore, base: Release, old: Build, new: Build, making: Making
) -> MadeDeltas:
    return await make_deltas(
        store,
        old,
        new,
        settings=making.settings,
        journal_path=making.journal_path,
        clock=making.clock,
        on_progress=lambda tally: making.on_progress(base, tally),
        workers=making.workers,
    )


async def _link(store: TitleStore, found: MadeDeltas | DeltaSet) -> Link | None:
    return None if found.index is None else (found.index, await store.delta_index(found.index))
