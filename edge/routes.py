"""Routes of an edge: ``docs/format/urls.md``, every row, the same answers as the origin's.

A bundle is served slice by slice, and its size and slice digests come from its verified slice
list, so that ``Content-Range`` and 416 are right before a byte of it is fetched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import assert_never

from aiohttp import web
from structlog.contextvars import bind_contextvars

from chunks.slices import SLICE_SIZE, SliceList, parse_slice_list
from edge.addressed import manifest_blob, slice_blob, slice_list_blob
from edge.at_hand import StoreAtHand
from edge.cache_status import CACHE_NAME, CacheStatus
from edge.crew import ALONE, Crew
from edge.documents import DocumentAddress
from edge.fast_lane import FastLane
from edge.fill import Blob, Landed
from edge.metrics import EdgeMetrics, Tier
from edge.misses import ADDRESS, PLAYER, Misses
from edge.node import Node
from edge.passage import FROM_CLIENT, HERE, Passage, passage_of
from edge.settings import EdgeSettings
from edge.start import start
from edge.upstream.siblings import socket_of
from edge.upstream.upstreams import NodeLease
from kit import http_server
from kit.clock import Clock, SystemClock
from kit.errors import Denied, NotFound, SettingsError
from kit.http_content import Pieces, Representation, answer
from kit.http_server import refuse_query
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
from manifests.lease import HEADER, Lease
from manifests.lease_gate import Guard
from manifests.names import TitleId

NOBODY = "somebody unknown"

ANY_TITLE = TitleId("any")
"""For documents of trust, which are no title's: a node's lease is for all."""


def bind(
    binder: Binder,
    settings: EdgeSettings,
    guard: Guard,
    node_lease: NodeLease,
    clock: Clock | None = None,
    *,
    crew: Crew = ALONE,
) -> Node:
    """Serve under ``/t/`` and ``/trust/`` what the upstreams of ``settings`` have, through a cache.

    ``guard`` says who may read content; ``node_lease`` is what the edge shows its own upstreams;
    ``crew`` is how many processes serve this node. Returns what its other doors are opened to.

    Raises:
        SettingsError: An upstream is no base URL, or there is none.
    """
    if not settings.upstreams:
        raise SettingsError("edge.upstreams: name at least one origin or edge to fetch from")
    _check_urls("edge.upstreams", settings.upstreams)
    _check_urls("edge.shields", settings.shields)
    if settings.own_url and settings.own_url not in settings.shields:
        raise SettingsError(f"edge.own_url: {settings.own_url} is none of edge.shields")
    clock = clock or SystemClock()
    node = Node(settings, node_lease, clock, EdgeMetrics(binder.registry), crew)
    misses = Misses(clock)
    edge = _Edge(node, guard, misses, clock)
    binder.lifetime(node.open)
    start.bind(binder, node, guard, misses)
    binder.routes(web.get("/t/{path:.*}", edge.serve), web.get("/trust/{path:.*}", edge.serve))
    binder.cancel_abandoned()
    if settings.fast_lane:
        at_hand = StoreAtHand(node.store)
        binder.fast_lane(FastLane(at_hand, node.blobs, guard, clock, node.metrics))
    if crew.count > 1:
        binder.unix_socket = socket_of(settings.cache_dir, crew.index)
        binder.health.speak_for_all(crew.index, node.siblings.ask_all)
        node.metrics.watch(
            "worker_restarts", "How often it was started again.", lambda: crew.restarts
        )
    return node


def _check_urls(setting: str, urls: Sequence[str]) -> None:
    for url in urls:
        if not re.fullmatch(r"https?://[^/?#\s]+/?", url):
            raise SettingsError(f"{setting}: {url!r} is no base URL such as http://host:7401")


class _Edge:
    def __init__(self, node: Node, guard: Guard, misses: Misses, clock: Clock) -> None:
        self._guard = guard
        self._misses = misses
        self._clock = clock
        self._name = node.name
        self._metrics = node.metrics
        self._documents = node.documents
        self._blobs = node.blobs
        self._upstreams = node.upstreams

    async def serve(self, request: web.Request) -> web.StreamResponse:
        refuse_query(request)
        address = parse_path(request.raw_path)
        HERE.set(self._passage(request, address))
        if isinstance(address, OpenAddress):
            if self._documents.has(address) or self._is_node(request, address):
                return await self._answer(request, address)
            with self._misses.counting(request.remote or NOBODY, ADDRESS):
                return await self._answer(request, address)
        lease = self._guard.check(request.headers.get(HEADER), address.title)
        if isinstance(lease, Lease) and lease.title is None:
            return await self._answer(request, address)  # a node, which counts for its own clients
        asker = lease.subject if isinstance(lease, Lease) else NOBODY
        with self._misses.counting(asker, PLAYER):
            return await self._answer(request, address)

    def _passage(self, request: web.Request, address: Address) -> Passage:
        """Return where a request has been, if whoever says so may be believed.

        A client that may say so could have us asked for what it made up until our own upstream
        calls it a circle, and would be taken for one that fails.
        """
        is_from_sibling = http_server.is_from_sibling(request)
        said = passage_of(request.headers, self._name, is_from_sibling=is_from_sibling)
        if not said.nodes or is_from_sibling or self._is_node(request, address, or_anyone=True):
            return said
        return FROM_CLIENT

    def _is_node(self, request: web.Request, address: Address, *, or_anyone: bool = False) -> bool:
        """Tell whether a node of ours asks, for all of its own clients.

        ``or_anyone``: so says a guard that lets in everybody, who might be one.
        """
        title = ANY_TITLE
        if not isinstance(address, TimestampAddress | TrustAddress):
            title = address.title
        try:
            lease = self._guard.check(request.headers.get(HEADER), title)
        except Denied:
            return False
        return lease.title is None if isinstance(lease, Lease) else or_anyone

    async def _answer(self, request: web.Request, address: Address) -> web.StreamResponse:
        match address:
            case (
                HeadAddress()
                | ReleaseAddress()
                | TrustBundleAddress()
                | TimestampAddress()
                | TrustAddress()
            ):
                return await self._document(request, address)
            case ManifestAddress():
                return await self._whole(request, address, manifest_blob(address))
            case SliceListAddress():
                return await self._whole(request, address, slice_list_blob(address))
            case SliceAddress():
                return await self._slice(request, address)
            case BundleAddress():
                return await self._bundle(request, address)
            case _:
                assert_never(address)

    async def _document(self, request: web.Request, address: DocumentAddress) -> web.StreamResponse:
        document, found = await self._documents.get(address)

        def headers() -> dict[str, str]:
            bind_contextvars(cache=found.value)
            age_s = int(document.age_s(self._clock.now()))
            return {"Age": str(age_s), "Cache-Status": f"{CACHE_NAME}; {found.value}"}

        async def pieces(start: int, end: int) -> Pieces:
            yield memoryview(document.content)[start:end]

        size, digest = len(document.content), document.digest
        return await answer(request, _representation(address, digest, size, headers), pieces)

    async def _whole(
        self, request: web.Request, address: Address, blob: Blob
    ) -> web.StreamResponse:
        """Answer with a blob whose size is not known before it is here."""
        status = CacheStatus(self._metrics)
        landed = await self._blobs.begin(blob).landed()
        status.note(landed)

        async def pieces(start: int, end: int) -> Pieces:
            yield self._counted(landed, start, end)

        size, digest = len(landed.content), blob.digest.hex()
        found = _representation(address, digest, size, _headers_of(status))
        return await answer(request, found, pieces)

    async def _slice(self, request: web.Request, address: SliceAddress) -> web.StreamResponse:
        status = CacheStatus(self._metrics)
        slices, is_new = await self._slice_list(address.bundle, status)
        if address.index >= len(slices.digests):
            raise NotFound(f"{address.path}: the bundle has {len(slices.digests)} slices")
        blob = slice_blob(address, slices)

        async def pieces(start: int, end: int) -> Pieces:
            if (part := self._blobs.part_now(blob, start, end)) is not None:
                status.note(part)
                yield self._counted(part, 0, end - start)
                return
            flight = self._blobs.begin(blob)
            if await flight.is_coming(is_sure=is_new and not self._upstreams.are_all_avoided):
                status.note_coming(flight)
                yield b""
            landed = await flight.landed()
            status.note(landed)
            yield self._counted(landed, start, end)

        start, end = slices.span(address.index)
        found = _representation(address, blob.digest.hex(), end - start, _headers_of(status))
        return await answer(request, found, pieces)

    async def _bundle(self, request: web.Request, address: BundleAddress) -> web.StreamResponse:
        status = CacheStatus(self._metrics)
        slices, is_new = await self._slice_list(address, status)

        async def pieces(start: int, end: int) -> Pieces:
            first, after_last = start // SLICE_SIZE, -(-end // SLICE_SIZE)
            blobs = [slice_blob(address.slice(i), slices) for i in range(first, after_last)]
            at = begin = first * SLICE_SIZE
            if len(blobs) == 1:
                part = self._blobs.part_now(blobs[0], start - at, end - at)
                if part is not None:
                    status.note(part)
                    yield self._counted(part, 0, end - start)
                    return
            missing_count = sum(not self._blobs.has(blob.name) for blob in blobs)
            is_sure = is_new and not self._upstreams.are_all_avoided
            async with aclosing(self._blobs.in_order(blobs)) as arriving:
                async for flight in arriving:
                    if at == begin and await flight.is_coming(is_sure=is_sure):
                        status.note_coming(flight, missing_count=missing_count, count=len(blobs))
                        yield b""
                    landed = await flight.landed()
                    status.note(landed, missing_count=missing_count, count=len(blobs))
                    yield self._counted(landed, max(0, start - at), end - at)
                    at += SLICE_SIZE

        size, digest = slices.bundle_size, address.bundle_id.hex()
        return await answer(request, _representation(address, digest, size, status.headers), pieces)

    async def _slice_list(
        self, bundle: BundleAddress, status: CacheStatus
    ) -> tuple[SliceList, bool]:
        """Return the slice list of a bundle, and whether upstream gave it just now."""
        landed = await self._blobs.begin(slice_list_blob(bundle.slice_list)).landed()
        status.note(landed)
        return parse_slice_list(landed.content, bundle.bundle_id), landed.tier is Tier.FILL

    def _counted(self, landed: Landed, start: int, end: int) -> memoryview:
        """Return the bytes ``[start, end)`` of a blob, counted as served."""
        piece = memoryview(landed.content)[start:end]
        if HERE.get().is_from_sibling:
            return piece  # counted by who sends it to a client
        self._metrics.served[landed.tier].inc()
        self._metrics.served_bytes[landed.tier].inc(len(piece))
        return piece


def _representation(
    address: Address, digest: str, size: int, headers: Callable[[], Mapping[str, str]]
) -> Representation:
    return Representation(digest, size, address.content_type, address.cache_control, headers)


def _headers_of(status: CacheStatus) -> Callable[[], dict[str, str]]:
    """Return what makes the headers of an answer, by who asks."""
    return status.headers_for_sibling if HERE.get().is_from_sibling else status.headers
