"""What differs between two builds, against comparing them byte by byte."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from chunks.chunk_id import ChunkId, chunk_id_of, digest_of
from manifests.changes import Change, content_of, entry_changes, missing_rows
from manifests.model import Build, BundleRef, ChunkTable, Entry, EntryKind
from tests.builds import pages_of, read_back

Tree = dict[str, tuple[EntryKind, bytes]]
"""By path, kind and bytes; a link's bytes are its target."""

CHUNK_SIZE = 8  # of these tests' own cutter: every 8 bytes of a group's stream


def build_of(*groups: Tree) -> Build:
    """Cut, store and read back; every chunk once, however often it occurs."""
    streams = [
        b"".join(content for kind, content in tree.values() if kind.is_file) for tree in groups
    ]
    cut = [[s[at : at + CHUNK_SIZE] for at in range(0, len(s), CHUNK_SIZE)] for s in streams]
    distinct = list(dict.fromkeys(chunk for chunks in cut for chunk in chunks))
    table = ChunkTable(
        ids=np.frombuffer(b"".join(chunk_id_of(digest_of(c)) for c in distinct), dtype="V16"),
        sizes=np.array([len(chunk) for chunk in distinct], np.uint32),
        stored_sizes=np.ones(len(distinct), np.uint32),
        bundle_indexes=np.zeros(len(distinct), np.uint32),
        offsets=np.arange(len(distinct), dtype=np.uint32),
        bundles=(BundleRef(digest_of(b"bundle"), 1 << 20),),
    )
    return read_back(
        [
            (
                f"g{index}",
                entries_of(tree),
                pages_of(entries_of(tree), table, [distinct.index(c) for c in cut[index]]),
            )
            for index, tree in enumerate(groups)
        ]
    )


def entries_of(tree: Tree) -> Sequence[Entry]:
    return [
        Entry(path, kind, len(content)) if kind.is_file
        else Entry(path, kind, 0, content.decode())
        for path, (kind, content) in tree.items()
    ]  # fmt: skip


contents = st.sampled_from(
    [b"", b"a", b"ab", b"12345678", b"12345678abcdefgh", b"x" * 24, b"x" * 25]
)
files = st.tuples(st.sampled_from([EntryKind.FILE, EntryKind.EXECUTABLE]), contents)
others = st.sampled_from(
    [(EntryKind.DIRECTORY, b""), (EntryKind.LINK, b"nowhere"), (EntryKind.LINK, b"elsewhere")]
)
trees = st.dictionaries(st.sampled_from("abcdefgh"), files | files | others, min_size=1, max_size=8)


@settings(max_examples=200, deadline=None)
@given(trees, trees)
def test_changes_are_those_of_a_comparison_byte_by_byte(before: Tree, after: Tree) -> None:
    """But for what is said of them: equal bytes may pass for changed, never the reverse."""
    changes = {change.path: change for change in entry_changes(build_of(before), build_of(after))}
    assert changes.keys() == before.keys() | after.keys()
    for path, change in changes.items():
        match before.get(path), after.get(path):
            case None, _:
                assert (change.change, change.old) == (Change.ADDED, None)
            case _, None:
                assert (change.change, change.new) == (Change.REMOVED, None)
            case (old_kind, old), (new_kind, new):
                is_same_kind = old_kind is new_kind
                if old != new or not (is_same_kind or (old_kind.is_file and new_kind.is_file)):
                    assert change.change is Change.CHANGED
                elif change.change is Change.CHANGED:
                    assert old_kind.is_file
                    assert old, "equal contents without bytes passed for changed"
                else:
                    assert change.change is (Change.UNCHANGED if is_same_kind else Change.MODE)
            case neither:
                raise AssertionError(neither)


@given(trees)
def test_a_build_is_unchanged_against_itself(tree: Tree) -> None:
    build = build_of(tree)
    changes = entry_changes(build, build)
    assert [(change.path, change.change) for change in changes] == [
        (path, Change.UNCHANGED) for path in tree
    ]


@given(trees)
def test_against_nothing_everything_is_added(tree: Tree) -> None:
    changes = entry_changes(None, build_of(tree))
    assert [(c.path, c.change, c.old) for c in changes] == [(p, Change.ADDED, None) for p in tree]


def test_a_file_that_moves_to_another_group_is_unchanged() -> None:
    one, two = {"a": (EntryKind.FILE, b"12345678")}, {"b": (EntryKind.FILE, b"abcdefgh")}
    changes = entry_changes(build_of(one, two), build_of(two, one))
    assert [(change.path, change.change) for change in changes] == [
        ("b", Change.UNCHANGED),
        ("a", Change.UNCHANGED),
    ]


def test_new_ones_come_in_play_order_and_removed_ones_last() -> None:
    f = (EntryKind.FILE, b"")
    changes = entry_changes(build_of({"z": f, "a": f}), build_of({"m": f, "a": f}))
    assert [change.path for change in changes] == ["m", "a", "z"]


@settings(max_examples=100, deadline=None)
@given(trees, trees)
def test_equal_contents_mean_equal_bytes(one: Tree, other: Tree) -> None:
    known: dict[object, bytes] = {}
    for tree in (one, other):
        build = build_of(tree)
        for shard, index, entry in build.entries():
            if entry.kind.is_file:
                plain = tree[entry.path][1]
                assert known.setdefault(content_of(build, shard, index), plain) == plain


@settings(max_examples=100, deadline=None)
@given(trees, trees)
def test_missing_rows_are_those_the_other_lacks_in_play_order(old: Tree, new: Tree) -> None:
    has = set(build_of(old).chunks.all_ids())
    build = build_of(new)
    stream: list[ChunkId] = [
        build.chunks.chunk_id(row) for shard in build.shards for row in shard.occurrences.tolist()
    ]
    expected = [chunk_id for chunk_id in dict.fromkeys(stream) if chunk_id not in has]
    rows = missing_rows(build, has.__contains__)
    assert [build.chunks.chunk_id(row) for row in rows.tolist()] == expected
