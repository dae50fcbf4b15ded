"""A problem document that a server of ours sent, as the error that it was there (RFC 9457)."""

from __future__ import annotations

import msgspec

from kit.errors import (
    Conflict,
    Denied,
    FormatError,
    IntegrityError,
    InvalidInput,
    NotFound,
    OutOfSpace,
    PlayheadError,
    Unauthenticated,
    Unavailable,
)
from kit.http_client import HttpReply

PROBLEM_SIZE_MAX = 64 << 10

_KINDS: dict[str, type[PlayheadError]] = {
    kind.code: kind
    for kind in (
        Conflict,
        Denied,
        FormatError,
        IntegrityError,
        InvalidInput,
        NotFound,
        OutOfSpace,
        Unauthenticated,
        Unavailable,
    )
}
_BY_STATUS: dict[int, type[PlayheadError]] = {
    400: InvalidInput,
    401: Unauthenticated,
    403: Denied,
    404: NotFound,
    409: Conflict,
    413: InvalidInput,
    422: InvalidInput,
    507: OutOfSpace,
}


class Problem(msgspec.Struct, frozen=True):
    """What a problem document says, as far as we use it; empty if there was none."""

    code: str = ""
    detail: str = ""


async def problem_of(reply: HttpReply) -> PlayheadError:
    """Return the error that an answer of 400 or more says; reads its body.

    Whoever is no server of ours is judged by the status alone. What may be tried again is
    :class:`~kit.errors.Unavailable`.

    Raises:
        Unavailable: The connection broke or stalled.
    """
    said = await read_problem(reply)
    detail = said.detail or f"answered {reply.status}"
    kind = _KINDS.get(said.code) or _BY_STATUS.get(reply.status, Unavailable)
    return kind(f"{reply.url}: {detail}")


async def read_problem(reply: HttpReply) -> Problem:
    """Return what the answer says was wrong; nothing if it is no problem document.

    Raises:
        Unavailable: The connection broke or stalled.
    """
    try:
        return msgspec.json.decode(await reply.read(size_max=PROBLEM_SIZE_MAX), type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, IntegrityError):
        return Problem()
