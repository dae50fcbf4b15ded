"""Builds made of nothing: arbitrary entries and chunks, without bytes, for tests of manifests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from chunks.chunk_id import CHUNK_ID_SIZE, digest_of
from manifests.assembly import assemble
from manifests.documents import Group, PageRef, Root, encode, parse_root
from manifests.model import Build, BundleRef, ChunkTable, Entry, EntryKind
from manifests.names import TitleId
from manifests.page import EncodedPage, encode_shard, parse_page

TITLE = TitleId("a-title")


def file(path: str, size: int) -> Entry:
    return Entry(path, EntryKind.FILE, size)


def chunk_table(sizes: Sequence[int], salt: int = 0, per_bundle: int = 3) -> ChunkTable:
    """Distinct chunks of these sizes, all stored at half their size, a few to a bundle."""
    ids = [digest_of(f"{salt}/{row}".encode())[:CHUNK_ID_SIZE] for row in range(len(sizes))]
    stored = [max(1, size // 2) for size in sizes]
    bundle_count = -(-len(sizes) // per_bundle)
    bundles = [
        BundleRef(digest_of(f"bundle {salt}/{index}".encode()), 4 << 20)
        for index in range(bundle_count)
    ]
    offsets = [
        sum(stored[row - row % per_bundle : row]) + 7 * (row % 2) * (row % per_bundle)
        for row in range(len(sizes))
    ]
    return ChunkTable(
        ids=np.frombuffer(b"".join(ids), dtype=f"V{CHUNK_ID_SIZE}"),
        sizes=np.array(sizes, dtype=np.uint32),
        stored_sizes=np.array(stored, dtype=np.uint32),
        bundle_indexes=np.arange(len(sizes), dtype=np.uint32) // np.uint32(per_bundle),
        offsets=np.array(offsets, dtype=np.uint32),
        bundles=tuple(bundles),
    )


def pages_of(
    entries: Sequence[Entry], chunks: ChunkTable, occurrences: Sequence[int], *, first: bool = True
) -> list[EncodedPage]:
    rows = np.array(occurrences, dtype=np.uint32)
    return list(encode_shard(entries, chunks, rows, is_first_group=first))


def group_of(name: str, entries: Sequence[Entry], pages: Sequence[EncodedPage]) -> Group:
    return Group(
        name=name,
        entry_count=len(entries),
        chunk_count=sum(page.chunk_count for page in pages),
        size=sum(entry.size for entry in entries),
        pages=tuple(
            PageRef(
                digest=digest_of(page.data).hex(),
                size=len(page.data),
                entry_count=page.entry_count,
                chunk_count=page.chunk_count,
            )
            for page in pages
        ),
    )


def read_back(groups: Sequence[tuple[str, Sequence[Entry], Sequence[EncodedPage]]]) -> Build:
    """Write a root over encoded pages, and read everything back as a console does."""
    root_bytes = encode(Root(title=TITLE, groups=tuple(group_of(*group) for group in groups)))
    build_id = digest_of(root_bytes)
    root = parse_root(root_bytes, build_id, TITLE)
    pages = [
        [parse_page(page.data, ref) for page, ref in zip(encoded, group.pages, strict=True)]
        for group, (_, _, encoded) in zip(root.groups, groups, strict=True)
    ]
    return assemble(build_id, root, pages)


names = st.text("abcdefghijk_", min_size=1, max_size=8)


@st.composite
def entry_lists(draw: st.DrawFn) -> list[Entry]:
    """Up to 60 entries with distinct, valid paths: files of any size, folders, links."""
    count = draw(st.integers(1, 60))
    entries: list[Entry] = []
    for index in range(count):
        path = f"{draw(names)}{index}/{draw(names)}" if draw(st.booleans()) else f"f{index}.bin"
        match draw(st.sampled_from("ffffxdl")):
            case "d":
                entries.append(Entry(path, EntryKind.DIRECTORY))
            case "l":
                entries.append(Entry(path, EntryKind.LINK, 0, f"l{index}"))
            case kind:
                of_kind = EntryKind.EXECUTABLE if kind == "x" else EntryKind.FILE
                entries.append(Entry(path, of_kind, draw(st.integers(0, 3_000_000))))
    return entries


def cut_sizes(total: int, random: st.DataObject) -> list[int]:
    """Split ``total`` bytes into chunks of any allowed size."""
    sizes: list[int] = []
    while total:
        size = min(total, random.draw(st.sampled_from([1, 1000, 65536, 300_000, 1 << 20])))
        if len(sizes) > 200:
            size = min(total, 1 << 20)
        sizes.append(size)
        total -= size
    return sizes
