"""Taking in objects: room for them, the rules, the write, and the line that tells of it.

A large object can come two ways: through this process, or straight into a bucket under a key below
``upload/`` that nobody serves. From there it is read back, judged as any other, and stored under
its own key *from the bytes that were judged*: the address it came by can be used again, with other
bytes, between the reading and a copy that the bucket would make.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from chunks.chunk_id import digest_of
from kit.audit_log import AuditLog
from kit.buffers import Buffer
from kit.clock import Clock
from kit.concurrency import MemoryGate, to_its_end
from kit.errors import (
    FormatError,
    IntegrityError,
    InvalidInput,
    NotFound,
    PlayheadError,
    Unauthenticated,
)
from kit.http_body import TooLarge, declared_size, read_body
from kit.object_storage import ObjectStorage
from kit.object_storage.direct import DirectPut, Presigner
from origin.publishing.caller import Caller
from origin.publishing.quarantine import Quarantine, delete_older
from origin.publishing.rules import Rules
from origin.publishing.settings import PublishingSettings

UPLOADS_PREFIX = "upload/"
PIECE_SIZE = 1 << 20


@dataclass(frozen=True, slots=True)
class Direct:
    """Where to put an object, and the name to hand it in by."""

    upload: str
    put: DirectPut


class Intake:
    """Belongs to one event loop."""

    def __init__(
        self,
        storage: ObjectStorage,
        rules: Rules,
        audit: AuditLog,
        settings: PublishingSettings,
        *,
        presigner: Presigner | None,
        clock: Clock,
        random: Callable[[int], bytes],
    ) -> None:
        self._storage = storage
        self._rules = rules
        self._audit = audit
        self._settings = settings
        self._presigner = presigner if settings.direct else None
        self._clock = clock
        self._random = random
        self._gate = MemoryGate(settings.memory_max_bytes)
        self._publishers: dict[str, MemoryGate] = {}
        self.quarantine = Quarantine(
            storage, count_max=settings.quarantine_count_max, clock=clock, random=random
        )

    @property
    def offers_direct(self) -> bool:
        """Whether anything may be put straight into a bucket."""
        return self._presigner is not None

    async def put(self, caller: Caller, request: web.Request, key: str, *, is_once: bool) -> bool:
        """Take in a request's body as the object ``key``; return whether this call stored it.

        Raises:
            Denied, Conflict, InvalidInput: The rules are against it.
        """
        async with self._noted(caller, "put", key) as told:
            size_max = self._rules.size_max(caller.scope, key, is_once=is_once)
            told.size = declared_size(request, size_max)
            async with self._room(caller, told.size):
                body = await read_body(request, size_max)
                # Whoever hands in may leave; what was begun is done, and told of.
                return await to_its_end(self._store(caller, key, body, told, is_once=is_once))

    async def begin_direct(self, caller: Caller, key: str, size: int) -> Direct | None:
        """Return where ``size`` bytes of the object ``key`` may be put; None: hand them in here.

        Raises:
            Denied, InvalidInput: The rules are against it.
        """
        size_max = self._rules.size_max(caller.scope, key, is_once=True)
        if size > size_max:
            raise TooLarge(f"{key}: {size} bytes; at most {size_max}")
        if self._presigner is None or not self._rules.is_direct(key) or size == 0:
            return None
        name = f"{key.replace('/', '.')}-{self._random(12).hex()}"
        upload = f"{UPLOADS_PREFIX}{caller.scope.publisher}/{name}"
        put = await self._presigner.direct_put(upload, size, self._settings.direct_expires_after)
        return Direct(upload, put)

    async def commit(self, caller: Caller, key: str, upload: str) -> bool:
        """Take in what was put under ``upload`` as the object ``key``.

        Raises:
            NotFound: Nothing was put there.
            Denied, Conflict, InvalidInput: The rules are against it.
        """
        if not upload.startswith(f"{UPLOADS_PREFIX}{caller.scope.publisher}/"):
            raise InvalidInput(f"{upload[:200]!r} is no upload of yours")
        async with self._noted(caller, "commit", key) as told:
            size_max = self._rules.size_max(caller.scope, key, is_once=True)
            told.size = (await self._storage.stat(upload)).size
            if told.size > size_max:
                raise TooLarge(f"{upload}: {told.size} bytes; at most {size_max}")
            async with self._room(caller, told.size):
                body = bytearray()
                while len(body) < told.size:
                    length = min(PIECE_SIZE, told.size - len(body))
                    body += await self._storage.read(upload, len(body), length)
                return await to_its_end(self._commit(caller, key, upload, body, told))

    async def delete(self, caller: Caller, keys: list[str]) -> None:
        """Delete objects.

        Raises:
            Denied, Conflict, InvalidInput: The rules are against one of them; none is deleted.
        """
        if any(map(self._rules.is_noted, keys)):
            what = keys[0] if len(keys) == 1 else f"{keys[0]} and {len(keys) - 1} more"
            async with self._noted(caller, "delete", what, is_key=False):
                await self._rules.check_delete(caller.scope, keys)
                await to_its_end(self._storage.delete(keys))
        else:
            await self._rules.check_delete(caller.scope, keys)
            await to_its_end(self._storage.delete(keys))

    async def sweep(self) -> None:
        """Delete what was left behind, and what was kept aside long enough."""
        await self.quarantine.sweep(self._settings.quarantine_expires_after)
        oldest_kept_s = self._clock.now() - self._settings.uploads_expire_after
        await delete_older(self._storage, UPLOADS_PREFIX, oldest_kept_s)

    async def _commit(
        self, caller: Caller, key: str, upload: str, body: Buffer, told: _Told
    ) -> bool:
        try:
            return await self._store(caller, key, body, told, is_once=True)
        finally:
            await self._storage.delete([upload])

    async def _store(
        self, caller: Caller, key: str, body: Buffer, told: _Told, *, is_once: bool
    ) -> bool:
        async with self._rules.writing(key):
            if is_once and await self._is_there(key):
                told.outcome = "there"
                return False
            told.digest = (await asyncio.to_thread(digest_of, body)).hex()
            try:
                await self._rules.check_put(caller.scope, key, body, is_once=is_once)
            except (IntegrityError, FormatError) as error:
                raise await self.quarantine.take(caller, key, body, error) from error
            if is_once:
                return await self._storage.put_if_absent(key, body)
            await self._storage.put(key, body)
            return True

    async def _is_there(self, key: str) -> bool:
        try:
            await self._storage.stat(key)
        except NotFound:
            return False
        return True

    @asynccontextmanager
    async def _room(self, caller: Caller, size: int) -> AsyncIterator[None]:
        """Wait for memory: first what the publisher may have, then what there is."""
        own = self._publishers.setdefault(
            caller.scope.publisher, MemoryGate(self._settings.publisher_memory_max_bytes)
        )
        async with own.room(size), self._gate.room(size):
            yield

    @asynccontextmanager
    async def _noted(
        self, caller: Caller, what: str, on: str, *, is_key: bool = True
    ) -> AsyncIterator[_Told]:
        """Tell the audit log what came of the block, before anybody is answered."""
        told = _Told()
        try:
            yield told
        except PlayheadError as error:
            if not isinstance(error, Unauthenticated):
                await self.note(caller, what, on, told, error)
            raise
        if not is_key or self._rules.is_noted(on):
            await self.note(caller, what, on, told)

    async def note(
        self,
        caller: Caller,
        what: str,
        on: str,
        told: _Told | None = None,
        error: PlayheadError | None = None,
    ) -> None:
        """Add a line to the audit log."""
        told = told or _Told()
        await self._audit.note(
            who=caller.scope.publisher,
            grant=caller.grant_id,
            address=caller.address,
            what=what,
            on=on[:300],
            outcome=told.outcome if error is None else error.code,
            detail="" if error is None else str(error),
            size=told.size,
            digest=told.digest,
        )


@dataclass(slots=True)
class _Told:
    """What is known of a write by the time it is told."""

    size: int = 0
    digest: str = ""
    outcome: str = "ok"
