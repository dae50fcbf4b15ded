"""Routes of the origin: ``docs/format/urls.md``, every row, straight from storage.

Nothing is held but slice lists and trust bundles: a body passes through in pieces of 1 MiB, so
memory stays flat however large the objects and however slow the clients are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import assert_never

from aiohttp import web

from chunks.chunk_id import Digest, digest_of
from chunks.slices import SLICE_SIZE, SliceList
from kit.clock import Clock, SystemClock
from kit.errors import NotFound
from kit.http_content import Pieces, Representation, answer
from kit.http_server import refuse_query
from kit.object_storage import Reader
from kit.service import Binder
from manifests.addresses import (
    Address,
    BundleAddress,
    HeadAddress,
    ManifestAddress,
    OpenAddress,
    ReleaseAddress,
    SliceAddress,
    SliceListAddress,
    TimestampAddress,
    TrustAddress,
    TrustBundleAddress,
    parse_path,
)
from manifests.documents import DOCUMENT_SIZE_MAX
from manifests.lease import HEADER
from manifests.lease_gate import Guard
from manifests.trust_roles import METADATA_SIZE_MAX
from origin.settings import OriginSettings
from origin.slice_lists import SliceLists
from origin.trust_bundles import TrustBundles

PIECE_SIZE = SLICE_SIZE
"""One read from storage and one hop to a thread: 1 MiB makes both cheap beside the bytes."""

PROBE_KEY = "readiness-probe"
"""Need not exist: "not found" is an answer too."""


def bind(
    binder: Binder,
    reader: Reader,
    settings: OriginSettings,
    guard: Guard,
    clock: Clock | None = None,
) -> None:
    """Serve what ``reader`` holds under ``/t/`` and ``/trust/``; ``guard`` lets in to content."""
    origin = _Origin(reader, settings, guard, clock or SystemClock())
    binder.lifetime(origin.open)
    binder.routes(web.get("/t/{path:.*}", origin.serve), web.get("/trust/{path:.*}", origin.serve))
    binder.ready("storage", origin.check_storage)
    binder.cancel_abandoned()


@dataclass(frozen=True, slots=True)
class _Stored:
    """Bytes under a key: ``size`` of them from ``offset``, and the digest that names them."""

    key: str
    offset: int
    size: int
    digest: Digest


class _Origin:
    def __init__(
        self, reader: Reader, settings: OriginSettings, guard: Guard, clock: Clock
    ) -> None:
        self._reader = reader
        self._guard = guard
        self._reads = asyncio.Semaphore(settings.reads_max)
        self._slice_lists = SliceLists(reader, self._reads, settings.slice_lists_max_bytes)
        self._trust_bundles = TrustBundles(
            reader,
            self._reads,
            fresh_s=settings.trust.fresh_for,
            max_bytes=settings.trust.max_bytes,
            clock=clock,
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await self._trust_bundles.close()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        refuse_query(request)
        address = parse_path(request.raw_path)
        if not isinstance(address, OpenAddress):
            self._guard.check(request.headers.get(HEADER), address.title)
        return await self._answer(request, address)

    async def _answer(self, request: web.Request, address: Address) -> web.StreamResponse:
        match address:
            case HeadAddress() | ReleaseAddress() | TimestampAddress() | TrustAddress():
                return await self._document(request, address)
            case TrustBundleAddress():
                bundle = await self._trust_bundles.get(address)
                return await _whole(request, address, bundle.digest, bundle.content)
            case ManifestAddress():
                async with self._reads:
                    size = (await self._reader.stat(address.key)).size
                stored = _Stored(address.key, 0, size, address.digest)
                return await self._stream(request, address, stored)
            case BundleAddress():
                size = (await self._slice_list(address)).bundle_size
                stored = _Stored(address.key, 0, size, address.bundle_id)
                return await self._stream(request, address, stored)
            case SliceListAddress():
                content = (await self._slice_list(address.bundle)).encode()
                return await _whole(request, address, address.bundle_id, content)
            case SliceAddress():
                return await self._slice(request, address)
            case _:
                assert_never(address)

    async def check_storage(self) -> None:
        """Do nothing if storage answers.

        Raises:
            Unavailable: It does not.
        """
        try:
            await self._reader.stat(PROBE_KEY)
        except NotFound:
            return

    async def _document(
        self,
        request: web.Request,
        address: HeadAddress | ReleaseAddress | TimestampAddress | TrustAddress,
    ) -> web.StreamResponse:
        size_max = METADATA_SIZE_MAX if isinstance(address, TrustAddress) else DOCUMENT_SIZE_MAX
        async with self._reads:
            content = await self._reader.get(address.key, size_max=size_max)
        if len(content) <= DOCUMENT_SIZE_MAX:
            return await _whole(request, address, digest_of(content), content)
        digest = await asyncio.to_thread(digest_of, content)
        return await _whole(request, address, digest, content)

    async def _slice(self, request: web.Request, address: SliceAddress) -> web.StreamResponse:
        found = await self._slice_list(address.bundle)
        if address.index >= len(found.digests):
            raise NotFound(f"{address.path}: the bundle has {len(found.digests)} slices")
        start, end = found.span(address.index)
        digest = found.digests[address.index]
        stored = _Stored(address.bundle.key, start, end - start, digest)
        return await self._stream(request, address, stored)

    async def _slice_list(self, bundle: BundleAddress) -> SliceList:
        return await self._slice_lists.get(bundle.slice_list)

    async def _stream(
        self, request: web.Request, address: Address, stored: _Stored
    ) -> web.StreamResponse:
        found = _representation(address, stored.digest, stored.size)
        return await answer(request, found, partial(self._pieces, stored.key, stored.offset))

    async def _pieces(self, key: str, offset: int, start: int, end: int) -> Pieces:
        for at in range(start, end, PIECE_SIZE):
            async with self._reads:
                length = min(PIECE_SIZE, end - at)
                piece = await self._reader.read(key, offset + at, length)
            yield piece


async def _whole(
    request: web.Request, address: Address, digest: Digest, content: bytes
) -> web.StreamResponse:
    async def pieces(start: int, end: int) -> Pieces:
        yield memoryview(content)[start:end]

    return await answer(request, _representation(address, digest, len(content)), pieces)


def _representation(address: Address, digest: Digest, size: int) -> Representation:
    return Representation(digest.hex(), size, address.content_type, address.cache_control)
