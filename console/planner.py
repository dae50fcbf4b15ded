"""Decide what it takes to bring a folder to a build, before anything is done. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto

import numpy as np

from chunks.chunker import CHUNK_SIZE_MIN
from chunks.plan import FIRST_REQUEST_SIZE, RangeRequest, Wanted, range_requests
from console.inventory import Inventory
from console.layout import Layout, Mask, no_entries
from console.placement import Mode, Placement, occurrences_of
from console.seeds import Copies, Rows, Seed, copies_from
from manifests.changes import content_of
from manifests.delta_plan import Patches
from manifests.documents import Root
from manifests.model import Build, ChunkTable, Entry, Shard

WINDOW_ROWS = 16384
"""Chunks whose requests are planned together: 4 GB of a build in about 5 MB of memory. A bundle
that straddles two windows costs one request more."""

FILE_SLACK = 4096
"""What a file takes beyond its bytes, at most, on a file system with blocks of 4 KiB."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What an operation is going to do; sizes in bytes."""

    download_bytes: int
    """Of chunks, gaps included; the manifest is here already."""
    requests: int
    write_bytes: int
    """Into files; at most, for a small file found to be unchanged is counted too."""
    deltas: int
    """Deltas fetched instead of plain chunks, and counted in what is downloaded."""
    delta_bytes: int
    """Of them, gaps included."""
    delta_made_bytes: int
    """Plain bytes of chunks that deltas make."""
    delta_step_bytes: int
    """Written for later deltas only, and thrown away in the end; where the disk has no room for
    them, chunks are fetched plain."""
    reused_bytes: int
    """Plain bytes of chunks copied from files that are here."""
    kept_bytes: int
    """Plain bytes of chunks that an interrupted operation already brought."""
    peak_extra_bytes: int
    """Most that the folder holds at a time beyond what it holds now."""
    installed_bytes: int
    files_added: int
    files_changed: int
    files_removed: int
    files_unchanged: int
    mode: Mode = Mode.OVERLAY
    """How changed large files come into place."""
    estimated_s: float | None = field(default=None, compare=False)
    """How long it may take: at the speed of the last transfer into this folder, or of the first
    requests of this one. None if nothing can be said yet."""

    def with_patching(self, written_size: int, peak_size: int) -> Plan:
        """Return the plan with what a commit writes, and holds, to patch files in place."""
        return replace(
            self,
            write_bytes=self.write_bytes + written_size,
            peak_extra_bytes=self.peak_extra_bytes + peak_size,
        )

    def with_head_start(self, request_size: int, plain_size: int, written_size: int) -> Plan:
        """Return the plan with what was fetched while it was still being made."""
        return replace(
            self,
            download_bytes=self.download_bytes + request_size,
            requests=self.requests + 1,
            write_bytes=self.write_bytes + written_size,
            kept_bytes=self.kept_bytes - plain_size,
            peak_extra_bytes=self.peak_extra_bytes + written_size,
        )


class Action(Enum):
    """What is done with an entry of the new build."""

    KEEP = auto()
    ADD = auto()
    CHANGE = auto()


@dataclass(frozen=True)
class Changes:
    """What a new build asks for, entry by entry."""

    staged: Sequence[Mask]
    """By group: entries for which a new file or link is made."""
    doubtful: Sequence[Mask]
    """Those of them that may turn out to be what is installed: small files of equal size, cut
    with other neighbours than before."""
    removed: tuple[str, ...]
    """Files and links of the old build that the new one has not."""
    added_count: int
    changed_count: int
    unchanged_count: int


@dataclass(frozen=True)
class Work:
    """A plan and the means to carry it out."""

    plan: Plan
    changes: Changes
    placement: Placement
    layout: Layout
    missing: Rows
    """Rows to be fetched plain, ascending."""
    patches: Patches
    """Deltas to be fetched, and the rows they bring."""
    copies: Sequence[Copies]
    first_size: int
    """Of the first request, at most, in bytes."""

    @property
    def here(self) -> Rows:
        """Rows that a commit finds in installed files."""
        rows = [found.rows for found in self.copies if found.seed.is_installed]
        return np.concatenate(rows) if rows else np.zeros(0, np.int64)


def changes_between(old: Inventory | None, new: Build) -> Changes:
    """Compare what is installed, and still sound, with what is wanted."""
    before = {} if old is None else _by_path(old)
    staged = [no_entries(shard) for shard in new.shards]
    doubtful = [no_entries(shard) for shard in new.shards]
    counts = dict.fromkeys(Action, 0)
    for group, shard in enumerate(new.shards):
        for index, entry in enumerate(shard.entries):
            place = before.pop(entry.path, None)
            action, is_doubtful = _action(old, place, new, shard, index)
            staged[group][index] = action is not Action.KEEP
            doubtful[group][index] = is_doubtful
            counts[action] += 1
    removed = tuple(path for path, (_, _, entry) in before.items() if _is_leaf(entry))
    return Changes(
        staged=staged,
        doubtful=doubtful,
        removed=removed,
        added_count=counts[Action.ADD],
        changed_count=counts[Action.CHANGE],
        unchanged_count=counts[Action.KEEP],
    )


def plan_work(
    new: Build,
    changes: Changes,
    done: Mask,
    seeds: Sequence[Seed],
    *,
    placement: Placement,
    range_size_max: int,
    first_size: int = FIRST_REQUEST_SIZE,
    choose: Callable[[Sequence[int]], Patches],
) -> Work:
    """Plan the way to ``new``; ``done`` rows are in staging already, earlier seeds come first.

    ``choose`` returns the deltas that bring some of the rows it is given. Requests for plain chunks
    begin at ``first_size`` bytes and grow to ``range_size_max``.
    """
    layout = placement.layout(new)
    wanted = layout.rows
    missing = wanted[~done[wanted]].astype(np.int64)
    copies: list[Copies] = []
    for seed in seeds:
        found = copies_from(seed, new.chunks, missing)
        missing = np.setdiff1d(missing, found.rows, assume_unique=True)
        copies.append(found)
    patches = choose(missing.tolist())
    patched = np.array(sorted(patches.rows), np.int64)
    missing = np.setdiff1d(missing, patched, assume_unique=True)
    requests = list(_sizes(new.chunks, missing, range_size_max, first_size))
    work_size, slack = _room_for(new, done, copies, placement, layout)
    work_size += patches.stone_size
    slack += patches.stone_slack
    plan = Plan(
        download_bytes=sum(requests) + patches.download_size,
        requests=len(requests) + patches.request_count,
        write_bytes=work_size,
        deltas=patches.count,
        delta_bytes=patches.download_size,
        delta_made_bytes=_size(new.chunks, patched),
        delta_step_bytes=patches.stone_size,
        reused_bytes=sum(_size(new.chunks, found.rows) for found in copies),
        kept_bytes=_size(new.chunks, wanted[done[wanted]]),
        peak_extra_bytes=work_size + slack + manifest_size(new.root),
        installed_bytes=new.installed_size,
        files_added=changes.added_count,
        files_changed=changes.changed_count,
        files_removed=len(changes.removed),
        files_unchanged=changes.unchanged_count,
        mode=placement.mode,
    )
    return Work(plan, changes, placement, layout, missing, patches, copies, first_size)


def requests_for(
    chunks: ChunkTable, rows: Rows, size_max: int, *, first_size: int = FIRST_REQUEST_SIZE
) -> Iterator[list[RangeRequest]]:
    """Yield the requests that bring ``rows``, in play order, a window at a time."""
    for start in range(0, len(rows), WINDOW_ROWS):
        window = rows[start : start + WINDOW_ROWS]
        offsets = chunks.offsets[window]
        ends = offsets + chunks.stored_sizes[window]
        columns = (window, chunks.bundle_indexes[window], offsets, ends)
        wanted = [Wanted(*row) for row in zip(*(c.tolist() for c in columns), strict=True)]
        yield list(range_requests(wanted, size_max=size_max, first_size=first_size))
        first_size = size_max


def group_ends(build: Build) -> list[int]:
    """Return, by group, one past the highest row that it or a group before it needs.

    Rows are numbered in play order, so a group can be put in place when all rows below are there.
    """
    ends = [
        int(rows.max()) + 1 if len(rows) else 0 for rows in (s.occurrences for s in build.shards)
    ]
    return [max(ends[: group + 1]) for group in range(len(ends))]


def manifest_size(root: Root) -> int:
    """Return the bytes of all pages of a build."""
    return sum(page.size for group in root.groups for page in group.pages)


def _room_for(
    new: Build, done: Mask, copies: Sequence[Copies], placement: Placement, layout: Layout
) -> tuple[int, int]:
    """Return how many bytes are written before a commit, and what files take beyond that."""
    to_store = np.zeros(len(done), np.bool_)
    to_store[layout.stored_rows] = True
    for found in copies:
        if found.seed.is_installed:
            to_store[found.rows] = False
    rows = np.flatnonzero(to_store & ~done)
    file_count = len(rows) + sum(int(mask.sum()) for mask in placement.written)
    # What is written to a clone may begin and end within a block that was shared.
    torn_count = 2 * sum(
        int((placement.kept[group][slice(*occurrences_of(new, (group, index)))] < 0).sum())
        for group, index in placement.cloned
    )
    written = layout.write_size(~done) + _size(new.chunks, rows)
    return written, (file_count + torn_count) * FILE_SLACK


def _by_path(old: Inventory) -> dict[str, tuple[int, int, Entry]]:
    return {
        entry.path: (group, index, entry)
        for group in old.groups
        for index, entry in enumerate(old.build.shards[group].entries)
    }


def _action(
    old: Inventory | None,
    place: tuple[int, int, Entry] | None,
    new: Build,
    shard: Shard,
    index: int,
) -> tuple[Action, bool]:
    """Return what to do with an entry, and whether it may be unchanged after all."""
    entry = shard.entries[index]
    if old is None or place is None:
        return Action.ADD, False
    group, old_index, old_entry = place
    is_intact = bool(old.intact[group][old_index])
    if not entry.kind.is_file:
        is_same = (old_entry.kind, old_entry.target) == (entry.kind, entry.target)
        return (Action.KEEP if is_same and is_intact else Action.CHANGE), False
    if not old_entry.kind.is_file:
        return Action.CHANGE, False
    if _same_bytes(old, (group, old_index), new, (shard, index)):
        return (Action.KEEP if is_intact else Action.CHANGE), False
    is_doubtful = is_intact and 0 < entry.size == old_entry.size < CHUNK_SIZE_MIN
    return Action.CHANGE, is_doubtful


def _same_bytes(
    old: Inventory, old_place: tuple[int, int], new: Build, place: tuple[Shard, int]
) -> bool:
    (group, old_index), (shard, index) = old_place, place
    old_shard = old.build.shards[group]
    if old.build.build_id == new.build_id:
        return True
    if old_shard.entries[old_index].size != shard.entries[index].size:
        return False
    return content_of(old.build, old_shard, old_index) == content_of(new, shard, index)


def _is_leaf(entry: Entry) -> bool:
    return entry.kind.is_file or bool(entry.target)


def _sizes(chunks: ChunkTable, rows: Rows, size_max: int, first_size: int) -> Iterator[int]:
    for window in requests_for(chunks, rows, size_max, first_size=first_size):
        yield from (request.size for request in window)


def _size(chunks: ChunkTable, rows: Rows | np.ndarray[tuple[int], np.dtype[np.uint32]]) -> int:
    return int(chunks.sizes[rows].sum(dtype=np.uint64))
