"""What a release, or a channel's head, needs of its title, and whether all of it is stored.

Everything is looked for below the title's own keys, so nothing of another title can be meant.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from chunks.chunk_id import Digest
from kit.concurrency import for_each
from kit.errors import Conflict, IntegrityError, NotFound
from kit.object_storage import Reader
from manifests import locations
from manifests.delta_index import parse_delta_index
from manifests.documents import (
    DOCUMENT_SIZE_MAX,
    ROOT_SIZE_MAX,
    Head,
    ObjectRef,
    PageRef,
    parse_head,
    parse_root,
)
from manifests.manifest_delta import pages_of
from manifests.names import Channel, TitleId
from manifests.page import parse_page

READS_AT_ONCE = 4
"""Pages are 256 KiB, 32 MiB at most."""
REMEMBERED_MAX = 64
"""Builds and delta indexes whose bundles are remembered: 100 bytes a bundle."""


@dataclass(frozen=True, slots=True)
class Needs:
    """Objects by key, and their sizes in bytes; None if not known."""

    sizes: dict[str, int | None]

    def __or__(self, other: Needs) -> Needs:
        return Needs({**self.sizes, **other.sizes})


class NeedsReader:
    """Reads what is needed, and remembers the last: what a digest names never changes."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._remembered: OrderedDict[tuple[TitleId, ObjectRef], Needs] = OrderedDict()

    async def of_build(self, title: TitleId, root: ObjectRef) -> Needs:
        """Return what a build needs, by its root.

        Raises:
            Conflict: A root or page is missing, so the rest cannot be told.
            FormatError: One of them breaks the format, or is another title's.
        """
        found = self._known(title, root)
        if found is None:
            found = self._remember(title, root, await self._read_build(title, root))
        return found

    async def of_head(self, head: Head) -> Needs:
        """Return all that consoles may fetch for a channel's head."""
        title = head.title
        needs = await self.of_build(title, head.release.root)
        needs |= Needs({locations.release_key(title, head.release.counter): None})
        for ref in head.deltas:
            needs |= await self.of_delta_set(title, ref.index, ref.manifest)
        return needs

    async def of_delta_set(
        self, title: TitleId, index: ObjectRef, manifest: ObjectRef | None
    ) -> Needs:
        """Return what a delta set needs, by its index and its manifest delta."""
        needs = await self._of_delta_index(title, index)
        return needs | _manifests(title, [manifest] if manifest else [])

    async def of_channels(self, title: TitleId) -> Needs:
        """Return all that the heads of a title need; nothing if it has none."""
        needs = Needs({})
        prefix = locations.heads_prefix(title)
        for key in [stat.key async for stat in self._reader.list(prefix)]:
            data = await self._reader.get(key, size_max=DOCUMENT_SIZE_MAX)
            needs |= await self.of_head(parse_head(data, title, Channel(key.removeprefix(prefix))))
        return needs

    async def check_stored(self, title: TitleId, needs: Needs, what: str) -> None:
        """Do nothing if all of ``needs`` is stored, in the sizes it should have.

        Raises:
            Conflict: Something is not; it is named.
        """
        stored: dict[str, int] = {}
        for prefix in (
            locations.manifests_prefix(title),
            locations.slice_lists_prefix(title),
            locations.bundles_prefix(title),
            locations.releases_prefix(title),
        ):
            async for stat in self._reader.list(prefix):
                if stat.key in needs.sizes:
                    stored[stat.key] = stat.size
        for key, size in needs.sizes.items():
            if key not in stored:
                raise Conflict(f"{what} needs {key}, which is not stored: push it again")
            if size is not None and stored[key] != size:
                raise Conflict(f"{what} needs {key} of {size} bytes; it has {stored[key]}")

    async def _of_delta_index(self, title: TitleId, index: ObjectRef) -> Needs:
        found = self._known(title, index)
        if found is None:
            data = await self._manifest(title, index)
            parsed = await asyncio.to_thread(parse_delta_index, data, index)
            needs = _bundles(title, ((b.bundle_id, b.size) for b in parsed.bundles))
            found = self._remember(title, index, needs | _manifests(title, [index]))
        return found

    async def _read_build(self, title: TitleId, ref: ObjectRef) -> Needs:
        data = await self._manifest(title, ref, size_max=ROOT_SIZE_MAX)
        root = await asyncio.to_thread(parse_root, data, ref.raw_digest, title)
        pages = pages_of(root)

        async def bundles_of(page: PageRef) -> Needs:
            stored = await self._manifest(title, page)
            parsed = await asyncio.to_thread(parse_page, stored, page)
            return _bundles(title, ((b.bundle_id, b.size) for b in parsed.chunks.bundles))

        needs = _manifests(title, [ref, *pages])
        for each in await for_each(pages, bundles_of, at_once=READS_AT_ONCE):
            needs.sizes.update(each.sizes)
        return needs

    async def _manifest(self, title: TitleId, ref: ObjectRef, size_max: int | None = None) -> bytes:
        key = locations.manifest_key(title, ref.raw_digest)
        try:
            return await self._reader.get(key, size_max=min(ref.size, size_max or ref.size))
        except NotFound as error:
            raise Conflict(f"{key} is not stored: push it again") from error
        except IntegrityError as error:
            raise Conflict(f"{key} is larger than what names it says") from error

    def _known(self, title: TitleId, ref: ObjectRef) -> Needs | None:
        found = self._remembered.get((title, ref))
        if found is not None:
            self._remembered.move_to_end((title, ref))
        return found

    def _remember(self, title: TitleId, ref: ObjectRef, needs: Needs) -> Needs:
        self._remembered[title, ref] = needs
        while len(self._remembered) > REMEMBERED_MAX:
            self._remembered.popitem(last=False)
        return needs


def _bundles(title: TitleId, bundles: Iterable[tuple[Digest, int]]) -> Needs:
    sizes: dict[str, int | None] = {}
    for bundle_id, size in bundles:
        sizes[locations.bundle_key(title, bundle_id)] = size
        sizes[locations.slice_list_key(title, bundle_id)] = None
    return Needs(sizes)


def _manifests(title: TitleId, refs: Iterable[ObjectRef]) -> Needs:
    return Needs({locations.manifest_key(title, ref.raw_digest): ref.size for ref in refs})
