"""How much metadata a console fetches before its first chunk, as builds grow.

The builds are synthetic (seeded ids, sizes and paths; no bytes), which is fair here: ids do not
compress, and nothing but their number decides a page's size.
"""

from __future__ import annotations

import random
import time

import numpy as np

from benchmarks.table import parser, show
from chunks.chunk_id import Digest, digest_of
from manifests.documents import Group, PageRef, Root, encode, parse_root
from manifests.model import BundleRef, ChunkTable, Entry, EntryKind
from manifests.names import TitleId
from manifests.page import EncodedPage, encode_shard, parse_page

HEAD_SIZE = 400
"""A head is a document of fixed shape; this is generous."""
CHUNK_SIZE_MEAN = 320 << 10
STORED_PERCENT = 60
BUNDLE_SIZE = 16 << 20

CASES = [
    (100 << 20, 10),
    (100 << 20, 100_000),
    (1 << 30, 10_000),
    (5 << 30, 10),
    (5 << 30, 100_000),
    (50 << 30, 100_000),
    (200 << 30, 300_000),
]


def main() -> None:
    """Encode and read back the manifest of each case."""
    options = parser(__doc__).parse_args()
    rows = [
        [
            "build",
            "files",
            "chunks",
            "all pages",
            "root",
            "first page",
            "before first chunk",
            "write",
            "read",
        ]
    ]
    for size, file_count in CASES:
        rows.append(_row(size, file_count))
    show(
        "metadata",
        "python -m benchmarks.metadata",
        rows,
        save=options.save,
        notes=[
            "before first chunk = head + root + first page: three requests, one after another",
            "a console that knows nothing fetches the trust bundle in place of the head, 14.5 kB"
            " more (`trusted_heads`)",
        ],
    )


def _row(size: int, file_count: int) -> list[str]:
    entries, chunks = _synthetic(size, file_count)
    started = time.perf_counter()
    occurrences = np.arange(len(chunks), dtype=np.uint32)
    pages = list(encode_shard(entries, chunks, occurrences, is_first_group=True))
    write_s = time.perf_counter() - started
    root = _root(entries, pages)
    data = encode(root)
    started = time.perf_counter()
    refs = parse_root(data, digest_of(data), TitleId("title")).groups[0].pages
    for page, ref in zip(pages, refs, strict=True):
        parse_page(page.data, ref)
    read_s = time.perf_counter() - started
    before = HEAD_SIZE + len(data) + len(pages[0].data)
    total = sum(len(page.data) for page in pages)
    return [f"{size / 2**30:.1f} GiB", f"{file_count:,}", f"{len(chunks):,}", _kb(total),
            _kb(len(data)), _kb(len(pages[0].data)), _kb(before), f"{write_s:.2f} s",
            f"{read_s:.2f} s"]  # fmt: skip


def _synthetic(size: int, file_count: int) -> tuple[list[Entry], ChunkTable]:
    rng = random.Random(7)
    weights = [rng.paretovariate(1.1) for _ in range(file_count)]
    unit = size / sum(weights)
    sizes = [int(weight * unit) for weight in weights]
    sizes[0] += size - sum(sizes)
    entries = [
        Entry(f"data/level_{index % 97:02}/asset_{rng.randrange(10**6):06}_{index}.bin",
              EntryKind.FILE, file_size)
        for index, file_size in enumerate(sizes)
    ]  # fmt: skip
    chunk_sizes = [CHUNK_SIZE_MEAN + rng.randrange(-(150 << 10), 150 << 10)
                   for _ in range(size // CHUNK_SIZE_MEAN)]  # fmt: skip
    chunk_sizes.append(1)
    chunk_sizes[:-1] = _scaled(chunk_sizes[:-1], size - 1)
    return entries, _table(chunk_sizes, rng)


def _scaled(sizes: list[int], total: int) -> list[int]:
    difference, index = total - sum(sizes), 0
    while difference:
        step = max(-1000, min(1000, difference))
        sizes[index % len(sizes)] += step
        difference -= step
        index += 1
    return sizes


def _table(sizes: list[int], rng: random.Random) -> ChunkTable:
    stored = [max(1, size * (STORED_PERCENT + rng.randrange(-20, 20)) // 100) for size in sizes]
    bundle_indexes, offsets, at, bundle = [], [], 0, 0
    for size in stored:
        if at > BUNDLE_SIZE:
            bundle, at = bundle + 1, 0
        bundle_indexes.append(bundle)
        offsets.append(at)
        at += size
    return ChunkTable(
        ids=np.frombuffer(rng.randbytes(16 * len(sizes)), dtype="V16"),
        sizes=np.array(sizes, dtype=np.uint32),
        stored_sizes=np.array(stored, dtype=np.uint32),
        bundle_indexes=np.array(bundle_indexes, dtype=np.uint32),
        offsets=np.array(offsets, dtype=np.uint32),
        bundles=tuple(BundleRef(Digest(rng.randbytes(32)), 20 << 20) for _ in range(bundle + 1)),
    )


def _root(entries: list[Entry], pages: list[EncodedPage]) -> Root:
    refs = tuple(
        PageRef(
            digest=digest_of(page.data).hex(),
            size=len(page.data),
            entry_count=page.entry_count,
            chunk_count=page.chunk_count,
        )
        for page in pages
    )
    group = Group(
        name="game",
        entry_count=len(entries),
        chunk_count=sum(page.chunk_count for page in pages),
        size=sum(entry.size for entry in entries),
        pages=refs,
    )
    return Root(title=TitleId("title"), groups=(group,))


def _kb(size: int) -> str:
    return f"{size / 1000:,.1f} kB"


if __name__ == "__main__":
    main()
