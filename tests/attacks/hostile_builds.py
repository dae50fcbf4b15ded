"""Builds that break rules of the format: what a publisher may do whose signature is genuine."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from chunks import codec
from chunks.bundle import BundleWriter
from chunks.chunk_id import chunk_id_of, digest_of
from manifests.documents import ObjectRef, PageRef, Root, encode
from manifests.model import BundleRef, Entry
from manifests.page import HEADER_SIZE
from playhead.publishing import Desk
from tests.attacks.stage import Files
from tests.builds import file
from tests.publishing import Place, Places, store_build, store_manifest

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
RLE_SIZE = 128 << 10
PAGE_HEADER = struct.Struct("<4sIQIIIIII")

Spoil = Callable[["Parts"], None]


@dataclass
class Parts:
    """An honest build of one page, taken apart: change what you like."""

    counts: list[int]
    """Of the page: entries, chunks, occurrences, bundles, bytes of text, zero."""
    stream_offset: int
    body: bytearray
    """The page's columns."""
    root: Root
    frame: bytes | None = None
    """Stands in the place of the packed columns."""
    root_bytes: bytes | None = None
    """Stands in the place of the root."""

    @property
    def entry_count(self) -> int:
        return self.counts[0]

    def page(self) -> bytes:
        frame = codec.compress(self.body, 9) if self.frame is None else self.frame
        return PAGE_HEADER.pack(b"PHPG", 1, self.stream_offset, *self.counts) + frame

    def with_group(self, **changes: object) -> None:
        [group] = self.root.groups
        changed = msgspec.structs.replace(group, **changes)
        self.root = msgspec.structs.replace(self.root, groups=(changed,))


async def store_spoiled(desk: Desk, files: Files, spoil: Spoil) -> ObjectRef:
    """Store a build of ``files`` after ``spoil`` had its way; all digests fit."""
    honest = await desk.store.root(await store_build(desk.store, files))
    [[ref]] = [group.pages for group in honest.groups]
    page = await desk.store.manifest(ref)
    _, _, offset, *counts = PAGE_HEADER.unpack_from(page)
    body = bytearray(codec.open_frame(page[HEADER_SIZE:], 64 << 20))
    parts = Parts(counts, offset, body, honest)
    spoil(parts)
    stored = await desk.store.put_manifest(parts.page())
    groups = [
        msgspec.structs.replace(
            group,
            pages=tuple(
                _moved(of, stored) if of.digest == ref.digest else of for of in group.pages
            ),
        )
        for group in parts.root.groups
    ]
    root = msgspec.structs.replace(parts.root, groups=tuple(groups))
    return await desk.store.put_manifest(parts.root_bytes or encode(root))


def _moved(ref: PageRef, stored: ObjectRef) -> PageRef:
    return msgspec.structs.replace(ref, digest=stored.digest, size=stored.size)


async def store_entries(desk: Desk, entries: Sequence[Entry]) -> ObjectRef:
    """Store a build of any entries; every file holds as many bytes as it says, all the same."""
    contents = [b"x" * entry.size for entry in entries if entry.size]
    places: Places = {}
    for content in contents:
        places |= await store_chunk(desk, content, content)
    return await store_manifest(desk.store, entries, contents, places)


async def store_chunk(desk: Desk, plain: bytes, stored: bytes) -> Places:
    """Store a bundle of one chunk that is said to be ``plain``; return where it lies."""
    writer = BundleWriter(1 << 20)
    writer.add(digest_of(plain), len(plain), stored)
    bundle = writer.close()
    await desk.store.put_bundle(bundle)
    [chunk] = bundle.chunks
    ref = BundleRef(bundle.bundle_id, len(bundle.data))
    place = Place(ref, chunk.offset, chunk.size, chunk.stored_size)
    return {chunk_id_of(digest_of(plain)): place}


async def store_file_of_one_chunk(desk: Desk, path: str, plain: bytes, stored: bytes) -> ObjectRef:
    """Store a build of one file, whose only chunk is said to be ``plain``."""
    places = await store_chunk(desk, plain, stored)
    return await store_manifest(desk.store, [file(path, len(plain))], [plain], places)


def zstd_bomb(size: int, *, declares: int | None, window_log: int = 20) -> bytes:
    """A frame of a few kilobytes that opens to ``size`` bytes, and declares others or none."""
    descriptor = bytes([0xC0 if declares is not None else 0x00, (window_log - 10) << 3])
    declared = b"" if declares is None else struct.pack("<Q", declares)
    count = size // RLE_SIZE
    blocks = [
        struct.pack("<I", (RLE_SIZE << 3) | (1 << 1) | (index == count - 1))[:3] + b"\0"
        for index in range(count)
    ]
    return ZSTD_MAGIC + descriptor + declared + b"".join(blocks)
