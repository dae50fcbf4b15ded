"""Reading what a client sends: bounded, at its declared length, and not for ever."""

from __future__ import annotations

import asyncio
import hmac

from aiohttp import web

from kit.errors import InvalidInput, Unauthenticated, Unavailable
from kit.http_server import STATE, BadRequest

PIECE_SIZE = 256 << 10
"""Must arrive within ``drop_stalled_after``, as what a client takes must leave in it."""


class LengthRequired(InvalidInput):
    """A body without a length cannot be judged before it is taken in."""

    code = "length-required"
    status = 411


class TooLarge(InvalidInput):
    """More bytes than this may have."""

    code = "too-large"
    status = 413


def declared_size(request: web.Request, size_max: int) -> int:
    """Return how many bytes a request says that its body has.

    Raises:
        LengthRequired: It does not say.
        TooLarge: More than ``size_max``.
    """
    size = request.content_length
    if size is None:
        raise LengthRequired(f"{request.path}: expected a Content-Length")
    if size > size_max:
        raise TooLarge(f"{request.path}: {size} bytes; at most {size_max}")
    return size


async def read_body(request: web.Request, size_max: int) -> bytearray:
    """Return a request's body, of which nothing is taken in if it declares more than allowed.

    Raises:
        LengthRequired, TooLarge: As :func:`declared_size`.
        BadRequest: It ended early.
        Unavailable: The client stalled.
    """
    size = declared_size(request, size_max)
    body, at = bytearray(), 0  # grown, not zeroed first: that would hold the loop up
    patience_s = request.app[STATE].settings.drop_stalled_after
    while at < size:
        until = min(size, at + PIECE_SIZE)
        try:
            async with asyncio.timeout(patience_s):
                while at < until:
                    piece = await request.content.read(until - at)
                    if not piece:
                        raise BadRequest(f"{request.path}: ended after {at} of {size} bytes")
                    body += piece
                    at += len(piece)
        except TimeoutError as error:
            raise Unavailable(f"{request.path}: sent too slowly, {at} of {size} bytes") from error
    return body


def bearer_of(request: web.Request) -> str:
    """Return the bearer token of a request (RFC 6750, section 2.1).

    Raises:
        Unauthenticated: It has none.
    """
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token:
        raise Unauthenticated(f"{request.path}: who asks? Expected `Authorization: Bearer ...`")
    return token.strip()


def is_same_secret(one: str, other: str) -> bool:
    """Compare secrets in a time that tells nothing of where they differ."""
    return hmac.compare_digest(one.encode(errors="replace"), other.encode(errors="replace"))
