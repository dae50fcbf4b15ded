"""Bring a folder to a release: the steps that install, update and repair have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import msgspec
import numpy as np

from chunks.chunk_id import Digest
from chunks.plan import FIRST_REQUEST_SIZE
from console.delta_supply import DeltaSupply
from console.head_start import HeadStart, fetch_first
from console.installed import write_installed
from console.installer import (
    Owned,
    Target,
    drop_unchanged,
    intent_of,
    refuse_foreign,
)
from console.inventory import InstalledFiles, Inventory, take_inventory
from console.journal import Abandoned, Begin, Journal, Landed, checkpoint_of, rows_of
from console.layout import Mask
from console.patching import commit_by_script
from console.planner import Changes, Work, changes_between
from console.progress import Planned
from console.reports import Report
from console.resume import rows_that_hold, staged_files, staged_seed
from console.room import free_size
from console.safe_paths import Folder
from console.seeds import Seed
from console.session import Session
from console.speed import note_speed, read_speed, seconds_for
from console.staging import Staging
from console.transfer import Transfer
from console.ways import Ways
from kit.errors import OutOfSpace
from manifests.documents import DeltaRef, Release
from manifests.model import Build
from manifests.names import Channel


@dataclass
class Operation:
    """One way to one release. ``name`` is for the report; thorough ones read every old byte."""

    session: Session
    name: str
    release: Release
    channel: Channel
    deltas: Sequence[DeltaRef] = ()
    """What the head names, the nearest first."""
    is_thorough: bool = False
    files_left_alone: int = 0
    head_start: HeadStart | None = None
    staging_folder: Folder = field(init=False)
    delta_supply: DeltaSupply = field(init=False)
    ways: Ways = field(init=False)

    async def plan(self) -> Work:
        """Return what :meth:`run` would do, and do nothing of it."""
        self.staging_folder = await self._open_staging(self.release.root.raw_digest)
        work, _, _ = await self._planned(await self._build())
        return work

    async def run(self) -> Report:
        """Do it."""
        session = self.session
        build_id = self.release.root.raw_digest
        is_fresh = session.owned is None and session.pending is None
        was_resumed = session.pending is not None and session.pending.build_id == build_id
        self.staging_folder = await self._open_staging(build_id)
        build = await (self._build_with_head_start() if is_fresh else self._build())
        work, done, inventory = await self._planned(build)
        await session.workers.run(self._check, work, build)
        session.meter.total_bytes = _size_to_move(build, work)
        session.meter.to_write_bytes = work.plan.write_bytes
        session.meter.observer(Planned(self.release.version, work.plan))
        if not self._is_current(work, inventory):
            received, elapsed_s = session.meter.received_bytes, session.meter.elapsed_s()
            await self._carry_out(work, build, done)
            await session.workers.run(
                self._note_speed,
                session.meter.received_bytes - received,
                session.meter.elapsed_s() - elapsed_s,
            )
        await session.workers.run(session.finish)
        return self._report(work, was_resumed=was_resumed)

    async def _open_staging(self, build_id: Digest) -> Folder:
        folder = await self.session.workers.run(self.session.folder.staging, build_id)
        self.session.at_rest.callback(folder.close)
        return folder

    async def _build(self) -> Build:
        session, owned = self.session, self.session.owned
        if owned is not None and owned.build.build_id == self.release.root.raw_digest:
            return owned.build
        if owned is not None and session.settings.use_deltas:
            await self._rebuild_manifest(owned)
        root = await session.releases.root(self.release)
        return await session.releases.build(self.release, root)

    async def _rebuild_manifest(self, owned: Owned) -> None:
        """Learn what the release is from what is installed, if there is a delta for just that."""
        installed, wanted = owned.record.release, self.release
        span = (installed.counter, wanted.counter)
        ref = next((ref for ref in self.deltas if (ref.base, ref.target) == span), None)
        if ref is not None:
            await self.session.releases.rebuild(
                wanted,
                installed.root,
                owned.build.root,
                ref,
                self.session.settings.delta_patience,
            )

    async def _build_with_head_start(self) -> Build:
        session = self.session
        root = await session.releases.root(self.release)
        first = await session.releases.page(self.release.title, root.groups[0].pages[0])
        async with asyncio.TaskGroup() as tasks:
            first_chunks = tasks.create_task(
                fetch_first(
                    first,
                    self.release.title,
                    folder=self.staging_folder,
                    fetcher=session.fetcher,
                    workers=session.workers,
                    meter=session.meter,
                )
            )
            build = tasks.create_task(session.releases.build(self.release, root))
        self.head_start = first_chunks.result()
        return build.result()

    async def _planned(self, build: Build) -> tuple[Work, Mask, Inventory | None]:
        session, inventory = self.session, None
        if session.owned is not None:
            inventory = await take_inventory(
                session.folder.top,
                session.owned.record,
                session.owned.build,
                session.workers,
                is_thorough=self.is_thorough,
            )
        changes = await session.workers.run(changes_between, inventory, build)
        seeds = await session.workers.run(self._seeds, inventory)
        await self._find_deltas(build, seeds)
        head = self.head_start
        work, done = await session.workers.run(self._chosen, build, changes, inventory, seeds)
        if head is not None:
            plan = work.plan.with_head_start(head.request_size, head.plain_size, head.written_size)
            work = replace(work, plan=plan)
        return await self._timed(work), done, inventory

    async def _timed(self, work: Work) -> Work:
        """Return ``work`` with an estimate of its time in the plan."""
        session = self.session

        def remembered() -> float | None:
            with session.folder.state.clone() as state:
                return read_speed(state)

        speed = await session.workers.run(remembered) or session.meter.received_per_s()
        left = work.plan.download_bytes - (self.head_start.request_size if self.head_start else 0)
        seconds = seconds_for(left, speed, session.settings.limit_rate)
        return replace(work, plan=replace(work.plan, estimated_s=seconds))

    async def _find_deltas(self, build: Build, seeds: Sequence[Seed]) -> None:
        """Fetch the indexes of deltas that may bring what is not here."""
        session = self.session
        self.delta_supply = DeltaSupply(self.release, seeds, self.staging_folder)
        if session.owned is None or not session.settings.use_deltas:
            return
        await self.delta_supply.find(
            build,
            self.deltas,
            session.owned.record.release.counter,
            releases=session.releases,
            workers=session.workers,
            patience_s=session.settings.delta_patience,
        )

    def _chosen(
        self,
        build: Build,
        changes: Changes,
        inventory: Inventory | None,
        seeds: Sequence[Seed],
    ) -> tuple[Work, Mask]:
        """Return the preferred way there is room for, or the one that takes least; and the rows
        that earlier attempts brought for it."""
        pending, none = self.session.pending, np.zeros(0, np.uint32)
        is_same = pending is not None and pending.build_id == build.build_id
        self.ways = Ways(
            build=build,
            changes=changes,
            inventory=inventory,
            checkpointed=pending.rows if pending is not None and is_same else none,
            settings=self.session.settings,
            choose_deltas=partial(self.delta_supply.choose, build),
        )
        first_size = FIRST_REQUEST_SIZE * (2 if self.head_start else 1)
        with self.session.folder.top.clone() as top, self.staging_folder.clone() as staging:
            return self.ways.choose(top, staging, seeds, first_size)

    def _seeds(self, inventory: Inventory | None) -> list[Seed]:
        session, seeds = self.session, []
        if inventory is not None:
            place = InstalledFiles(session.folder.top, inventory.build)
            seeds.append(Seed(inventory.build, place, inventory.readable, is_installed=True))
        abandoned = self._abandoned()
        if abandoned is not None:
            build = session.releases.known_build(self.release.title, abandoned.root)
            if build is not None:
                folder = session.folder.staging(build.build_id)
                session.at_rest.callback(folder.close)
                present = staged_files(folder, build)
                done = rows_that_hold(build, present, present, rows_of(abandoned))
                seeds.append(staged_seed(build, folder, present, done))
        return seeds

    def _abandoned(self) -> Abandoned | None:
        """Return what an unfinished attempt at *another* build left behind."""
        pending = self.session.pending
        if pending is None:
            return None
        if pending.build_id == self.release.root.raw_digest:
            return pending.begin.abandoned
        rows = checkpoint_of(pending.rows).rows
        return Abandoned(root=pending.begin.release.root, rows=rows)

    def _check(self, work: Work, build: Build) -> None:
        """Do nothing if the folder can take the build.

        Raises:
            Conflict: Somebody else's file is in the way.
            OutOfSpace: There is not enough room on the disk.
        """
        folder = self.session.folder
        with folder.top.clone() as top:
            refuse_foreign(top, build, work.changes.staged, self.session.owned)
            free = free_size(top)
        if work.plan.peak_extra_bytes > free:
            raise OutOfSpace(
                f"{folder.path}: {self.ways.needed(work.plan)} and {free} are free;"
                " nothing was changed, make room and run the same command"
            )

    def _is_current(self, work: Work, inventory: Inventory | None) -> bool:
        """Return whether the folder is at the release already and nothing needs mending."""
        owned = self.session.owned
        return (
            owned is not None
            and inventory is not None
            and self.session.pending is None
            and not inventory.wounds
            and not any(mask.any() for mask in work.changes.staged)
            and not work.changes.removed
            and owned.record.release == self.release
            and owned.record.channel == self.channel
            and len(owned.record.groups) == len(owned.build.shards)
        )

    async def _carry_out(self, work: Work, build: Build, done: Mask) -> None:
        session, target = self.session, Target(self.release, self.channel, build)
        journal = await session.workers.run(self._journal)
        session.at_rest.callback(journal.close)
        old = session.owned

        async def put_in_place(groups: Sequence[int]) -> None:
            patched = await session.workers.run(self._put_in_place, journal, target, groups, work)
            session.meter.patched(patched)
            session.meter.is_playable()

        entries = [shard.entries for shard in build.shards]
        clones = self.ways.clones(session.folder.top, work.placement)
        staging = Staging(self.staging_folder, entries, build.chunks, work.layout, clones)
        await Transfer(
            build=build,
            title=self.release.title,
            work=work,
            done=done,
            staging=staging,
            staging_folder=self.staging_folder,
            patcher=self.delta_supply.patcher(staging),
            journal=journal,
            fetcher=session.fetcher,
            workers=session.workers,
            settings=session.settings,
            clock=session.clock,
            meter=session.meter,
            commit=put_in_place,
            by_group=(old is None or old.build.build_id == build.build_id)
            and not work.placement.uses_old_files,
        ).run()

    def _journal(self) -> Journal:
        """Begin the journal, or go on with the one that is about this very release."""
        session, pending = self.session, self.session.pending
        begin = Begin(release=self.release, channel=self.channel, abandoned=self._abandoned())
        with session.folder.state.clone() as state:
            if pending is not None and pending.begin == begin:
                return Journal.resume(state)
            journal = Journal.begin(state, begin)
        keep = {self.release.root.raw_digest}
        if begin.abandoned is not None:
            keep.add(begin.abandoned.root.raw_digest)
        session.folder.drop_staging(frozenset(keep))
        return journal

    def _note_speed(self, received_size: int, seconds: float) -> None:
        with self.session.folder.state.clone() as state:
            note_speed(state, received_size, seconds)

    def _put_in_place(
        self,
        journal: Journal,
        target: Target,
        groups: Sequence[int],
        work: Work,
    ) -> int:
        """Commit ``groups``: everything they need is durable in staging.

        Returns how many bytes were written to patch files in place.
        """
        folder = self.session.folder
        with (
            folder.top.clone() as top,
            folder.state.clone() as state,
            self.staging_folder.clone() as staging,
        ):
            self.files_left_alone += drop_unchanged(
                top, staging, target.build, work.changes.doubtful
            )
            folder.sync_manifests()
            patched_size = 0
            if work.placement.uses_old_files:
                patched_size = self.ways.write_script(top, staging, work.placement)
            intent = intent_of(top, target.build, groups)
            intent = msgspec.structs.replace(intent, has_script=work.placement.uses_old_files)
            journal.append(intent)
            record = commit_by_script(
                top, staging, target, intent, self.session.owned, journal=journal
            )
            write_installed(state, record)
            journal.append(Landed())
        self.session.owned = Owned(record, target.build)
        return patched_size

    def _report(self, work: Work, *, was_resumed: bool) -> Report:
        meter = self.session.meter
        return Report(
            operation=self.name,
            title=self.release.title,
            channel=self.channel,
            version=self.release.version,
            release=self.release.counter,
            build_id=self.release.root.digest,
            plan=work.plan,
            requests=meter.requests,
            failed_requests=meter.failures,
            hedged_requests=meter.hedges,
            received_bytes=meter.received_bytes,
            written_bytes=meter.written_bytes,
            delta_made_bytes=meter.delta_made_bytes,
            failed_deltas=meter.failed_deltas,
            reused_bytes=meter.reused_bytes,
            files_left_alone=self.files_left_alone,
            first_chunk_s=meter.first_chunk_s,
            playable_s=meter.playable_s,
            complete_s=meter.elapsed_s(),
            was_resumed=was_resumed,
        )


def _size_to_move(build: Build, work: Work) -> int:
    fetched = int(build.chunks.sizes[work.missing].sum(dtype=np.uint64))
    return fetched + work.plan.delta_made_bytes + work.plan.reused_bytes
