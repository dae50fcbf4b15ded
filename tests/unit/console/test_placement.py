"""Who is made of what, from what is here and what is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from chunks.chunk_id import Digest
from console.inventory import Inventory
from console.placement import Mode, Placement, placement_of
from console.planner import changes_between
from manifests.documents import Root
from manifests.model import Build, Entry, EntryKind, Shard, starts_of
from tests.builds import TITLE, chunk_table

SIZES = [100_000 + row for row in range(20)]


def build(number: int, *files: tuple[str, Sequence[int]]) -> Build:
    """A build of files that are cut alone, each of some rows of one and the same table."""
    table = chunk_table(SIZES)
    entries = tuple(
        Entry(path, EntryKind.FILE, sum(SIZES[row] for row in rows)) for path, rows in files
    )
    rows = [row for _, own in files for row in own]
    starts = starts_of([SIZES[row] for row in rows])
    shard = Shard("launch", entries, np.array(rows, np.uint32), starts)
    return Build(Digest(bytes([number]) * 32), Root(title=TITLE, groups=()), table, (shard,))


def installed(old: Build, damaged: Sequence[int] = ()) -> Inventory:
    """All of a build; the occurrences ``damaged`` cannot be read."""
    shard = old.shards[0]
    readable = np.ones(len(shard.occurrences), np.bool_)
    readable[list(damaged)] = False
    first = np.searchsorted(shard.chunk_starts, shard.entry_starts)
    intact = np.array([readable[a:b].all() for a, b in pairwise(first.tolist())])
    return Inventory(old, (0,), [intact], [readable], (), 0)


def placed(mode: Mode, old: Inventory, new: Build, patchable: int = 20) -> Placement:
    changes = changes_between(old, new)
    free = [(0, index) for index in range(patchable)]
    return placement_of(mode, changes.staged, old, new, doubtful=changes.doubtful, patchable=free)


def test_renamed_file_is_adopted_in_every_mode() -> None:
    old, new = build(1, ("a", [0, 1, 2])), build(2, ("b", [0, 1, 2]))
    for mode in Mode:
        placement = placed(mode, installed(old), new)
        assert placement.adopted == {(0, 0): (0, 0)}
        assert not placement.written[0].any()
        assert placement.mode is Mode.OVERLAY


def test_small_file_that_may_stay_is_not_adopted() -> None:
    # In the new build "a" is cut with "b": only its bytes will tell whether it stays.
    table = chunk_table([5, 10])

    def packed(number: int, names: str, rows: Sequence[int]) -> Build:
        entries = tuple(Entry(name, EntryKind.FILE, 5) for name in names)
        starts = starts_of([int(table.sizes[row]) for row in rows])
        shard = Shard("launch", entries, np.array(rows, np.uint32), starts)
        return Build(Digest(bytes([number]) * 32), Root(title=TITLE, groups=()), table, (shard,))

    old, new = installed(packed(1, "a", [0])), packed(2, "abc", [1, 0])
    assert changes_between(old, new).doubtful[0].tolist() == [True, False, False]
    assert placed(Mode.OVERLAY, old, new).adopted == {}


def test_file_that_stays_is_not_adopted() -> None:
    old, new = build(1, ("a", [0, 1])), build(2, ("a", [0, 1]), ("b", [0, 1]))
    assert placed(Mode.OVERLAY, installed(old), new).adopted == {}


def test_one_old_file_is_adopted_once() -> None:
    old, new = build(1, ("a", [0, 1])), build(2, ("b", [0, 1]), ("c", [0, 1]))
    placement = placed(Mode.OVERLAY, installed(old), new)
    assert placement.adopted == {(0, 0): (0, 0)}
    assert placement.written[0].tolist() == [False, True]


def test_damaged_file_is_not_adopted() -> None:
    old, new = build(1, ("a", [0, 1])), build(2, ("b", [0, 1]))
    assert placed(Mode.OVERLAY, installed(old, damaged=[1]), new).adopted == {}


def test_what_is_at_its_place_is_kept() -> None:
    old, new = build(1, ("a", [0, 1, 2, 3])), build(2, ("a", [0, 9, 2, 3]))
    for mode in (Mode.CLONE, Mode.IN_PLACE):
        placement = placed(mode, installed(old), new)
        # Row 9 has another size than row 1, so all behind it is at another place.
        assert placement.kept[0].tolist() == [0, -1, -1, -1]
        assert placement.mode is mode


def test_what_cannot_be_read_is_not_kept() -> None:
    old = build(1, ("a", [0, 1, 2]))
    placement = placed(Mode.IN_PLACE, installed(old, damaged=[1]), old)
    assert placement.kept[0].tolist() == [0, -1, 2]
    assert placement.patched == {(0, 0): (0, 0)}


def test_file_that_keeps_nothing_is_not_cloned() -> None:
    old, new = build(1, ("a", [0, 1, 2])), build(2, ("a", [9, 0, 1, 2]))
    assert placed(Mode.CLONE, installed(old), new).cloned == {}
    assert placed(Mode.IN_PLACE, installed(old), new).patched == {(0, 0): (0, 0)}


def test_file_that_has_nothing_of_the_old_one_is_built_whole() -> None:
    old, new = build(1, ("a", [0, 1, 2])), build(2, ("a", [7, 8]))
    placement = placed(Mode.IN_PLACE, installed(old), new)
    assert placement.patched == {}
    assert placement.written[0].all()


def test_renamed_and_changed_file_is_made_of_the_one_it_shares_most_with() -> None:
    old = build(1, ("a", [0, 1, 2]), ("b", [3, 4, 5, 6]))
    new = build(2, ("c", [3, 4, 5, 0]))
    assert placed(Mode.IN_PLACE, installed(old), new).patched == {(0, 0): (0, 1)}
    assert placed(Mode.CLONE, installed(old), new).cloned == {(0, 0): (0, 1)}


def test_old_file_is_patched_into_one_new_file_but_cloned_into_many() -> None:
    old = build(1, ("a", [0, 1, 2]))
    new = build(2, ("a", [0, 1, 9]), ("b", [0, 1, 8]))
    assert placed(Mode.IN_PLACE, installed(old), new).patched == {(0, 0): (0, 0)}
    assert set(placed(Mode.CLONE, installed(old), new).cloned.values()) == {(0, 0)}
    assert len(placed(Mode.CLONE, installed(old), new).cloned) == 2


def test_file_that_stays_is_cloned_but_not_patched() -> None:
    old = build(1, ("a", [0, 1, 2]))
    new = build(2, ("a", [0, 1, 2]), ("b", [0, 1, 8]))
    assert placed(Mode.IN_PLACE, installed(old), new).patched == {}
    assert placed(Mode.CLONE, installed(old), new).cloned == {(0, 1): (0, 0)}


def test_file_that_is_not_ours_alone_is_not_patched() -> None:
    old, new = build(1, ("a", [0, 1, 2])), build(2, ("a", [0, 1, 9]))
    assert placed(Mode.IN_PLACE, installed(old), new, patchable=0).patched == {}
