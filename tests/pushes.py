"""Push folders, and read what was published back by another way than it was written."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from chunks.chunk_id import chunk_id_of, digest_of
from chunks.codec import unpack
from kit.clock import Clock, ManualClock
from kit.object_storage import ObjectStorage
from manifests import locations
from manifests.model import Build, EntryKind, Shard
from manifests.names import Channel, TitleId, Version
from packager.push import PushReport, PushRequest, push
from packager.title_store import TitleStore
from packager.vouching import Voucher
from tests.vouchers import Notary

TITLE = TitleId("a-title")
LIVE = Channel("live")

IN_AN_HOUR_S = 4_000_000_000.0
"""Whatever was written by then is long settled, so the file cache takes it."""

Tree = dict[str, tuple[str, bytes]]


class FreeLock:
    """A lock that nobody else wants."""

    async def __aenter__(self) -> object:
        return self

    async def __aexit__(self, *error: object) -> None:
        pass

    async def check_held(self) -> None:
        pass


async def push_folder(
    storage: ObjectStorage,
    source: Path,
    version: str = "1.0",
    *,
    cache_folder: Path | None = None,
    channel: Channel = LIVE,
    lock: Any = None,
    clock: Clock | None = None,
    workers: int | None = None,
    voucher: Voucher | None = None,
    **more: Any,
) -> PushReport:
    request = PushRequest(
        source=source,
        version=Version(version),
        channel=channel,
        cache_folder=cache_folder or source.with_name(f"{source.name}.cache"),
        **more,
    )
    return await push(
        TitleStore(storage, TITLE),
        request,
        lock=lock or FreeLock(),
        clock=clock or ManualClock(IN_AN_HOUR_S),
        workers=workers,
        voucher=voucher or Notary(),
    )


async def stored_objects(storage: ObjectStorage) -> dict[str, bytes]:
    """Everything in storage by key, but for the publishers' claims."""
    claims = locations.lock_prefix(TITLE)
    keys = [found.key async for found in storage.list("")]
    return {
        key: await storage.get(key, size_max=sys.maxsize)
        for key in keys
        if not key.startswith(claims)
    }


def tree_on_disk(folder: Path) -> Tree:
    """What a build of ``folder`` must hold: kind and bytes, or target, by path."""
    tree: Tree = {}
    for found in folder.rglob("*"):
        path = found.relative_to(folder).as_posix()
        if found.is_symlink():
            tree[path] = ("LINK", os.fsencode(found.readlink()))
        elif found.is_file():
            kind = "EXECUTABLE" if found.stat().st_mode & 0o100 else "FILE"
            tree[path] = (kind, found.read_bytes())
        elif not any(found.iterdir()):
            tree[path] = ("DIRECTORY", b"")
    return tree


async def published_tree(storage: ObjectStorage, channel: Channel = LIVE) -> Tree:
    """The same of what ``channel`` plays, every chunk checked against its id."""
    store = TitleStore(storage, TITLE)
    build = await store.build((await store.head(channel)).release.root)
    chunks = [await _plain_chunk(storage, build, row) for row in range(len(build.chunks))]
    tree: Tree = {}
    for shard, index, entry in build.entries():
        content = entry.target.encode()
        if entry.kind.is_file:
            content = _content(shard, index, chunks)
            assert len(content) == entry.size
        tree[entry.path] = (EntryKind(entry.kind).name, content)
    return tree


async def _plain_chunk(storage: ObjectStorage, build: Build, row: int) -> bytes:
    chunks = build.chunks
    bundle = chunks.bundles[chunks.bundle_indexes[row]]
    key = locations.bundle_key(TITLE, bundle.bundle_id)
    stored = await storage.read(key, int(chunks.offsets[row]), int(chunks.stored_sizes[row]))
    plain = bytes(unpack(stored, int(chunks.sizes[row])))
    assert chunk_id_of(digest_of(plain)) == chunks.chunk_id(row)
    return plain


def _content(shard: Shard, entry_index: int, chunks: list[bytes]) -> bytes:
    pieces = shard.pieces_of_entry(entry_index)
    return b"".join(chunks[p.row][p.chunk_offset : p.chunk_offset + p.length] for p in pieces)
