"""Pages put together: what no page can tell alone is checked, and what pages share is joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from chunks.chunk_id import Digest, digest_of
from kit.errors import FormatError, InvalidInput
from manifests.assembly import assemble
from manifests.documents import Group, PageRef, Root
from manifests.model import Build, BundleRef, ChunkTable, Entry, EntryKind
from manifests.page import Page
from tests.builds import TITLE, chunk_table, file, pages_of, read_back

ID = Digest(bytes(32))


def page(entries: Sequence[Entry], chunks: ChunkTable, offset: int = 0) -> Page:
    return Page(offset, tuple(entries), chunks, np.arange(len(chunks), dtype=np.uint32))


def group(pages: Sequence[Page], name: str = "launch", size: int | None = None) -> Group:
    """What an honest root says of ``pages``."""
    refs = [
        PageRef(digest="0" * 64, size=1, entry_count=len(p.entries), chunk_count=len(p.occurrences))
        for p in pages
    ]
    return Group(
        name=name,
        entry_count=sum(ref.entry_count for ref in refs),
        chunk_count=sum(ref.chunk_count for ref in refs),
        size=sum(int(p.chunks.sizes.sum()) for p in pages) if size is None else size,
        pages=tuple(refs),
    )


def put_together(*groups: Sequence[Page], size: int | None = None) -> Build:
    named = [group(pages, f"g{index}", size) for index, pages in enumerate(groups)]
    return assemble(ID, Root(title=TITLE, groups=tuple(named)), groups)


def two_pages() -> tuple[Page, Page]:
    """A file of 250 bytes in the first, and of 150 in the second, which begins within the first."""
    return (
        page([file("a", 250)], chunk_table([100, 100], 1)),
        page([file("b", 150)], chunk_table([100, 100], 2), 200),
    )


def test_the_good_pages_are_put_together() -> None:
    build = put_together(two_pages())
    (shard,) = build.shards
    assert (shard.size, build.installed_size) == (400, 400)
    assert shard.occurrences.tolist() == [0, 1, 2, 3]
    assert [entry.path for _, _, entry in build.entries()] == ["a", "b"]


def test_swapped_pages_are_refused() -> None:
    first, second = two_pages()
    with pytest.raises(FormatError, match="page 0 begins at 200"):
        put_together([second, first])


def test_a_missing_page_is_refused() -> None:
    first, second = two_pages()
    root = Root(title=TITLE, groups=(group([first, second]),))
    for pages in ([first], [second], []):
        with pytest.raises(FormatError, match="has 2 pages"):
            assemble(ID, root, [pages])


def test_a_page_missing_in_root_and_pages_alike_is_refused() -> None:
    _, second = two_pages()
    with pytest.raises(FormatError, match="begins at 200"):
        put_together([replace(second, entries=(file("b", 200),))])


@pytest.mark.parametrize("offset", [0, 199, 201, 2**42])
def test_pages_that_overlap_or_leave_a_hole_are_refused(offset: int) -> None:
    first, second = two_pages()
    with pytest.raises(FormatError, match=f"page 1 begins at {offset}"):
        put_together([first, replace(second, stream_offset=offset)])


def test_the_same_page_twice_is_refused() -> None:
    first, _ = two_pages()
    with pytest.raises(FormatError):
        put_together([first, first])


@pytest.mark.parametrize(("size", "entry_size"), [(400, 149), (400, 151), (399, 150), (401, 150)])
def test_sizes_that_do_not_add_up_are_refused(size: int, entry_size: int) -> None:
    first, second = two_pages()
    with pytest.raises(FormatError, match="do not add up"):
        put_together([first, replace(second, entries=(file("b", entry_size),))], size=size)


def test_an_entry_on_the_page_before_its_own_is_refused() -> None:
    first, second = two_pages()
    pages = [replace(first, entries=(*first.entries, *second.entries)), replace(second, entries=())]
    with pytest.raises(FormatError, match="page 0 has an entry of another page"):
        put_together(pages)


def test_an_entry_on_the_page_after_its_own_is_refused() -> None:
    first, second = two_pages()
    pages = [replace(first, entries=()), replace(second, entries=(*first.entries, *second.entries))]
    with pytest.raises(FormatError, match="page 1 has an entry of another page"):
        put_together(pages)


def test_an_empty_file_at_a_page_end_belongs_to_the_next() -> None:
    empty = Entry("empty", EntryKind.FILE)
    first, second = two_pages()
    first = replace(first, entries=(file("a", 200),))
    second = replace(second, entries=(file("b", 200),))
    put_together([first, replace(second, entries=(empty, *second.entries))])
    put_together([first, replace(second, entries=(*second.entries, empty))])
    with pytest.raises(FormatError, match="page 0 has an entry"):
        put_together([replace(first, entries=(*first.entries, empty)), second])


def test_pages_share_chunks_and_bundles() -> None:
    first, second = two_pages()
    again = replace(first, entries=(file("c", 200),), stream_offset=400)
    build = put_together([first, second, again])
    assert len(build.chunks) == 4
    assert build.shards[0].occurrences.tolist() == [0, 1, 2, 3, 0, 1]
    assert len(build.chunks.bundles) == 2
    assert build.row_of[build.chunks.chunk_id(3)] == 3


def test_groups_share_chunks() -> None:
    first, _ = two_pages()
    lone = replace(first, entries=(file("a", 200),))
    build = put_together([lone], [replace(lone, entries=(file("b", 200),))])
    assert [shard.occurrences.tolist() for shard in build.shards] == [[0, 1], [0, 1]]


def test_a_chunk_of_two_sizes_is_refused() -> None:
    first, second = two_pages()
    other = replace(first.chunks, sizes=np.array([100, 99], np.uint32))
    with pytest.raises(FormatError, match="one chunk different sizes"):
        put_together([first, second, page([file("c", 199)], other, 400)])


def test_a_bundle_of_two_sizes_is_refused() -> None:
    first, second = two_pages()
    bundles = tuple(BundleRef(ref.bundle_id, ref.size + 1) for ref in first.chunks.bundles)
    other = replace(chunk_table([100, 100], 3), bundles=bundles)
    with pytest.raises(FormatError, match="one bundle different sizes"):
        put_together([first, second, page([file("c", 200)], other, 400)])


def test_a_bundle_twice_in_a_page_with_two_sizes_is_refused() -> None:
    table = chunk_table([100, 100], per_bundle=1)
    first = table.bundles[0]
    table = replace(table, bundles=(first, BundleRef(first.bundle_id, first.size + 1)))
    with pytest.raises(FormatError, match="one bundle different sizes"):
        put_together([page([file("a", 200)], table)])


def test_a_chunk_listed_twice_in_a_page_is_refused() -> None:
    table = chunk_table([100, 100])
    table = replace(table, ids=table.ids[[0, 0]])
    with pytest.raises(FormatError, match="lists a chunk twice"):
        put_together([page([file("a", 200)], table)])


@pytest.mark.parametrize(
    "others",
    [
        [Entry("../b", EntryKind.FILE)],
        [Entry("A", EntryKind.FILE)],
        [Entry("a/b", EntryKind.FILE)],
        [Entry("a", EntryKind.DIRECTORY)],
        [Entry("b", EntryKind.LINK, 0, "..")],
        [Entry("b", EntryKind.LINK, 0, "c"), Entry("c", EntryKind.LINK, 0, "d")],
    ],
)
@pytest.mark.parametrize("is_same_group", [True, False])
def test_paths_are_held_against_the_rules_across_groups(
    others: list[Entry], is_same_group: bool
) -> None:
    one, *rest = [file("a", 0), *others]
    groups = [[one, *rest]] if is_same_group else [[entry] for entry in (one, *rest)]
    with pytest.raises(InvalidInput):
        put_together(*([page(entries, chunk_table([]))] for entries in groups))


def test_a_build_without_a_byte_is_put_together() -> None:
    entries = [file("a", 0), Entry("b", EntryKind.DIRECTORY), Entry("c", EntryKind.LINK, 0, "a")]
    build = read_back([("launch", entries, pages_of(entries, chunk_table([]), []))])
    assert [entry for _, _, entry in build.entries()] == entries
    assert (len(build.chunks), build.installed_size) == (0, 0)


def test_a_build_is_named_by_its_root() -> None:
    assert put_together(two_pages()).build_id == ID
    assert digest_of(b"") != ID
