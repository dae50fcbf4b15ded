"""Choose how a build comes into place: the first way there is room for, with what is here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from console.arranging import rounded
from console.chunk_store import good_chunks, stored_chunks, unwanted_chunks
from console.cloning import Clones, can_clone
from console.drafting import Found, Here, script_of, unproved
from console.inventory import InstalledFiles, Inventory
from console.layout import Layout, Mask
from console.patcher import stone_names
from console.placement import (
    Location,
    Mode,
    Placement,
    large_installed,
    placement_of,
)
from console.planner import Changes, Plan, Work, plan_work
from console.resume import rows_in_place, rows_that_hold, staged_files, staged_seed
from console.room import free_size, look_at, strays, taken_size, ways_to_try
from console.safe_paths import Folder
from console.script import size_of, write_script
from console.seeds import Seed, SeedReader, first_usable, same_rows
from console.settings import ConsoleSettings
from console.staging import staged_name
from kit.errors import OutOfSpace
from manifests.delta_plan import Patches, Stones, no_patches
from manifests.model import U32, Build

RECORDS_SIZE = 24 << 10
"""Blocks that the journal, the record of what is installed and folders grow by, beside what rows
and entries add to them."""

CHECKPOINT_ROW_SIZE = 32
"""At most this is added to the journal for a row that is stored: a checkpoint of its own."""

STAMP_SIZE = 16
"""What an entry takes in the record of what is installed."""


@dataclass(frozen=True)
class _Way:
    """A placement, the rows that earlier attempts brought for it, and what it has no use for."""

    placement: Placement
    done: Mask
    unwanted: tuple[str, ...]


@dataclass(frozen=True)
class _Try:
    """What a way comes to."""

    work: Work
    done: Mask
    unwanted: tuple[str, ...]
    free: int
    """Bytes, once what is unwanted is gone."""
    script_room: int
    """What its script and carrying it out are to take, in bytes; 0 if it needs none."""

    @property
    def size(self) -> int:
        """Bytes it needs."""
        return self.work.plan.peak_extra_bytes

    @property
    def fits(self) -> bool:
        """Whether there is room for it."""
        return self.size <= self.free


@dataclass
class Ways:
    """The ways from what is here to one build. Its methods block."""

    build: Build
    changes: Changes
    inventory: Inventory | None
    checkpointed: U32
    """Rows of an earlier attempt at the same build that were made durable."""
    settings: ConsoleSettings
    choose_deltas: Callable[[Sequence[int], Stones], Patches] = no_patches
    """Returns the deltas that bring some of the rows it is given, by such stepping stones."""
    _needs: dict[Mode, int] = field(default_factory=dict)
    _script_room: int = 0
    """What was planned with: with more there would be another script, that writes other bytes."""

    def choose(
        self, top: Folder, staging: Folder, seeds: Sequence[Seed], first_size: int
    ) -> tuple[Work, Mask]:
        """Return the work of the preferred way there is room for, and the rows that are done.

        Where there is room for none with all its stepping stones, the first for which there is
        with fewer, and more plain chunks. If there is room for none at all, the one that takes
        least. What earlier attempts left in ``staging`` and the chosen way has no use for is
        removed.
        """
        best: _Try | None = None
        attempt = partial(self._try, top=top, staging=staging, seeds=seeds, first_size=first_size)
        for each in self._tries(attempt, top, staging):
            mode, size = each.work.plan.mode, each.size
            self._needs[mode] = min(size, self._needs.get(mode, size))
            if best is None or each.fits or size < best.size:
                best = each
            if each.fits:
                break
        assert best is not None
        self._script_room = best.script_room
        for name in best.unwanted:
            staging.remove_file(name)
        return best.work, best.done

    def needed(self, plan: Plan) -> str:
        """Return words for what each way that was tried needs."""
        whole = self._needs.get(Mode.OVERLAY)
        if plan.mode is Mode.IN_PLACE and whole is not None:
            return (
                f"{whole} bytes are needed to build the new files beside the old ones,"
                f" {plan.peak_extra_bytes} to patch them in place,"
            )
        return f"{plan.peak_extra_bytes} bytes are needed"

    def clones(self, top: Folder, placement: Placement) -> Clones:
        """Return which staged files begin as clones."""
        if self.inventory is None:
            return Clones(top)
        shards = self.inventory.build.shards
        return Clones(
            top,
            {
                staged_name(*at): shards[group].entries[index].path
                for at, (group, index) in placement.cloned.items()
            },
        )

    def write_script(self, top: Folder, staging: Folder, placement: Placement) -> int:
        """Write the script of the commit; return how many bytes it will write.

        Raises:
            OutOfSpace: There is not enough room to carry it out; nothing was changed.
        """
        assert self.inventory is not None
        stored = stored_chunks(staging, self.build.chunks)
        proved = self._proved(top, placement, stored)
        here = Here(self.inventory, stored, self._found(top, placement))
        room = free_size(staging) - _records_size(self.build, 0)
        script, cost = script_of(self.build, proved, here, min(room, self._script_room))
        needed = cost.peak_size + rounded(size_of(script))
        if needed > room:
            raise OutOfSpace(
                f"{needed} bytes are needed to patch files in place and {room} are free;"
                " nothing was changed, make room and run the same command"
            )
        write_script(staging, script)
        return cost.written_size

    def _tries(
        self, attempt: Callable[[_Way, Stones], _Try], top: Folder, staging: Folder
    ) -> Iterator[_Try]:
        """Yield what can be done, the preferred first.

        To save what is downloaded comes before where it is put: fewer stones are the last resort.
        """
        present = staged_files(staging, self.build)
        ways: list[_Way] = []
        has_stones = False
        for placement in self._placements(top, staging):
            unwanted = tuple(self._unwanted(staging, present, placement))
            ways.append(_Way(placement, self._done_rows(staging, present, placement), unwanted))
            found = attempt(ways[-1], Stones())
            has_stones = has_stones or bool(found.work.patches.stone_size)
            yield found
        for way in ways if has_stones else ():
            without = attempt(way, Stones(room=0))
            if without.size < without.free:
                yield attempt(way, Stones(room=without.free - without.size))
            yield without
        if any(True for _ in stone_names(staging)):
            yield from (attempt(way, Stones(room=0, may_use_left=False)) for way in ways)

    def _try(
        self,
        way: _Way,
        stones: Stones,
        *,
        top: Folder,
        staging: Folder,
        seeds: Sequence[Seed],
        first_size: int,
    ) -> _Try:
        unwanted = way.unwanted
        if not stones.may_use_left:
            unwanted += tuple(stone_names(staging))
        free = free_size(staging) + taken_size(staging, unwanted)
        work = plan_work(
            self.build,
            self.changes,
            way.done,
            seeds,
            placement=way.placement,
            range_size_max=self.settings.range_bytes_max,
            first_size=first_size,
            choose=lambda rows: self.choose_deltas(rows, stones),
        )
        work, script_room = self._with_patching(work, way.done, top, staging, free=free)
        return _Try(work, way.done, unwanted, free, script_room)

    def _placements(self, top: Folder, staging: Folder) -> Iterator[Placement]:
        """Yield what each mode comes to; one that comes to nothing is an overlay."""
        old = self.inventory
        modes = ways_to_try(
            self.settings.update_mode,
            is_repair=old is not None and old.build.build_id == self.build.build_id,
            was_in_place=bool(stored_chunks(staging, self.build.chunks).any()),
        )
        seen: set[Mode] = set()
        for mode in modes:
            placement = self._placed(top, mode)
            if placement.mode is Mode.CLONE and not can_clone(staging):
                continue
            if placement.mode not in seen:
                seen.add(placement.mode)
                yield placement

    def _placed(self, top: Folder, mode: Mode) -> Placement:
        old, patchable = self.inventory, set[Location]()
        if old is not None and mode is Mode.IN_PLACE:
            found = look_at(top, old, large_installed(old))
            patchable = {at for at, each in found.items() if each.may_be_patched}
        return placement_of(
            mode,
            self.changes.staged,
            old,
            self.build,
            doubtful=self.changes.doubtful,
            patchable=patchable,
        )

    def _with_patching(
        self, work: Work, done: Mask, top: Folder, staging: Folder, *, free: int
    ) -> tuple[Work, int]:
        """Return ``work`` with what patching comes to, and how much of its room that takes."""
        placement = work.placement
        if not placement.patched:
            return work, 0
        assert self.inventory is not None
        stored = stored_chunks(staging, self.build.chunks)
        to_store = np.zeros(len(done), np.bool_)
        to_store[work.layout.stored_rows] = True
        to_store[work.here] = False
        stored |= to_store & ~done
        here = Here(self.inventory, stored, self._found(top, placement))
        records_size = _records_size(self.build, int((to_store & ~done).sum()))
        room = free - work.plan.peak_extra_bytes - records_size
        script, cost = script_of(self.build, placement, here, room)
        script_room = cost.peak_size + rounded(size_of(script))
        plan = work.plan.with_patching(cost.written_size, script_room + records_size)
        return replace(work, plan=plan), script_room

    def _found(self, top: Folder, placement: Placement) -> dict[Location, Found]:
        assert self.inventory is not None
        used = [*placement.adopted.values(), *placement.patched.values()]
        return look_at(top, self.inventory, used)

    def _unwanted(
        self, staging: Folder, present: Sequence[Mask], placement: Placement
    ) -> Iterator[str]:
        yield from strays(present, placement.written)
        yield from unwanted_chunks(staging, placement.layout(self.build))

    def _done_rows(self, staging: Folder, present: Sequence[Mask], placement: Placement) -> Mask:
        """Return the rows that earlier attempts brought: checkpointed, or found good."""
        build, layout = self.build, placement.layout(self.build)
        wanted = [found & mask for found, mask in zip(present, placement.written, strict=True)]
        done = rows_that_hold(build, placement.written, wanted, self.checkpointed)
        self._keep_stored(staging, layout, done)
        written = staged_seed(build, staging, wanted, np.ones(len(done), np.bool_))
        unsure = np.setdiff1d(layout.rows[~done[layout.rows]], layout.stored_rows)
        done[rows_in_place(written, layout, unsure.astype(np.int64))] = True
        return done

    def _keep_stored(self, staging: Folder, layout: Layout, done: Mask) -> None:
        """Correct ``done`` for the rows that a commit will need: they are stored, or installed."""
        rows = layout.stored_rows
        if len(rows) == 0 or self.inventory is None:
            return
        stored = stored_chunks(staging, self.build.chunks)
        old = self.inventory
        groups, _ = first_usable(old.build, old.readable)
        old_rows = same_rows(self.build.chunks.ids[rows], old.build.chunks.ids)
        is_installed = (old_rows >= 0) & (groups[old_rows] >= 0)
        done[rows] &= stored[rows] | is_installed
        unsure = np.setdiff1d(rows[stored[rows] & ~done[rows]], layout.placed_rows)
        done[good_chunks(staging, self.build.chunks, unsure)] = True

    def _proved(self, top: Folder, placement: Placement, stored: Mask) -> Placement:
        """Return ``placement`` without what is kept and turns out not to be what it should."""
        old = self.inventory
        if old is None or not placement.patched:
            return placement
        kept = [each.copy() for each in placement.kept]
        reader = SeedReader(Seed(old.build, InstalledFiles(top, old.build), old.readable))
        try:
            for at, occurrence, group, base in unproved(self.build, placement, old, stored):
                if reader.read(group, base) is None:
                    kept[at[0]][occurrence] = -1
        finally:
            reader.close()
        return replace(placement, kept=kept)


def _records_size(build: Build, row_count: int) -> int:
    """Return what records take, at most, while so many rows are stored and files are patched."""
    entry_count = sum(len(shard.entries) for shard in build.shards)
    return RECORDS_SIZE + CHECKPOINT_ROW_SIZE * row_count + STAMP_SIZE * entry_count
