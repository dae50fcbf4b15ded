"""Where builds begin, as an edge finds out once and remembers: first page and first range."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from chunks.chunk_id import Digest
from chunks.slices import SLICE_SIZE, parse_slice_list
from edge.addressed import manifest_blob, slice_blob, slice_list_blob
from edge.fill import Blobs, Landed
from edge.metrics import EdgeMetrics
from kit.buffers import Buffer
from kit.errors import FormatError
from manifests.addresses import BundleAddress, ManifestAddress
from manifests.documents import PageRef, Release, parse_root
from manifests.names import TitleId
from manifests.opening import first_request, in_turns
from manifests.page import parse_page

REMEMBERED_MAX = 1024
"""Builds, of some 300 bytes each: reading a root and a page takes a millisecond."""


@dataclass(frozen=True, slots=True)
class FirstRange:
    """A span of a bundle that a fresh install asks for first."""

    bundle: BundleAddress
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Opening:
    """What a fresh install of a build asks for behind its root."""

    page: PageRef
    ranges: tuple[FirstRange, ...]
    """The first chunk, and what comes with it; none for a build without bytes."""


class Openings:
    """Knows the openings of builds. Belongs to one event loop."""

    def __init__(self, blobs: Blobs, metrics: EdgeMetrics) -> None:
        self._blobs = blobs
        self._metrics = metrics
        self._known: OrderedDict[tuple[TitleId, Digest], Opening] = OrderedDict()

    async def of(self, release: Release) -> Opening:
        """Return the opening of the build of ``release``.

        Raises:
            NotFound, NoUpstream: As :meth:`manifest`.
            FormatError: Its root or its first page is none.
        """
        key = (release.title, release.root.raw_digest)
        found = self._known.get(key)
        if found is None:
            found = await self._found(release)
            self._known[key] = found
            if len(self._known) > REMEMBERED_MAX:
                self._known.popitem(last=False)
        return found

    async def manifest(self, address: ManifestAddress) -> memoryview:
        """Return a root, a page or a manifest delta.

        Raises:
            NotFound: There is none of this digest.
            NoUpstream: It is not cached, and no upstream can give it.
        """
        landed = await self._blobs.begin(manifest_blob(address)).landed()
        return self._counted(landed, 0, len(landed.content))

    async def content(self, wanted: FirstRange) -> list[memoryview]:
        """Return the bytes of a range, in pieces.

        Raises:
            NotFound, NoUpstream: As :meth:`manifest`.
            FormatError: It lies outside its bundle.
        """
        bundle, start, end = wanted.bundle, wanted.start, wanted.end
        listed = await self._blobs.begin(slice_list_blob(bundle.slice_list)).landed()
        slices = parse_slice_list(listed.content, bundle.bundle_id)
        if end > slices.bundle_size:
            raise FormatError(f"{bundle.path} has {slices.bundle_size} bytes; its page says more")
        indexes = range(start // SLICE_SIZE, -(-end // SLICE_SIZE))
        begun = [self._blobs.begin(slice_blob(bundle.slice(i), slices)) for i in indexes]
        pieces = []
        for index, flight in zip(indexes, begun, strict=True):
            at = index * SLICE_SIZE
            pieces.append(self._counted(await flight.landed(), max(0, start - at), end - at))
        return pieces

    async def _found(self, release: Release) -> Opening:
        title, digest = release.title, release.root.raw_digest
        root = await self._blobs.begin(manifest_blob(ManifestAddress(title, digest))).landed()
        parsed = await asyncio.to_thread(parse_root, root.content, digest, title)
        ref = parsed.groups[0].pages[0]
        address = ManifestAddress(title, ref.raw_digest)
        page = await self._blobs.begin(manifest_blob(address)).landed()
        return await asyncio.to_thread(_opening, title, ref, page.content)

    def _counted(self, landed: Landed, start: int, end: int) -> memoryview:
        """Return the bytes ``[start, end)`` of a blob, counted as served."""
        piece = memoryview(landed.content)[start:end]
        self._metrics.served[landed.tier].inc()
        self._metrics.served_bytes[landed.tier].inc(len(piece))
        return piece


def _opening(title: TitleId, ref: PageRef, content: Buffer) -> Opening:
    page = parse_page(content, ref)
    request = first_request(page)
    if request is None:
        return Opening(ref, ())
    bundle = BundleAddress(title, page.chunks.bundles[request.bundle_index].bundle_id)
    turns = in_turns(request)
    return Opening(ref, tuple(FirstRange(bundle, turn.start, turn.end) for turn in turns))
