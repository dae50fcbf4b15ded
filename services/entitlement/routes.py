"""Routes of the entitlement service: ``docs/format/leases.md``.

Consoles get leases, operators revoke them and give them back, nodes listen. Bodies are small JSON
objects; whoever sends one says who they are by a bearer token, and nodes by a lease of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Annotated, TypeVar

import msgspec
from aiohttp import web
from msgspec import Meta
from prometheus_client import Counter, Gauge

from kit.errors import FormatError, PlayheadError, Unauthenticated
from kit.http_server import STATE, refuse_query
from kit.server_sent_events import CONTENT_TYPE
from kit.service import Binder
from manifests.lease import HEADER, Subject
from manifests.names import TITLE_PATTERN, TitleId
from manifests.revocation_feed import PATH, SUBJECT_PATTERN
from services.entitlement.ownership import Identity, Ownership
from services.entitlement.service import Entitlement

B = TypeVar("B")

BODY_SIZE_MAX = 1024
BODY_WITHIN_S = 10.0

CheckNode = Callable[[str | None, str], object]
"""Raises Denied unless a token is a node's lease; also takes what it is for."""

_PRIVATE = {"Cache-Control": "no-store"}


class _LeaseWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    title: Annotated[str, Meta(pattern=TITLE_PATTERN)]


class _Whose(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    subject: Annotated[str, Meta(pattern=SUBJECT_PATTERN)]
    title: Annotated[str, Meta(pattern=TITLE_PATTERN)]


class BearerMissing(Unauthenticated):
    """Who asks has not said who they are."""

    code = "bearer-missing"


def bind(
    binder: Binder,
    entitlement: Entitlement,
    *,
    identity: Identity,
    ownership: Ownership,
    check_node: CheckNode,
) -> None:
    """Serve under ``/api/v1/`` what ``entitlement`` does."""
    routes = _Routes(binder, entitlement, identity, ownership, check_node)
    binder.background("ledger", entitlement.follow)
    binder.ready("revocations", entitlement.check)
    binder.routes(
        web.post("/api/v1/leases", routes.mint),
        web.post("/api/v1/revocations", routes.revoke),
        web.post("/api/v1/grants", routes.give_back),
        web.get(PATH, routes.listen),
    )


class _Routes:
    def __init__(
        self,
        binder: Binder,
        entitlement: Entitlement,
        identity: Identity,
        ownership: Ownership,
        check_node: CheckNode,
    ) -> None:
        self._entitlement = entitlement
        self._identity = identity
        self._ownership = ownership
        self._check_node = check_node
        self._minted = Counter(
            "playhead_entitlement_leases_total",
            "Leases asked for, by what became of it: minted, or an error's code.",
            ["outcome"],
            registry=binder.registry,
        )
        listeners = Gauge(
            "playhead_entitlement_listeners", "Nodes that listen.", registry=binder.registry
        )
        listeners.set_function(entitlement.broadcast.__len__)

    async def mint(self, request: web.Request) -> web.Response:
        try:
            subject = self._identity.player(_bearer(request))
            wish = await _body(request, _LeaseWish)
            minted = await self._entitlement.mint(self._ownership, subject, TitleId(wish.title))
        except PlayheadError as error:
            self._minted.labels(error.code).inc()
            raise
        self._minted.labels("minted").inc()
        return _json(minted)

    async def revoke(self, request: web.Request) -> web.Response:
        whose = await self._operators(request)
        epoch = await self._entitlement.revoke(Subject(whose.subject), TitleId(whose.title))
        return _json({"subject": whose.subject, "title": whose.title, "epoch": epoch})

    async def give_back(self, request: web.Request) -> web.Response:
        whose = await self._operators(request)
        await self._entitlement.give_back(Subject(whose.subject), TitleId(whose.title))
        return _json({"subject": whose.subject, "title": whose.title})

    async def listen(self, request: web.Request) -> web.StreamResponse:
        refuse_query(request)
        self._check_node(request.headers.get(HEADER), request.path)
        state = request.app[STATE]
        async with aclosing(self._entitlement.events()) as events:
            # The first event before the head: what it raises is still an answer of its own.
            first = await anext(events)
            response = web.StreamResponse(headers=_PRIVATE)
            response.content_type = CONTENT_TYPE
            await response.prepare(request)
            await response.write(first)
            async for event in events:
                if state.is_draining:
                    break
                async with asyncio.timeout(state.settings.drop_stalled_after):
                    await response.write(event)
        return response

    async def _operators(self, request: web.Request) -> _Whose:
        self._identity.require_operator(_bearer(request))
        return await _body(request, _Whose)


def _bearer(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise BearerMissing(f"{request.path}: say who you are: `Authorization: Bearer ...`")
    return token.strip()


async def _body(request: web.Request, kind: type[B]) -> B:
    """Read a small JSON object.

    Raises:
        FormatError: It is another, too large, or does not come.
    """
    refuse_query(request)
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            body = await _read_at_most(request, BODY_SIZE_MAX)
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"{request.path}: the body: {error}") from error
    except TimeoutError as error:
        raise FormatError(f"{request.path}: no whole body in {BODY_WITHIN_S:g} s") from error


async def _read_at_most(request: web.Request, size_max: int) -> bytes:
    body = b""
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > size_max:
            raise FormatError(f"{request.path}: a body of more than {size_max} bytes")
    return body


def _json(content: object) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(content), content_type="application/json", headers=_PRIVATE
    )
