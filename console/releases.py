"""What a channel points to, and what its build is: from this console where it can, else fetched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from chunks.chunk_id import Digest, check_digest, digest_of
from console.fetcher import Fetcher
from console.heads import Heads
from console.title_folder import TitleFolder
from console.workers import Workers
from kit.buffers import Buffer
from kit.errors import FormatError, IntegrityError, NotFound, Unavailable
from kit.telemetry import get_logger
from manifests import locations
from manifests.assembly import assemble
from manifests.delta_index import DeltaIndex, parse_delta_index
from manifests.documents import (
    DeltaRef,
    Head,
    ObjectRef,
    PageRef,
    Release,
    Root,
    parse_root,
)
from manifests.manifest_delta import apply_manifest_delta, pages_of
from manifests.model import Build
from manifests.names import Channel, TitleId
from manifests.page import Page, parse_page
from manifests.trust import check_counter

log = get_logger("console")
T = TypeVar("T")

PAGES_AT_ONCE = 8
"""Pages are mostly 256 KiB: eight under way hide the round trips and hold 2 MiB."""


class Releases:
    """Reads heads, roots and builds of titles, each verified; keeps what is immutable."""

    def __init__(
        self, fetcher: Fetcher, folder: TitleFolder, workers: Workers, heads: Heads
    ) -> None:
        self._fetcher = fetcher
        self._heads = heads
        self._folder = folder
        self._workers = workers

    async def head(self, title: TitleId, channel: Channel) -> Head:
        """Return what ``channel`` points to.

        Raises:
            Conflict: It points back to a release older than one seen before: whoever can make
                an edge forget an update could otherwise bring its mended holes back.
            Untrusted: Not all vouch for it who must.
            NotFound: No edge knows the title or the channel.
        """
        head = await self._heads.head(title, channel)
        seen = await self._workers.run(self._folder.counter_seen)
        check_counter(title, channel, head.release.counter, seen)  # step 9
        await self._workers.run(self._folder.see_counter, head.release.counter)
        return head

    async def root(self, release: Release) -> Root:
        """Return the root of a release's build."""
        ref = release.root

        def parse(body: Buffer) -> Root:
            return parse_root(body, ref.raw_digest, release.title)

        return await self._immutable(release.title, ref, parse)

    async def page(self, title: TitleId, ref: PageRef) -> Page:
        """Return one page."""
        return await self._immutable(title, ref, lambda body: parse_page(body, ref))

    async def build(self, release: Release, root: Root) -> Build:
        """Return the build that ``root`` names, all its pages fetched and put together."""
        gate = asyncio.Semaphore(PAGES_AT_ONCE)

        async def page(ref: PageRef) -> Page:
            async with gate:
                return await self.page(release.title, ref)

        async with asyncio.TaskGroup() as tasks:
            wanted = [
                [tasks.create_task(page(ref)) for ref in group.pages] for group in root.groups
            ]
        pages = [[task.result() for task in group] for group in wanted]
        return await self._workers.run(assemble, release.root.raw_digest, root, pages)

    async def rebuild(
        self, release: Release, base: ObjectRef, base_root: Root, ref: DeltaRef, patience_s: float
    ) -> None:
        """Keep what ``ref`` tells of a release's manifest by that of ``base``, which is kept here.

        Whatever cannot be had so is fetched when it is asked for.
        """
        if ref.manifest is None or await self._workers.run(self._is_kept, release.root):
            return
        wanted = ref.manifest

        async def accept(body: bytearray) -> bytearray:
            check_digest(f"manifest delta {wanted.digest}", body, wanted.raw_digest)
            return body

        key = locations.manifest_key(release.title, wanted.raw_digest)
        try:
            body = await self._fetcher.get(key, wanted.size, accept, patience_s=patience_s)
            await self._workers.run(self._keep_rebuilt, body, release, (base, base_root), ref.index)
        except (NotFound, Unavailable, IntegrityError, FormatError) as error:
            log.warning("manifest.not_rebuilt", title=release.title, error=str(error))

    async def delta_index(
        self, title: TitleId, ref: ObjectRef, patience_s: float
    ) -> DeltaIndex | None:
        """Return the index of a delta set; None if it cannot be had soon, or is not sound."""
        try:
            return await self._immutable(
                title, ref, lambda body: parse_delta_index(body, ref), patience_s
            )
        except (NotFound, Unavailable, IntegrityError, FormatError) as error:
            log.warning("deltas.passed_over", title=title, index=ref.digest, error=str(error))
            return None

    def known_build(self, title: TitleId, ref: ObjectRef) -> Build | None:
        """Return a build if all of it is kept here and sound; None otherwise. Blocks."""
        try:
            root = self._known(ref, lambda body: parse_root(body, ref.raw_digest, title))
            if root is None:
                return None
            groups = [[self._known_page(of) for of in group.pages] for group in root.groups]
            return assemble(ref.raw_digest, root, groups)
        except (FormatError, NotFound):
            return None

    async def _immutable(
        self,
        title: TitleId,
        ref: ObjectRef,
        parse: Callable[[Buffer], T],
        patience_s: float | None = None,
    ) -> T:
        known = await self._workers.run(self._known, ref, parse)
        if known is not None:
            return known

        async def accept(body: bytearray) -> T:
            return await self._workers.run(self._keep, ref.raw_digest, body, parse)

        key = locations.manifest_key(title, ref.raw_digest)
        return await self._fetcher.get(key, ref.size, accept, patience_s=patience_s)

    def _known(self, ref: ObjectRef, parse: Callable[[Buffer], T]) -> T | None:
        body = self._folder.manifest(ref.raw_digest, ref.size)
        if body is None:
            return None
        try:
            return parse(body)
        except IntegrityError:
            return None  # damaged on disk: fetched again

    def _is_kept(self, ref: ObjectRef) -> bool:
        return self._folder.manifest(ref.raw_digest, ref.size) is not None

    def _keep_rebuilt(
        self, body: Buffer, release: Release, base: tuple[ObjectRef, Root], index: ObjectRef
    ) -> None:
        """Keep of what a manifest delta makes all that ``release`` needs, and the index.

        Raises:
            NotFound: The manifest of ``base`` is not kept here.
            IntegrityError, FormatError: The root cannot be rebuilt.
        """
        had = [self._kept(ref) for ref in (base[0], *pages_of(base[1]))]
        made = apply_manifest_delta(body, had)
        root = parse_root(made[0], release.root.raw_digest, release.title)
        wanted = {index.raw_digest} | manifest_digests(release.root, root)
        for part in made:
            digest = digest_of(part)
            if digest in wanted:
                self._folder.keep_manifest(digest, part)

    def _kept(self, ref: ObjectRef) -> bytes:
        body = self._folder.manifest(ref.raw_digest, ref.size)
        if body is None:
            raise NotFound(f"{ref.digest} is not kept here")
        return body

    def _known_page(self, ref: PageRef) -> Page:
        page = self._known(ref, lambda body: parse_page(body, ref))
        if page is None:
            raise NotFound(f"page {ref.digest} is not kept here")
        return page

    def _keep(self, digest: Digest, body: bytearray, parse: Callable[[Buffer], T]) -> T:
        parsed = parse(body)
        self._folder.keep_manifest(digest, body)
        return parsed


def manifest_digests(root_ref: ObjectRef, root: Root) -> frozenset[Digest]:
    """Return the digests of a build's root and of all its pages."""
    pages = (page.raw_digest for group in root.groups for page in group.pages)
    return frozenset([root_ref.raw_digest, *pages])
