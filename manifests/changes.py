"""What differs between two builds, entry by entry and chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np

from chunks.chunk_id import ChunkId
from manifests.model import U32, Build, Entry, Shard, index_at


class Change(Enum):
    """What happens to a path on the way from the old build to the new one."""

    ADDED = "added"
    CHANGED = "changed"
    MODE = "mode"
    """Same bytes, another kind: a file became executable or ceased to be."""
    UNCHANGED = "unchanged"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class EntryChange:
    """One path; ``old`` is None if it is added, ``new`` is None if it is removed."""

    path: str
    change: Change
    old: Entry | None
    new: Entry | None


Content = tuple[int, int, bytes]
"""Size, offset in the first chunk, ids of the chunks: equal means equal bytes."""


def content_of(build: Build, shard: Shard, entry_index: int) -> Content:
    """Return what tells whether two files have equal bytes without reading them.

    Equal contents mean equal bytes. Unequal contents of small files may still be equal bytes that
    were cut with other neighbours; whoever wants to be sure compares the bytes.
    """
    size = shard.entries[entry_index].size
    if size == 0:
        return (0, 0, b"")
    start = int(shard.entry_starts[entry_index])
    first = index_at(shard.chunk_starts, start)
    last = index_at(shard.chunk_starts, start + size - 1)
    ids = build.chunks.ids[shard.occurrences[first : last + 1]]
    return (size, start - int(shard.chunk_starts[first]), ids.tobytes())


def entry_changes(old: Build | None, new: Build) -> list[EntryChange]:
    """Return every path of either build: the new one's in play order, then what is removed."""
    before = {} if old is None else {e.path: (s, i, e) for s, i, e in old.entries()}
    changes: list[EntryChange] = []
    for shard, index, entry in new.entries():
        found = before.pop(entry.path, None)
        if old is None or found is None:
            changes.append(EntryChange(entry.path, Change.ADDED, None, entry))
            continue
        old_shard, old_index, old_entry = found
        is_same = content_of(old, old_shard, old_index) == content_of(new, shard, index)
        change = _change(old_entry, entry, is_same)
        changes.append(EntryChange(entry.path, change, old_entry, entry))
    changes += (EntryChange(p, Change.REMOVED, e, None) for p, (_, _, e) in before.items())
    return changes


def missing_rows(new: Build, has: Callable[[ChunkId], bool]) -> U32:
    """Return the rows of ``new``'s chunks for which ``has`` is false, in play order.

    Rows of a build are numbered in play order, so ascending is play order.
    """
    missing = [row for row, chunk_id in enumerate(new.chunks.all_ids()) if not has(chunk_id)]
    return np.array(missing, dtype=np.uint32)


def _change(old: Entry, new: Entry, is_same_content: bool) -> Change:
    if old.kind is new.kind:
        is_same = is_same_content and old.target == new.target
        return Change.UNCHANGED if is_same else Change.CHANGED
    if old.kind.is_file and new.kind.is_file and is_same_content:
        return Change.MODE
    return Change.CHANGED
