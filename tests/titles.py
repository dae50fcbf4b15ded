"""A small title in object storage, with the bytes of every object at hand."""

from __future__ import annotations

import random
from dataclasses import dataclass

from chunks.chunk_id import Digest, digest_of
from chunks.slices import SLICE_SIZE, SliceList
from kit.object_storage import Writer
from manifests.addresses import (
    BundleAddress,
    HeadAddress,
    ManifestAddress,
    ReleaseAddress,
    SliceListAddress,
)
from manifests.documents import Head, ObjectRef, Release, encode
from manifests.names import Channel, TitleId, Version

TITLE = TitleId("a-title")
LIVE = Channel("live")


@dataclass(frozen=True)
class PublishedTitle:
    """What was put, and where it is."""

    head: bytes
    release: bytes
    manifest: bytes
    bundle: bytes

    @property
    def slices(self) -> SliceList:
        return SliceList.of(self.bundle)

    @property
    def head_address(self) -> HeadAddress:
        return HeadAddress(TITLE, LIVE)

    @property
    def release_address(self) -> ReleaseAddress:
        return ReleaseAddress(TITLE, 1)

    @property
    def manifest_address(self) -> ManifestAddress:
        return ManifestAddress(TITLE, digest_of(self.manifest))

    @property
    def bundle_address(self) -> BundleAddress:
        return BundleAddress(TITLE, self.slices.bundle_id)

    @property
    def slice_list_address(self) -> SliceListAddress:
        return self.bundle_address.slice_list

    def slice(self, index: int) -> bytes:
        start, end = self.slices.span(index)
        return self.bundle[start:end]


def some_title(*, seed: int = 1, bundle_size: int = 5 * SLICE_SIZE // 2) -> PublishedTitle:
    """Make one from nothing but ``seed``; by default its bundle has two slices and a half."""
    random_ = random.Random(seed)
    manifest = random_.randbytes(300_000)
    release = Release(
        title=TITLE,
        counter=1,
        version=Version(f"1.{seed}"),
        created_at="2026-05-04T10:00:00Z",
        root=ObjectRef(digest=digest_of(manifest).hex(), size=len(manifest)),
    )
    head = Head(title=TITLE, channel=LIVE, release=release)
    bundle = random_.randbytes(bundle_size)
    return PublishedTitle(encode(head), encode(release), manifest, bundle)


async def put(storage: Writer, title: PublishedTitle) -> None:
    """Put every object of ``title`` where readers look for it."""
    await storage.put(title.bundle_address.key, title.bundle)
    await storage.put(title.slice_list_address.key, title.slices.encode())
    await storage.put(title.manifest_address.key, title.manifest)
    await storage.put(title.release_address.key, title.release)
    await storage.put(title.head_address.key, title.head)


def absent(title: PublishedTitle) -> Digest:
    """Return the id of a bundle that nobody published."""
    return digest_of(title.bundle)
