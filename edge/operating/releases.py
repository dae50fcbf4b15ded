"""A release read through an edge's own cache: what vouches for it, and where its bytes are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from chunks.chunk_id import Digest
from edge.addressed import manifest_blob
from edge.documents import Document, DocumentAddress, Documents
from edge.fill import Blob
from edge.operating.play_order import WantedSlice, slices_of_build, slices_of_deltas
from kit.buffers import Buffer
from kit.concurrency import for_each
from manifests.addresses import (
    HeadAddress,
    ManifestAddress,
    ReleaseAddress,
    TimestampAddress,
    TrustAddress,
    TrustBundleAddress,
    parse_path,
)
from manifests.assembly import assemble
from manifests.delta_index import parse_delta_index
from manifests.documents import (
    Head,
    ObjectRef,
    Release,
    Root,
    parse_head,
    parse_release,
    parse_root,
)
from manifests.manifest_delta import pages_of
from manifests.model import Build
from manifests.names import Channel, TitleId
from manifests.page import Page, parse_page
from manifests.trust_bundle import HEAD, parse_bundle
from manifests.trust_roles import ROOT, TIMESTAMP

BringManifest = Callable[[Blob, int], Awaitable[Buffer]]
"""Brings a root, page or index of so many bytes."""


@dataclass(frozen=True, slots=True)
class Contents:
    """All that a release consists of."""

    manifests: tuple[Digest, ...]
    """Root, pages, delta indexes, manifest deltas."""
    build: Build
    deltas: tuple[WantedSlice, ...]

    def slices(self, groups: Sequence[str] = ()) -> list[WantedSlice]:
        """Return the slices of some install groups, or of all, in play order.

        Raises:
            NotFound: There is no group of that name.
        """
        return slices_of_build(self.build, groups)


async def read_head(documents: Documents, title: TitleId, channel: Channel) -> Head:
    """Return what a channel plays, as far as is known here.

    Raises:
        NotFound: There is no such channel.
        NoUpstream: No upstream can say.
        FormatError: It is no head.
    """
    document, _ = await documents.get(HeadAddress(title, channel))
    return parse_head(document.content, title, channel)


async def read_release(documents: Documents, title: TitleId, counter: int) -> Release:
    """Return a release by its counter.

    Raises: as :func:`read_head`.
    """
    document, _ = await documents.get(ReleaseAddress(title, counter))
    return parse_release(document.content, title, counter)


async def read_trust(
    bring: Callable[[DocumentAddress], Awaitable[Document]], title: TitleId, channel: Channel
) -> None:
    """Bring all that a console needs to believe a channel's head, whatever it knows already.

    That is the trust bundle; singly, for those who know some, the metadata in it; and the roots
    before the newest, one after the other.

    Raises:
        NotFound: Nobody vouches for the channel.
        FormatError: It is no trust bundle.
    """
    bundle = await bring(TrustBundleAddress(title, channel))
    await bring(TimestampAddress())
    newest_root = 0
    for name in await asyncio.to_thread(parse_bundle, bundle.content):
        if name in (HEAD, f"{TIMESTAMP}.json"):
            continue
        address = parse_path(f"/trust/{name}")
        if isinstance(address, TrustAddress):
            await bring(address)
            newest_root = address.version if address.role == ROOT else newest_root
    for version in range(1, newest_root):
        await bring(TrustAddress(ROOT, version))


async def read_contents(
    release: Release, head: Head | None, bring: BringManifest, *, at_once: int
) -> Contents:
    """Bring the manifest of ``release``, and with ``head`` what updates to it need.

    Raises:
        NotFound, NoUpstream: Part of it cannot be had.
        FormatError, IntegrityError: It is not what it should be.
    """
    title = release.title

    async def brought(ref: ObjectRef) -> Buffer:
        return await bring(manifest_blob(ManifestAddress(title, ref.raw_digest)), ref.size)

    root_bytes = await brought(release.root)
    root = await asyncio.to_thread(parse_root, root_bytes, release.root.raw_digest, title)
    build = await _build(release, root, brought, at_once)
    refs: list[ObjectRef] = [release.root, *pages_of(root)]
    deltas: list[WantedSlice] = []
    for ref in () if head is None else head.deltas:
        index = await asyncio.to_thread(parse_delta_index, await brought(ref.index), ref.index)
        deltas += slices_of_deltas(index)
        refs.append(ref.index)
        if ref.manifest is not None:
            await brought(ref.manifest)
            refs.append(ref.manifest)
    digests = dict.fromkeys(ref.raw_digest for ref in refs)
    return Contents(tuple(digests), build, tuple(dict.fromkeys(deltas)))


async def _build(
    release: Release,
    root: Root,
    brought: Callable[[ObjectRef], Awaitable[Buffer]],
    at_once: int,
) -> Build:
    refs = pages_of(root)

    async def page(index: int) -> Page:
        return await asyncio.to_thread(parse_page, await brought(refs[index]), refs[index])

    pages = dict(zip(refs, await for_each(range(len(refs)), page, at_once=at_once), strict=True))
    groups = [[pages[ref] for ref in group.pages] for group in root.groups]
    return await asyncio.to_thread(assemble, release.root.raw_digest, root, groups)
