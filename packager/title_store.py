"""One title's objects in object storage: typed, verified on the way out, in order on the way in.

The order of writes is what keeps readers safe: bundles, then slice lists, then pages, then the
root, then the release, then the head. Whatever a reader can see is complete.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress

from chunks.bundle import Bundle
from chunks.chunk_id import Digest, digest_of
from chunks.delta_bundle import DeltaBundle
from chunks.slices import SLICE_LIST_SIZE_MAX, SliceList, parse_slice_list
from kit.buffers import Buffer
from kit.concurrency import for_each
from kit.errors import NotFound
from kit.object_storage import ObjectStorage
from manifests import locations
from manifests.assembly import assemble
from manifests.delta_index import DeltaIndex, parse_delta_index
from manifests.documents import (
    DOCUMENT_SIZE_MAX,
    DeltaSet,
    Head,
    ObjectRef,
    Release,
    Root,
    encode,
    parse_delta_set,
    parse_head,
    parse_release,
    parse_root,
)
from manifests.model import Build
from manifests.names import Channel, TitleId
from manifests.names import channel as channel_name
from manifests.page import Page, parse_page

DELTA_SET_NAME = re.compile("[0-9]{10}-[0-9]{10}")

READS_AT_ONCE = 8
"""Pages are 256 KiB, documents less: eight hide S3's latency and hold 2 MiB."""


class TitleStore:
    """Reads and writes the objects of ``title``; knows keys, order and checks, no policy."""

    def __init__(self, storage: ObjectStorage, title: TitleId) -> None:
        self.title = title
        self.storage = storage

    async def head(self, channel: Channel) -> Head:
        """Return what ``channel`` points to.

        Raises:
            NotFound: The title has no such channel.
        """
        key = locations.head_key(self.title, channel)
        data = await self.storage.get(key, size_max=DOCUMENT_SIZE_MAX)
        return parse_head(data, self.title, channel)

    async def heads(self) -> list[Head]:
        """Return the head of every channel, by name."""
        prefix = locations.heads_prefix(self.title)
        names = [stat.key.removeprefix(prefix) async for stat in self.storage.list(prefix)]
        return await for_each(map(channel_name, names), self.head, at_once=READS_AT_ONCE)

    async def release(self, counter: int) -> Release:
        """Return release ``counter``.

        Raises:
            NotFound: The title has no such release.
        """
        key = locations.release_key(self.title, counter)
        data = await self.storage.get(key, size_max=DOCUMENT_SIZE_MAX)
        return parse_release(data, self.title, counter)

    async def release_counters(self) -> list[int]:
        """Return the counters of all releases, ascending."""
        prefix = locations.releases_prefix(self.title)
        numbers = [stat.key.removeprefix(prefix) async for stat in self.storage.list(prefix)]
        # A key that is no counter is nobody's release: `verify` names it.
        return [int(number) for number in numbers if number.isascii() and number.isdigit()]

    async def releases(self) -> list[Release]:
        """Return all releases, oldest first."""
        counters = await self.release_counters()
        return await for_each(counters, self.release, at_once=READS_AT_ONCE)

    async def manifest(self, ref: ObjectRef) -> bytes:
        """Return a root, page, index or manifest delta, *not yet verified* by its digest."""
        key = locations.manifest_key(self.title, ref.raw_digest)
        return await self.storage.get(key, size_max=ref.size)

    async def root(self, ref: ObjectRef) -> Root:
        """Return a root, verified."""
        return parse_root(await self.manifest(ref), ref.raw_digest, self.title)

    async def build(self, ref: ObjectRef) -> Build:
        """Return the build whose root ``ref`` names, every page verified."""
        root = await self.root(ref)
        groups = [
            await for_each(group.pages, self.manifest, at_once=READS_AT_ONCE)
            for group in root.groups
        ]

        def parse() -> Build:
            pages: list[list[Page]] = [
                [parse_page(data, of) for data, of in zip(found, group.pages, strict=True)]
                for found, group in zip(groups, root.groups, strict=True)
            ]
            return assemble(ref.raw_digest, root, pages)

        return await asyncio.to_thread(parse)

    async def delta_index(self, ref: ObjectRef) -> DeltaIndex:
        """Return the index of a delta set, verified."""
        return await asyncio.to_thread(parse_delta_index, await self.manifest(ref), ref)

    async def delta_sets(self) -> list[DeltaSet]:
        """Return what is known of every delta set, by target and base."""
        prefix = locations.delta_sets_prefix(self.title)
        names = [stat.key.removeprefix(prefix) async for stat in self.storage.list(prefix)]

        async def read(name: str) -> DeltaSet:
            target, _, base = name.partition("-")
            data = await self.storage.get(prefix + name, size_max=DOCUMENT_SIZE_MAX)
            return parse_delta_set(data, self.title, int(base), int(target))

        # A key of another spelling is nobody's delta set: `verify` names it.
        named = [name for name in names if DELTA_SET_NAME.fullmatch(name)]
        return await for_each(named, read, at_once=READS_AT_ONCE)

    async def put_delta_set(self, found: DeltaSet) -> None:
        """Store what is known of a delta set, whose index and bundles are stored."""
        key = locations.delta_set_key(self.title, found.base, found.target)
        await self.storage.put(key, encode(found))

    async def slice_list(self, bundle_id: Digest) -> SliceList:
        """Return a bundle's slice list, verified.

        Raises:
            NotFound: The bundle was never published completely.
        """
        key = locations.slice_list_key(self.title, bundle_id)
        data = await self.storage.get(key, size_max=SLICE_LIST_SIZE_MAX)
        return parse_slice_list(data, bundle_id)

    async def put_bundle(self, bundle: Bundle | DeltaBundle) -> bool:
        """Store a bundle and then its slice list; return whether any of it was new."""
        key = locations.bundle_key(self.title, bundle.bundle_id)
        is_new = await self.storage.put_if_absent(key, bundle.data)
        list_key = locations.slice_list_key(self.title, bundle.bundle_id)
        return await self.storage.put_if_absent(list_key, bundle.slices.encode()) or is_new

    async def put_manifest(self, data: Buffer) -> ObjectRef:
        """Store a root or page under its digest."""
        digest = digest_of(data)
        await self.storage.put_if_absent(locations.manifest_key(self.title, digest), data)
        return ObjectRef(digest=digest.hex(), size=len(data))

    async def add_release(self, release: Release) -> bool:
        """Store a release; return False if its counter is taken."""
        key = locations.release_key(self.title, release.counter)
        return await self.storage.put_if_absent(key, encode(release))

    async def set_head(self, head: Head) -> None:
        """Point a channel to a release.

        The release that it leaves is stored again, unchanged: so storage's ``modified_at`` of a
        release says until when a channel pointed to it, and a sweep spares it long enough for
        consoles to finish downloads that are under way.

        Raises:
            FormatError: The present head is damaged, so which release it leaves is unknown.
        """
        with suppress(NotFound):
            left = (await self.head(head.channel)).release
            if left != head.release:
                await self.storage.put(
                    locations.release_key(self.title, left.counter), encode(left)
                )
        await self.storage.put(locations.head_key(self.title, head.channel), encode(head))
