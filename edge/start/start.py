"""The start call: all that a console asks for at first, in one answer (``docs/format/start.md``).

::

    head ─┬─ trust bundle ───────────────── sent at once, for it is for anyone
          ├─ lease: shown, or got from the entitlement service ─┐
          └─ root ─ first page ─ first range, meanwhile ────────┴─ sent once the player may read

Everything in it comes through the same cache as if it was asked for singly. Whatever is not there
is said to be absent; the console asks for it by itself then.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from aiohttp import web
from structlog.contextvars import bind_contextvars

from edge.documents import Document
from edge.metrics import Outcome
from edge.misses import ADDRESS, Misses
from edge.node import Node
from edge.start.minting import EntitlementService, MintLease
from edge.start.openings import FirstRange, Openings
from edge.start.permission import Permission, permission_of
from kit.buffers import Buffer
from kit.errors import FormatError, IntegrityError, PlayheadError, SettingsError
from kit.http_body import read_body
from kit.http_server import STATE, refuse_query
from kit.service import Binder
from kit.telemetry import get_logger
from kit.tls import FIRST_WRITE_SIZE
from manifests.addresses import HeadAddress, ManifestAddress, TrustBundleAddress
from manifests.documents import Head, ObjectRef, parse_head
from manifests.lease_gate import Guard
from manifests.names import Channel, TitleId
from manifests.start import (
    WISH_SIZE_MAX,
    Absent,
    Content,
    Span,
    answer_header,
    content_header,
    encode_end,
    encode_part,
    fits,
    parse_start_path,
    parse_wish,
)

log = get_logger("edge.start")

NOBODY = "somebody unknown"

WRITE_SIZE = 256 << 10
"""Handed to the socket at a time, and what a client must take within ``drop_stalled_after``."""


def bind(binder: Binder, node: Node, guard: Guard, misses: Misses) -> None:
    """Answer start calls beside what ``edge.routes`` serves.

    Raises:
        SettingsError: The entitlement service is no base URL.
    """
    url = node.settings.entitlement
    if url and not re.fullmatch(r"https?://[^/?#\s]+/?", url):
        raise SettingsError(f"edge.entitlement: {url!r} is no base URL such as http://host:7403")
    mint = EntitlementService(url, node.client) if url else None
    starts = Starts(node, guard, misses, mint)
    binder.routes(web.post("/t/{title}/h/{channel}/start", starts.serve))


@dataclass(frozen=True, slots=True)
class _Call:
    """One call: the head that it is about, and the release that the console has."""

    head: Head
    document: Document
    installed: int | None

    @property
    def is_current(self) -> bool:
        return self.installed is not None and self.head.release.counter <= self.installed

    @property
    def manifest_delta(self) -> ObjectRef | None:
        """What leads from the manifest that the console has to the one of the head."""
        span = (self.installed, self.head.release.counter)
        deltas = self.head.deltas
        return next((ref.manifest for ref in deltas if (ref.base, ref.target) == span), None)


class Starts:
    """Answers start calls at one edge."""

    def __init__(
        self, node: Node, guard: Guard, misses: Misses, mint: MintLease | None = None
    ) -> None:
        """Answer from what ``node`` has to whom ``guard`` lets in.

        ``mint`` gets leases for players who say who they are; without it they get none here.
        """
        self._documents = node.documents
        self._openings = Openings(node.blobs, node.metrics)
        self._metrics = node.metrics
        self._guard = guard
        self._misses = misses
        self._mint = mint

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer one call; what goes wrong before anything was sent becomes a problem document."""
        refuse_query(request)
        title, channel = parse_start_path(request.raw_path)
        wish = parse_wish(await read_body(request, WISH_SIZE_MAX))
        async with permission_of(request.headers, title, self._guard, self._mint) as permission:
            with self._misses.counting(request.remote or NOBODY, ADDRESS):
                document, _ = await self._documents.get(HeadAddress(title, channel))
            head = _parsed(document, title, channel)
            call = _Call(head, document, wish.installed)
            async with aclosing(self._pieces(call, permission)) as pieces:
                return await _streamed(request, pieces)

    async def _pieces(self, call: _Call, permission: Permission) -> AsyncGenerator[Buffer, None]:
        """Yield the answer, as much at a time as is there."""
        content: asyncio.Queue[Buffer | None] = asyncio.Queue()
        collecting = asyncio.create_task(self._collect(call, permission, content))
        try:
            opening = bytearray(answer_header()) + await self._trust(call)
            permission.refuse_early()
            yield opening
            outcome, told = await permission.settled()
            self._metrics.starts[outcome].inc()
            bind_contextvars(start=outcome.value)
            if told is not None:
                yield encode_part(told)
            if outcome is Outcome.GRANTED:
                async with aclosing(_ready(content)) as pieces:
                    async for piece in pieces:
                        yield piece
                await collecting
            yield encode_end()
        finally:
            collecting.cancel()
            await asyncio.gather(collecting, return_exceptions=True)

    async def _trust(self, call: _Call) -> bytes:
        """Return the parts that are for anyone."""
        parts = b""
        if call.installed is not None:
            parts = encode_part(Content(call.document.path, None, call.document.content))
        if call.is_current:
            return parts
        address = TrustBundleAddress(call.head.title, call.head.channel)
        try:
            document, _ = await self._documents.get(address)
        except PlayheadError:
            return parts + encode_part(Absent(address.path, None))
        return parts + encode_part(Content(address.path, None, document.content))

    async def _collect(
        self, call: _Call, permission: Permission, into: asyncio.Queue[Buffer | None]
    ) -> None:
        """Put the parts of content into a queue, each with its header, as they come."""
        try:
            if permission.may_come and not call.is_current:
                if call.installed is None:
                    await self._collect_install(call.head, into)
                else:
                    await self._collect_update(call, into)
        finally:
            into.put_nowait(None)

    async def _collect_install(self, head: Head, into: asyncio.Queue[Buffer | None]) -> None:
        title, root = head.title, head.release.root
        if not await self._collect_manifest(title, root, into):
            return
        try:
            opening = await self._openings.of(head.release)
        except PlayheadError as error:
            log.info("start.no_opening", title=title, code=error.code, detail=str(error))
            return
        is_there = await self._collect_manifest(title, opening.page, into)
        for found in opening.ranges if is_there else ():
            await self._collect_range(found, into)

    async def _collect_update(self, call: _Call, into: asyncio.Queue[Buffer | None]) -> None:
        title, delta = call.head.title, call.manifest_delta
        await self._collect_manifest(title, delta or call.head.release.root, into)

    async def _collect_manifest(
        self, title: TitleId, ref: ObjectRef, into: asyncio.Queue[Buffer | None]
    ) -> bool:
        """Tell whether it is there, and no larger than it may be in an answer."""
        address = ManifestAddress(title, ref.raw_digest)
        try:
            body = await self._openings.manifest(address) if fits(address.path, ref.size) else None
        except PlayheadError as error:
            log.info("start.absent", path=address.path, code=error.code)
            body = None
        return _put(into, address.path, None, None if body is None else [body])

    async def _collect_range(self, found: FirstRange, into: asyncio.Queue[Buffer | None]) -> bool:
        path, span = found.bundle.path, (found.start, found.end)
        try:
            is_small = fits(path, found.end - found.start)
            body = await self._openings.content(found) if is_small else None
        except PlayheadError as error:
            log.info("start.absent", path=path, code=error.code)
            body = None
        return _put(into, path, span, body)


def _parsed(document: Document, title: TitleId, channel: Channel) -> Head:
    try:
        return parse_head(document.content, title, channel)
    except FormatError as error:  # nobody's fault who asks
        raise IntegrityError(str(error)) from error


def _put(
    into: asyncio.Queue[Buffer | None], path: str, span: Span, body: Sequence[Buffer] | None
) -> bool:
    if body is None:
        into.put_nowait(encode_part(Absent(path, span)))
        return False
    header = content_header(path, span, sum(map(len, body)))
    into.put_nowait(b"".join([header, *body]))
    return True


async def _ready(content: asyncio.Queue[Buffer | None]) -> AsyncGenerator[Buffer, None]:
    """Yield what is in the queue up to its end, as much at once as is there."""
    has_ended = False
    while not has_ended:
        pieces = [await content.get()]
        while not content.empty():
            pieces.append(content.get_nowait())
        has_ended = pieces[-1] is None
        yield b"".join(piece for piece in pieces if piece is not None)


async def _streamed(
    request: web.Request, pieces: AsyncGenerator[Buffer, None]
) -> web.StreamResponse:
    """Send ``pieces``; what goes wrong behind the first breaks the connection off."""
    response = web.StreamResponse(
        headers={"Content-Type": "application/octet-stream", "Cache-Control": "no-store"}
    )
    first = memoryview(await anext(pieces))
    await response.prepare(request)
    try:
        await _write(request, response, first[:FIRST_WRITE_SIZE])
        await _write(request, response, first[FIRST_WRITE_SIZE:])
        async for piece in pieces:
            await _write(request, response, memoryview(piece))
        await response.write_eof()
    except (PlayheadError, TimeoutError) as error:
        log.warning("response.aborted", path=request.raw_path, detail=str(error))
        if request.transport is not None:
            request.transport.abort()
    return response


async def _write(request: web.Request, response: web.StreamResponse, piece: memoryview) -> None:
    for at in range(0, len(piece), WRITE_SIZE):
        async with asyncio.timeout(request.app[STATE].settings.drop_stalled_after):
            await response.write(piece[at : at + WRITE_SIZE])
