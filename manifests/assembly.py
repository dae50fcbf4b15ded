"""Put pages together to a build, and check what no page can tell alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chunks.chunk_id import Digest
from kit.errors import FormatError
from manifests.documents import Group, Root
from manifests.model import (
    U32,
    U64,
    Build,
    BundleRef,
    ChunkTable,
    Entry,
    EntryKind,
    Shard,
    starts_of,
)
from manifests.page import Page
from manifests.paths import PathRules


def assemble(build_id: Digest, root: Root, pages: Sequence[Sequence[Page]]) -> Build:
    """Return the build whose root names ``pages``: for each group, its pages in order.

    Raises:
        FormatError: The pages contradict each other or the root.
        InvalidInput: An entry has a path or a link that no build may have.
    """
    for group, group_pages in zip(root.groups, pages, strict=True):
        if len(group_pages) != len(group.pages):
            raise FormatError(f"group {group.name} has {len(group.pages)} pages")
    chunks, rows_of_page = _merge([page.chunks for group in pages for page in group])
    shards, rules, taken = [], PathRules(), 0
    for group, group_pages in zip(root.groups, pages, strict=True):
        rows = rows_of_page[taken : taken + len(group_pages)]
        taken += len(group_pages)
        occurrences = [map_[page.occurrences] for map_, page in zip(rows, group_pages, strict=True)]
        shards.append(_shard(group, group_pages, np.concatenate(occurrences), chunks))
        check_entries(rules, shards[-1].entries)
    rules.finish()
    return Build(build_id, root, chunks, tuple(shards))


def check_entries(rules: PathRules, entries: Sequence[Entry]) -> None:
    """Hold every entry of one group against the rules of paths.

    Raises:
        InvalidInput: One breaks a rule; path and rule are named.
    """
    for entry in entries:
        match entry.kind:
            case EntryKind.DIRECTORY:
                rules.add_folder(entry.path)
            case EntryKind.LINK:
                rules.add_link(entry.path, entry.target)
            case EntryKind.FILE | EntryKind.EXECUTABLE:
                rules.add_file(entry.path)


def _shard(group: Group, pages: Sequence[Page], occurrences: U32, chunks: ChunkTable) -> Shard:
    chunk_starts = starts_of(chunks.sizes[occurrences])
    entries = tuple(entry for page in pages for entry in page.entries)
    shard = Shard(group.name, entries, occurrences, chunk_starts)
    if shard.size != group.size or int(shard.entry_starts[-1]) != group.size:
        raise FormatError(f"group {group.name}: files and chunks do not add up to its size")
    _check_page_bounds(shard, pages, chunk_starts)
    return shard


def _check_page_bounds(shard: Shard, pages: Sequence[Page], chunk_starts: U64) -> None:
    entry_at, chunk_at = 0, 0
    for index, page in enumerate(pages):
        start = int(chunk_starts[chunk_at])
        chunk_at += len(page.occurrences)
        end = int(chunk_starts[chunk_at])
        if page.stream_offset != start:
            raise FormatError(f"group {shard.name}: page {index} begins at {page.stream_offset}")
        first, entry_at = entry_at, entry_at + len(page.entries)
        begins = shard.entry_starts[first:entry_at]
        is_last = index == len(pages) - 1
        if np.any(begins < start) or (not is_last and np.any(begins >= end)):
            raise FormatError(f"group {shard.name}: page {index} has an entry of another page")


def _merge(tables: Sequence[ChunkTable]) -> tuple[ChunkTable, list[U32]]:
    """Join page tables into one without repeats; also return each page row's row in it."""
    bundle_index: dict[BundleRef, int] = {}
    bundle_maps = [
        np.array([bundle_index.setdefault(b, len(bundle_index)) for b in table.bundles], np.uint32)
        for table in tables
    ]
    if len({bundle.bundle_id for bundle in bundle_index}) != len(bundle_index):
        raise FormatError("two pages give one bundle different sizes")
    ids = np.concatenate([table.ids for table in tables])
    _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty(len(order), dtype=np.uint32)
    rank[order] = np.arange(len(order), dtype=np.uint32)
    rows, keep = rank[inverse], first[order]
    sizes = np.concatenate([table.sizes for table in tables])
    if np.any(sizes != sizes[keep][rows]):
        raise FormatError("two pages give one chunk different sizes")
    merged = ChunkTable(
        ids=ids[keep],
        sizes=sizes[keep],
        stored_sizes=np.concatenate([table.stored_sizes for table in tables])[keep],
        bundle_indexes=np.concatenate(
            [map_[t.bundle_indexes] for map_, t in zip(bundle_maps, tables, strict=True)]
        )[keep],
        offsets=np.concatenate([table.offsets for table in tables])[keep],
        bundles=tuple(bundle_index),
    )
    rows_by_page = np.split(rows, np.cumsum([len(table) for table in tables])[:-1])
    if any(len(np.unique(of_page)) != len(of_page) for of_page in rows_by_page):
        raise FormatError("a page lists a chunk twice")
    return merged, rows_by_page
