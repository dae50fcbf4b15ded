"""Write a packed build's pages and root."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chunks.chunk_id import digest_of
from kit.errors import InvalidInput
from manifests.documents import (
    PAGE_COUNT_MAX,
    ROOT_SIZE_MAX,
    Group,
    PageRef,
    Root,
    encode,
)
from manifests.model import Build, Shard, starts_of
from manifests.names import TitleId
from manifests.page import EncodedPage, encode_shard
from packager.layout import PlannedGroup
from packager.ledger import Ledger


@dataclass(frozen=True)
class WrittenBuild:
    """A build, and the objects that say what it is."""

    build: Build
    root: bytes
    pages: tuple[bytes, ...]


def write_build(title: TitleId, groups: Sequence[PlannedGroup], ledger: Ledger) -> WrittenBuild:
    """Return the build of ``groups``, whose chunks are in ``ledger``; stores nothing.

    Raises:
        InvalidInput: It has more pages than a build may have.
    """
    chunks = ledger.table()
    shards: list[Shard] = []
    documents: list[Group] = []
    pages: list[bytes] = []
    for index, group in enumerate(groups):
        occurrences = ledger.occurrences(index)
        entries = tuple(file.entry for file in group.files)
        shard = Shard(group.name, entries, occurrences, starts_of(chunks.sizes[occurrences]))
        encoded = list(encode_shard(entries, chunks, occurrences, is_first_group=index == 0))
        shards.append(shard)
        documents.append(_document(shard, encoded))
        pages += (page.data for page in encoded)
    root = Root(title=title, groups=tuple(documents))
    data = encode(root)
    if len(pages) > PAGE_COUNT_MAX or len(data) > ROOT_SIZE_MAX:
        raise InvalidInput(f"the build needs {len(pages)} pages; at most {PAGE_COUNT_MAX}")
    return WrittenBuild(Build(digest_of(data), root, chunks, tuple(shards)), data, tuple(pages))


def _document(shard: Shard, pages: Sequence[EncodedPage]) -> Group:
    return Group(
        name=shard.name,
        entry_count=len(shard.entries),
        chunk_count=len(shard.occurrences),
        size=shard.size,
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
