"""Publish tiny builds with real bundles and pages: one chunk a file, a few chunks a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from chunks.bundle import BundleWriter
from chunks.chunk_id import CHUNK_ID_SIZE, ChunkId, chunk_id_of, digest_of
from chunks.codec import pack
from kit.clock import Clock
from manifests.documents import Head, ObjectRef, PageRef, Release, Root, encode
from manifests.model import BundleRef, ChunkTable, Entry
from manifests.names import Channel, TitleId, Version
from packager.title_store import TitleStore
from tests.builds import file, group_of, pages_of

TITLE = TitleId("a-title")
LIVE, BETA = Channel("live"), Channel("beta")

BUNDLE_TARGET_SIZE = 600


class Place(NamedTuple):
    bundle: BundleRef
    offset: int
    size: int
    stored_size: int


Places = dict[ChunkId, Place]


async def publish(
    store: TitleStore,
    files: Mapping[str, bytes],
    version: str,
    channel: Channel | None = LIVE,
    *,
    clock: Clock,
) -> Release:
    """Publish as a push does: what the newest release has is not stored again; head last."""
    releases = await store.releases()
    used = [r.counter for r in releases] + [h.release.counter for h in await store.heads()]
    known = await places_of(store, releases[-1].root) if releases else {}
    root = await store_build(store, files, known)
    release = Release(
        title=store.title,
        counter=max(used, default=0) + 1,
        version=Version(version),
        created_at=datetime.fromtimestamp(clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        root=root,
    )
    assert await store.add_release(release)
    if channel is not None:
        await store.set_head(Head(title=store.title, channel=channel, release=release))
    return release


async def store_build(
    store: TitleStore, files: Mapping[str, bytes], known: Places | None = None
) -> ObjectRef:
    """Store bundles, slice lists, pages and root; return the root's name."""
    places: Places = dict(known or {})
    writer = BundleWriter(BUNDLE_TARGET_SIZE)
    for content in files.values():
        digest = digest_of(content)
        if chunk_id_of(digest) in places:
            continue
        writer.add(digest, len(content), pack(content))
        places[chunk_id_of(digest)] = Place(BundleRef(digest, 1), 0, 0, 0)  # it has one soon
        if writer.is_full:
            places |= await _store_bundle(store, writer)
            writer = BundleWriter(BUNDLE_TARGET_SIZE)
    if not writer.is_empty:
        places |= await _store_bundle(store, writer)
    entries = [file(path, len(content)) for path, content in files.items()]
    return await store_manifest(store, entries, list(files.values()), places)


async def store_manifest(
    store: TitleStore, entries: Sequence[Entry], contents: Sequence[bytes], places: Places
) -> ObjectRef:
    """Store the pages and the root of a build whose chunks are at ``places``."""
    ids = list(dict.fromkeys(chunk_id_of(digest_of(content)) for content in contents))
    row_of = {id_: row for row, id_ in enumerate(ids)}
    found = [places[id_] for id_ in ids]
    bundles = list(dict.fromkeys(place.bundle for place in found))
    table = ChunkTable(
        ids=np.frombuffer(b"".join(ids), dtype=f"V{CHUNK_ID_SIZE}"),
        sizes=np.array([place.size for place in found], dtype=np.uint32),
        stored_sizes=np.array([place.stored_size for place in found], dtype=np.uint32),
        bundle_indexes=np.array([bundles.index(place.bundle) for place in found], dtype=np.uint32),
        offsets=np.array([place.offset for place in found], dtype=np.uint32),
        bundles=tuple(bundles),
    )
    occurrences = [row_of[chunk_id_of(digest_of(content))] for content in contents]
    pages = pages_of(entries, table, occurrences)
    for page in pages:
        await store.put_manifest(page.data)
    group = group_of("launch", entries, pages)
    return await store.put_manifest(encode(Root(title=store.title, groups=(group,))))


async def places_of(store: TitleStore, root: ObjectRef) -> Places:
    chunks = (await store.build(root)).chunks
    columns = (chunks.bundle_indexes, chunks.offsets, chunks.sizes, chunks.stored_sizes)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return {
        id_: Place(chunks.bundles[bundle], offset, size, stored)
        for id_, (bundle, offset, size, stored) in zip(chunks.all_ids(), rows, strict=True)
    }


async def page_refs(store: TitleStore, root: ObjectRef) -> list[PageRef]:
    return [page for group in (await store.root(root)).groups for page in group.pages]


async def _store_bundle(store: TitleStore, writer: BundleWriter) -> Places:
    bundle = writer.close()
    await store.put_bundle(bundle)
    ref = BundleRef(bundle.bundle_id, len(bundle.data))
    return {
        chunk_id_of(chunk.digest): Place(ref, chunk.offset, chunk.size, chunk.stored_size)
        for chunk in bundle.chunks
    }
