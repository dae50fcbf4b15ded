"""Routes of publishing: ``docs/format/publishing_api.md``.

Object storage over HTTP, as far as the rules let a publisher: list, read, store, delete; and where
it has its releases vouched for. Everything is refused unless a token says otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Annotated, TypeVar

import msgspec
from aiohttp import web
from msgspec import Meta

from kit.audit_log import AuditLog
from kit.clock import Clock
from kit.concurrency import to_its_end
from kit.errors import InvalidInput, PlayheadError
from kit.http_body import read_body
from kit.http_content import Pieces, Representation, answer
from kit.http_server import STATE, refuse_query
from kit.object_storage import ObjectStat, ObjectStorage
from kit.object_storage.direct import Presigner
from kit.object_storage.keys import KEY_BYTES_MAX
from kit.service import Binder
from kit.telemetry import get_logger
from manifests.names import channel as channel_name
from manifests.names import title_id
from manifests.trust_roles import METADATA_SIZE_MAX
from origin.publishing.caller import Caller, CheckToken, Guard
from origin.publishing.intake import Intake
from origin.publishing.rules import Rules
from origin.publishing.settings import PublishingSettings
from origin.publishing.trust_desk import Submission, TrustDesk

BASE = "/publish/v1"
VOUCHED = "trust/{title}/{channel}/{counter:[0-9]{10}}"
PIECE_SIZE = 1 << 20
KEYS_MAX = 1000
"""Deleted by one request."""
ASKED_SIZE_MAX = 1 << 20
LINES_AT_ONCE = 256
SWEEP_EVERY_S = 3600.0

MODIFIED_AT = "Playhead-Modified-At"
"""Seconds since the Unix epoch, by storage's clock: publishers' locks live by it."""

T = TypeVar("T")
log = get_logger("origin")

_Key = Annotated[str, Meta(max_length=KEY_BYTES_MAX)]


class DeleteRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which objects to delete."""

    keys: Annotated[list[_Key], Meta(max_length=KEYS_MAX)]


class UploadRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be put straight into a bucket."""

    key: _Key
    size: Annotated[int, Meta(ge=0, le=1 << 40)]


class CommitRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was put there, and as what it shall be taken in."""

    key: _Key
    upload: _Key


def bind(
    binder: Binder,
    storage: ObjectStorage,
    rules: Rules,
    desk: TrustDesk,
    *,
    check_token: CheckToken,
    audit: AuditLog,
    settings: PublishingSettings,
    presigner: Presigner | None,
    clock: Clock,
    random: Callable[[int], bytes],
) -> None:
    """Let publishers whose tokens pass ``check_token`` do what ``rules`` allow."""
    intake = Intake(
        storage, rules, audit, settings, presigner=presigner, clock=clock, random=random
    )
    door = _Door(storage, rules, desk, intake)
    guard = Guard(check_token, settings.requests_max, settings.publisher_requests_max)

    @asynccontextmanager
    async def audited() -> AsyncIterator[None]:
        try:
            yield
        finally:
            await audit.close()

    binder.lifetime(audited)
    binder.background("upload sweep", partial(_sweep, intake))
    binder.routes(
        web.get(f"{BASE}/whoami", guard.known(door.whoami)),
        web.get(f"{BASE}/list", guard.known(door.list_keys)),
        web.get(f"{BASE}/objects/{{key:.+}}", guard.known(door.read)),
        web.put(f"{BASE}/objects/{{key:.+}}", guard.known(door.put)),
        web.post(f"{BASE}/delete", guard.known(door.delete)),
        web.post(f"{BASE}/uploads", guard.known(door.begin_direct)),
        web.post(f"{BASE}/commits", guard.known(door.commit)),
        web.get(f"{BASE}/trust", guard.known(door.signed)),
        web.get(f"{BASE}/{VOUCHED}", guard.known(door.doubt)),
        web.put(f"{BASE}/{VOUCHED}", guard.known(door.vouch)),
    )


async def _sweep(intake: Intake) -> None:
    while True:
        try:
            await intake.sweep()
        except PlayheadError as error:
            log.warning("uploads.not_swept", error=str(error))
        await asyncio.sleep(SWEEP_EVERY_S)


class _Door:
    def __init__(
        self,
        storage: ObjectStorage,
        rules: Rules,
        desk: TrustDesk,
        intake: Intake,
    ) -> None:
        self._storage = storage
        self._rules = rules
        self._desk = desk
        self._intake = intake

    async def whoami(self, caller: Caller, _request: web.Request) -> web.Response:
        return _told(caller.scope)

    async def list_keys(self, caller: Caller, request: web.Request) -> web.StreamResponse:
        prefix = request.query.get("prefix", "")
        self._rules.check_list(caller.scope, prefix)
        response = web.StreamResponse(headers={"Cache-Control": "no-store"})
        response.content_type = "application/x-ndjson"
        count = 0
        async with aclosing(_batches(self._storage, prefix)) as batches:
            none: list[ObjectStat] = []
            first = await anext(batches, none)  # what goes wrong up to here is a problem document
            await response.prepare(request)
            await _send(request, response, first)
            count += len(first)
            try:
                async for batch in batches:
                    await _send(request, response, batch)
                    count += len(batch)
            except PlayheadError as error:
                log.warning("listing.aborted", prefix=prefix, error=str(error))
                if request.transport is not None:
                    request.transport.abort()
                return response
        # Says that this is all: a listing cut short must not look like a whole one.
        await response.write(msgspec.json.encode({"count": count}) + b"\n")
        return response

    async def read(self, caller: Caller, request: web.Request) -> web.StreamResponse:
        key = request.match_info["key"]
        refuse_query(request)
        self._rules.check_read(caller.scope, key)
        stat = await self._storage.stat(key)
        if stat.size <= PIECE_SIZE and request.method == "GET":
            # In one go: what is replaced meanwhile must not come as two halves.
            return await self._whole(request, stat)
        return await answer(request, _representation(stat), partial(self._pieces, key))

    async def put(self, caller: Caller, request: web.Request) -> web.Response:
        key = request.match_info["key"]
        refuse_query(request)
        is_once = request.headers.get("If-None-Match") == "*"
        stored = await self._intake.put(caller, request, key, is_once=is_once)
        return _told({"stored": stored})

    async def delete(self, caller: Caller, request: web.Request) -> web.Response:
        asked = await _asked(request, DeleteRequest)
        if asked.keys:
            await self._intake.delete(caller, asked.keys)
        return _told({"deleted": len(asked.keys)})

    async def begin_direct(self, caller: Caller, request: web.Request) -> web.Response:
        asked = await _asked(request, UploadRequest)
        direct = await self._intake.begin_direct(caller, asked.key, asked.size)
        return _told({"direct": direct, "offered": self._intake.offers_direct})

    async def commit(self, caller: Caller, request: web.Request) -> web.Response:
        asked = await _asked(request, CommitRequest)
        stored = await self._intake.commit(caller, asked.key, asked.upload)
        return _told({"stored": stored})

    async def signed(self, caller: Caller, _request: web.Request) -> web.Response:
        found = await self._desk.signed(caller)
        headers = {"Cache-Control": "no-store"}
        if found is None:
            return web.Response(status=204, headers=headers)
        return web.Response(body=found, content_type="application/json", headers=headers)

    async def doubt(self, caller: Caller, request: web.Request) -> web.Response:
        names = request.match_info
        title, channel = title_id(names["title"]), channel_name(names["channel"])
        found = await self._desk.doubt(caller, title, channel, int(names["counter"]))
        return _told({"doubt": found})

    async def vouch(self, caller: Caller, request: web.Request) -> web.Response:
        names = request.match_info
        title, channel = title_id(names["title"]), channel_name(names["channel"])
        caller.scope.check_channel(title, channel)
        signed = bytes(await read_body(request, METADATA_SIZE_MAX))
        submission = Submission(title, channel, int(names["counter"]), signed)
        await to_its_end(self._vouch(caller, submission))
        return _told({"vouched": True})

    async def _vouch(self, caller: Caller, submission: Submission) -> None:
        on = f"{submission.title}/{submission.channel}/{submission.counter}"
        try:
            await self._desk.accept(caller, submission)
        except PlayheadError as error:
            await self._intake.note(caller, "vouch", on, None, error)
            raise
        await self._intake.note(caller, "vouch", on)

    async def _whole(self, request: web.Request, stat: ObjectStat) -> web.StreamResponse:
        content = await self._storage.get(stat.key, size_max=PIECE_SIZE)
        found = ObjectStat(stat.key, len(content), stat.modified_at)

        async def pieces(start: int, end: int) -> Pieces:
            yield memoryview(content)[start:end]

        return await answer(request, _representation(found), pieces)

    async def _pieces(self, key: str, start: int, end: int) -> Pieces:
        for at in range(start, end, PIECE_SIZE):
            yield await self._storage.read(key, at, min(PIECE_SIZE, end - at))


async def _batches(storage: ObjectStorage, prefix: str) -> AsyncGenerator[list[ObjectStat], None]:
    batch: list[ObjectStat] = []
    async for stat in storage.list(prefix):
        batch.append(stat)
        if len(batch) == LINES_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


async def _send(
    request: web.Request, response: web.StreamResponse, batch: list[ObjectStat]
) -> None:
    lines = [msgspec.json.encode([s.key, s.size, s.modified_at]) + b"\n" for s in batch]
    async with asyncio.timeout(request.app[STATE].settings.drop_stalled_after):
        await response.write(b"".join(lines))


def _representation(stat: ObjectStat) -> Representation:
    # No cache may keep what only a publisher may see, so the tag need only tell versions apart.
    tag = f"{stat.size:x}-{stat.modified_at!r}"
    headers = {MODIFIED_AT: repr(stat.modified_at)}
    return Representation(tag, stat.size, "application/octet-stream", "no-store", lambda: headers)


async def _asked(request: web.Request, kind: type[T]) -> T:
    body = await read_body(request, ASKED_SIZE_MAX)
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{request.path}: {error}") from error


def _told(content: object) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(content),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
