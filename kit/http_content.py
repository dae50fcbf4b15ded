"""How an object with a strong entity tag is answered: 200, 206, 304, 416, whole or to HEAD."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from aiohttp import web
from structlog.contextvars import bind_contextvars

from kit.buffers import Buffer
from kit.errors import IntegrityError, InvalidInput, PlayheadError, Unavailable
from kit.http_semantics import (
    Full,
    Partial,
    Unsatisfiable,
    content_range,
    is_known_to_client,
    wanted,
)
from kit.http_server import STATE, problem
from kit.telemetry import get_logger
from kit.tls import FIRST_WRITE_SIZE

log = get_logger("http")

Pieces = AsyncGenerator[Buffer, None]
Body = Callable[[int, int], Pieces]
"""Yields the bytes ``[start, end)`` of an object, in pieces of a few MiB at most. If the first is
empty, the head may go before there are any."""

WRITE_SIZE = 256 << 10
"""Handed to the socket at a time: few system calls, and a slow client is told from a dead one."""


class RangeOutside(InvalidInput):
    """The span asked for lies outside the object."""

    code = "range-outside"
    status = 416


class ClientStalled(Unavailable):
    """The client stopped taking what it had asked for."""

    code = "client-stalled"


@dataclass(frozen=True, slots=True)
class Representation:
    """What is known of an object before a byte of it is read."""

    digest: str
    """Hex; in double quotes it is the entity tag."""
    size: int
    """In bytes."""
    content_type: str
    cache_control: str
    headers: Callable[[], Mapping[str, str]] = dict
    """Returns more headers, such as ``Age``; called once the first piece is here."""

    @property
    def etag(self) -> str:
        """The strong entity tag, quotes included."""
        return f'"{self.digest}"'


async def answer(request: web.Request, found: Representation, body: Body) -> web.StreamResponse:
    """Answer a GET or HEAD of ``found``, whose bytes ``body`` yields.

    The first piece is awaited before a header is sent, so that what goes wrong up to there
    still becomes a problem document. What goes wrong later breaks the connection off: the
    client sees an answer cut short, never a wrong one.
    """
    headers = {"ETag": found.etag, "Cache-Control": found.cache_control}
    if is_known_to_client(request.headers.get("If-None-Match"), found.etag):
        return web.Response(status=304, headers={**headers, **found.headers()})
    headers["Accept-Ranges"] = "bytes"
    headers["Content-Type"] = found.content_type
    status, start, end = 200, 0, found.size
    match Full() if request.method == "HEAD" else _wanted(request, found):
        case Partial(start, end):
            status = 206
            headers["Content-Range"] = content_range(start, end, found.size)
        case Unsatisfiable():
            error = RangeOutside(f"{request.path} has {found.size} bytes")
            return problem(error, {"Content-Range": f"bytes */{found.size}"})
    headers["Content-Length"] = str(end - start)
    response = web.StreamResponse(status=status, headers=headers)
    if request.method == "HEAD" or start == end:
        response.headers.update(found.headers())
        return response
    async with aclosing(body(start, end)) as pieces:
        piece = await anext(pieces)
        response.headers.update(found.headers())
        await response.prepare(request)
        await _send(request, response, piece, pieces, end - start)
    return response


def _wanted(request: web.Request, found: Representation) -> Full | Partial | Unsatisfiable:
    headers = request.headers
    return wanted(headers.get("Range"), headers.get("If-Range"), found.etag, found.size)


async def _send(
    request: web.Request,
    response: web.StreamResponse,
    piece: Buffer,
    pieces: Pieces,
    length: int,
) -> None:
    """Send ``piece`` and what ``pieces`` still yields: ``length`` bytes in all."""
    begun = FIRST_WRITE_SIZE if request.secure else 0
    try:
        while True:
            length -= len(piece)
            await _write(request, response, memoryview(piece), begun)
            begun = begun if not piece else 0
            if length <= 0:
                break
            piece = await anext(pieces)
        await request.writer.drain()
    except StopAsyncIteration:
        _break_off(request, IntegrityError(f"{length} bytes are missing at the end"))
    except PlayheadError as error:
        _break_off(request, error)


async def _write(
    request: web.Request, response: web.StreamResponse, piece: memoryview, begun: int
) -> None:
    """Write ``piece``, the first ``begun`` bytes of it apart."""
    patience_s = request.app[STATE].settings.drop_stalled_after
    at = 0
    while at < len(piece):
        size = WRITE_SIZE if at >= begun else begun
        try:
            async with asyncio.timeout(patience_s):
                await response.write(piece[at : at + size])
        except TimeoutError as error:
            raise ClientStalled(f"took less than {size} bytes in {patience_s:g} s") from error
        at += size


def _break_off(request: web.Request, error: PlayheadError) -> None:
    """End the connection short of what was declared: the one way left to say "not whole"."""
    bind_contextvars(aborted=error.code)
    log.warning("response.aborted", path=request.raw_path, code=error.code, detail=str(error))
    if request.transport is not None:
        request.transport.abort()
