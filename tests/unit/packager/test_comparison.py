"""What became of every byte of a build, told from chunks alone."""

from __future__ import annotations

import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from manifests.model import Build, Entry, EntryKind, Shard
from packager.comparison import Comparison, FileComparison, Span, SpanKind, compare
from tests.builds import chunk_table, file, pages_of, read_back

SIZES = (70_000, 90_000, 64_000, 300, 120_000, 80_000, 100_000, 65_536)
POOL = chunk_table(SIZES)


def build(files: dict[str, list[int]]) -> Build:
    """A build of files that are each some chunks of the pool, all in one group."""
    entries = [file(path, sum(SIZES[row] for row in rows)) for path, rows in files.items()]
    rows = [row for of_file in files.values() for row in of_file]
    return read_back([("game", entries, pages_of(entries, POOL, rows))])


def spans(found: Comparison, path: str) -> list[tuple[int, int, str]]:
    [compared] = [file for file in found.files if file.path == path]
    return [(span.start, span.end, span.kind.value) for span in compared.spans]


def only(found: Comparison) -> FileComparison:
    [compared] = found.files
    return compared


def test_a_file_as_before_is_unchanged_and_not_listed() -> None:
    found = compare(build({"a": [0, 1]}), build({"a": [0, 1]}))
    assert found.files == ()
    assert (found.sizes.unchanged, found.sizes.total) == (160_000, 160_000)


def test_what_replaced_other_bytes_is_changed_and_what_goes_beyond_is_new() -> None:
    found = compare(build({"a": [0, 1, 2]}), build({"a": [0, 4, 2]}))
    assert spans(found, "a") == [
        (0, 70_000, "unchanged"),
        (70_000, 160_000, "changed"),
        (160_000, 190_000, "new"),
        (190_000, 254_000, "moved"),
    ]
    changed = only(found).spans[1]
    assert (changed.old_path, changed.old_start) == ("a", 70_000)


def test_what_stands_further_behind_is_moved_and_costs_nothing() -> None:
    found = compare(build({"a": [0, 1]}), build({"a": [5, 0, 1]}))
    assert spans(found, "a") == [(0, 80_000, "new"), (80_000, 240_000, "moved")]
    assert only(found).spans[1].shift == 80_000
    assert found.sizes.download == 40_000


def test_a_renamed_file_is_compared_with_what_it_was() -> None:
    found = compare(build({"old": [0, 1, 2]}), build({"new": [0, 4, 2]}))
    assert only(found).old_path == "old"
    assert found.sizes.changed == 90_000
    assert [gone.path for gone in found.removed] == ["old"]


def test_a_file_whose_name_holds_a_version_is_compared_with_the_version_before() -> None:
    old = build({"lib-1.2/a-9f86d081.so": [0], "kept": [1]})
    assert only(compare(old, build({"lib-1.3/a-60303ae2.so": [2], "kept": [1]}))).old_path
    assert not only(compare(old, build({"lib-1.3/b-60303ae2.so": [2], "kept": [1]}))).old_path


def test_a_chunk_that_occurs_twice_is_downloaded_once() -> None:
    found = compare(build({"a": [0]}), build({"a": [4, 4], "b": [4]}))
    assert [file.download_size for file in found.files] == [60_000, 0]
    assert found.sizes.download == 60_000


def test_members_in_another_order_are_moved_and_leave_no_room_for_news() -> None:
    found = compare(build({"a": [0, 1, 2]}), build({"a": [2, 5, 0]}))
    assert [kind for _, _, kind in spans(found, "a")] == ["moved", "changed", "moved"]


def test_a_file_that_crosses_groups_is_unchanged() -> None:
    entries = [[file("a", 70_000)], [file("b", 90_000)]]
    old = build({"a": [0], "b": [1]})
    new = read_back(
        [
            ("core", entries[1], pages_of(entries[1], POOL, [1])),
            ("rest", entries[0], pages_of(entries[0], POOL, [0], first=False)),
        ]
    )
    found = compare(old, new)
    assert found.files == ()
    assert [(group.name, group.sizes.unchanged) for group in found.groups] == [
        ("core", 90_000),
        ("rest", 70_000),
    ]


def test_links_and_folders_are_no_files() -> None:
    entries = [
        file("a", 70_000),
        Entry("l", EntryKind.LINK, 0, "a"),
        Entry("saves", EntryKind.DIRECTORY),
    ]
    new = read_back([("game", entries, pages_of(entries, POOL, [0]))])
    found = compare(build({"a": [1]}), new)
    assert [file.path for file in found.files] == ["a"]
    assert found.groups[0].file_count == 1


@st.composite
def any_builds(draw: st.DrawFn) -> Build:
    """A build of few paths whose files are cut anywhere, over chunks of the same pool."""
    seed = draw(st.integers(0, 2**32))
    rng = random.Random(seed)
    groups = []
    names = [f"f{number}" for number in range(9)]
    rng.shuffle(names)
    for index in range(rng.randint(1, 2)):
        rows = [rng.randrange(len(SIZES)) for _ in range(rng.randint(1, 6))]
        total = sum(SIZES[row] for row in rows)
        count = rng.randint(1, 4)
        at = sorted(rng.choice([0, 10, 70_000, rng.randint(0, total)]) for _ in range(count - 1))
        cuts = [0, *(min(cut, total) for cut in at), total]
        entries = [file(names.pop(), b - a) for a, b in pairwise(cuts)]
        pages = pages_of(entries, POOL, rows, first=index == 0)
        groups.append((f"g{index}", entries, pages))
    return read_back(groups)


def blocks(shard: Shard, index: int, build: Build) -> list[tuple[bytes, int]]:
    """Every tenth byte of a file by its chunk and its place there, found by another way."""
    return [
        (build.chunks.chunk_id(piece.row), piece.chunk_offset + offset)
        for piece in shard.pieces_of_entry(index)
        for offset in range(-piece.file_offset % 10, piece.length, 10)
    ]


@given(any_builds(), any_builds())
def test_every_byte_is_of_one_kind_and_costs_add_up(old: Build, new: Build) -> None:
    found = compare(old, new)
    assert found.sizes.total == new.installed_size
    missing = {id_ for id_ in new.row_of if id_ not in old.row_of}
    assert found.sizes.download == sum(
        int(new.chunks.stored_sizes[new.row_of[id_]]) for id_ in missing
    )
    was = {e.path: blocks(s, i, old) for s, i, e in old.entries()}
    of_path = {compared.path: compared for compared in found.files}
    for group, shard in zip(found.groups, new.shards, strict=True):
        assert group.sizes.total == shard.size
    for shard, index, entry in new.entries():
        spans = [Span(0, entry.size, SpanKind.UNCHANGED)] if entry.size else []
        if entry.path in of_path:
            spans = list(of_path[entry.path].spans)
            assert of_path[entry.path].sizes.total == entry.size
        assert [span.start for span in spans] == [0, *(span.end for span in spans)][: len(spans)]
        assert (spans[-1].end if spans else 0) == entry.size
        before = was.get(entry.path, [])
        for at, block in enumerate(blocks(shard, index, new)):
            [kind] = [span.kind for span in spans if span.start <= at * 10 < span.end]
            assert kind.is_downloaded == (block[0] in missing)
            assert (kind is SpanKind.UNCHANGED) == (before[at : at + 1] == [block])


@given(any_builds(), any_builds())
def test_moved_bytes_are_where_their_span_says(old: Build, new: Build) -> None:
    was = {e.path: blocks_exactly(s, i, old) for s, i, e in old.entries()}
    now = {e.path: blocks_exactly(s, i, new) for s, i, e in new.entries()}
    for compared in compare(old, new).files:
        for span in compared.spans:
            if not span.kind.is_downloaded:
                for at in (0, span.size // 2, span.size - 1):
                    assert chunk_at(now[compared.path], span.start + at) == chunk_at(
                        was[span.old_path], span.old_start + at
                    )


def blocks_exactly(shard: Shard, index: int, build: Build) -> list[tuple[int, int, bytes, int]]:
    pieces = shard.pieces_of_entry(index)
    return [
        (p.file_offset, p.file_offset + p.length, build.chunks.chunk_id(p.row), p.chunk_offset)
        for p in pieces
    ]


def chunk_at(pieces: list[tuple[int, int, bytes, int]], offset: int) -> tuple[bytes, int]:
    [found] = [
        (id_, at + offset - start) for start, end, id_, at in pieces if start <= offset < end
    ]
    return found
