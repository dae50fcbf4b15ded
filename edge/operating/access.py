"""Lets in operators, by a secret, and writes down what they did."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import msgspec
from aiohttp import web

from kit.attempts import Attempts
from kit.clock import Clock
from kit.errors import Denied, InvalidInput, NotFound, PlayheadError
from kit.http_body import bearer_of, read_body
from kit.http_server import is_from_sibling, refuse_query
from kit.telemetry import get_logger

log = get_logger("edge.operating")

B = TypeVar("B", bound=msgspec.Struct)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

BODY_SIZE_MAX = 16 << 10

WRONG_MAX, WINDOW_S = 10, 60.0
"""Wrong secrets of an address within a minute; after that it is not listened to. The secret has
256 bits: this is not against guessing but for the disk, since each attempt is written down."""


class CheckOperator(Protocol):
    """Knows who is an operator."""

    def __call__(self, secret: str) -> None:
        """Do nothing if ``secret`` is an operator's; compares in constant time.

        Raises:
            Unauthenticated: It is not.
        """


class Note(Protocol):
    """Writes a line into an audit log."""

    async def __call__(
        self, *, who: str, what: str, outcome: str, on: str, detail: str, address: str
    ) -> None:
        """Return once the line is on the disk."""


class Desk:
    """Before every door of operators."""

    def __init__(self, check: CheckOperator, note: Note, clock: Clock) -> None:
        self._check = check
        self._note = note
        self._wrong = Attempts(WRONG_MAX, WINDOW_S, clock)

    def known(self, handler: Handler) -> Handler:
        """Return ``handler`` for operators, and our siblings; nothing is looked at before."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            if not is_from_sibling(request):  # whoever let the operator in asks us
                await self._require_operator(request)
            refuse_query(request)
            return await handler(request)

        return guarded

    def only_siblings(self, handler: Handler) -> Handler:
        """Return ``handler`` for our other workers; for anyone else there is no such door."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            if not is_from_sibling(request):
                raise NotFound(f"{request.path}: not found")
            return await handler(request)

        return guarded

    async def noted(self, request: web.Request, what: str, on: str, doing: Awaitable[B]) -> B:
        """Return what ``doing`` returns; what became of it is written down before.

        Raises: as ``doing``; OutOfSpace, Unavailable: It cannot be written down.
        """
        if is_from_sibling(request):
            return await doing
        outcome = "cut-off"
        try:
            found = await doing
        except PlayheadError as error:
            outcome = error.code
            raise
        else:
            outcome = "ok"
            return found
        finally:
            await self._write(request, what, outcome, on=on)

    async def _require_operator(self, request: web.Request) -> None:
        address = request.remote or "nowhere"
        self._wrong.check(address, "wrong secrets")
        try:
            self._check(bearer_of(request))
        except Denied as error:
            self._wrong.count(address)
            await self._write(request, "ask", error.code, on=request.path)
            raise

    async def _write(self, request: web.Request, what: str, outcome: str, *, on: str) -> None:
        await self._note(
            who="operator" if outcome != "unauthenticated" else "somebody unknown",
            what=what,
            outcome=outcome,
            on=on,
            detail="",
            address=request.remote or "",
        )


async def body_of(request: web.Request, kind: type[B], size_max: int = BODY_SIZE_MAX) -> B:
    """Read the JSON object that a request brings, of at most ``size_max`` bytes.

    Raises:
        InvalidInput: It is another, or too large; the message names the member.
    """
    body = await read_body(request, size_max)
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"{request.path}: the body: {error}") from error


def json_answer(content: object, *, status: int = 200) -> web.Response:
    """Answer with JSON that nobody keeps."""
    return web.Response(
        status=status,
        body=msgspec.json.encode(content),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
