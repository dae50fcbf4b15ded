"""Commits to the repository of trust: one at a time, and whatever waits goes in together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from kit.clock import Clock
from kit.concurrency import to_its_end
from kit.errors import Conflict, PlayheadError
from kit.object_storage import ObjectStorage
from origin.draft import Draft, OnlineSigners
from origin.trust_reader import TrustReader

BATCH_MAX = 256
"""Committed together: at a few ms each, whoever waits next waits about a second."""
TRIES_MAX = 4
"""Each try but the last finishes what a crash left behind; one crash leaves one version."""

Change = Callable[[Draft], Awaitable[None]]
"""Puts something into a draft, or raises and leaves it as it was. It may be called again."""


class HeldLock(Protocol):
    """The right to write below ``trust/``, once entered."""

    async def check_held(self) -> None:
        """Do nothing if it is held still.

        Raises:
            Conflict: It was lost.
        """


NewLock = Callable[[], AbstractAsyncContextManager[HeldLock]]
NewSigners = Callable[[], OnlineSigners]
"""Returns the signers as they are now; may read files."""


@dataclass(slots=True, eq=False)
class _Waiting:
    change: Change
    done: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class GroupCommit:
    """Turns changes into commits. Belongs to one event loop."""

    def __init__(
        self,
        storage: ObjectStorage,
        reader: TrustReader,
        *,
        online: NewSigners,
        new_lock: NewLock,
        clock: Clock,
    ) -> None:
        self._storage = storage
        self._reader = reader
        self._online = online
        self._new_lock = new_lock
        self._clock = clock
        self._waiting: deque[_Waiting] = deque()
        self._turn = asyncio.Lock()

    async def commit(self, change: Change) -> None:
        """Commit ``change``, with whatever waits meanwhile; return once it is said.

        If it is cancelled the change may be committed still.

        Raises:
            Whatever the change raised; then nothing of it is committed.
            Conflict: Somebody else has the lock, or it was lost.
            Unavailable: The storage did not answer.
        """
        waiting = _Waiting(change)
        self._waiting.append(waiting)
        try:
            async with self._turn:
                while not waiting.done.done():
                    await to_its_end(self._commit_waiting())
        finally:
            if waiting in self._waiting:  # cancelled before its turn
                self._waiting.remove(waiting)
        await waiting.done

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[HeldLock]:
        """Keep all commits out, of this process and others."""
        async with self._turn, self._new_lock() as lock:
            yield lock

    async def _commit_waiting(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(BATCH_MAX, len(self._waiting)))]
        errors: list[Exception | None]
        try:
            async with self._new_lock() as lock:
                errors = await self._commit_batch(lock, [each.change for each in batch])
        except Exception as error:  # noqa: BLE001 - everyone who waits is told
            errors = [error] * len(batch)
        for each, failed in zip(batch, errors, strict=True):
            if each.done.cancelled():
                continue
            if failed is None:
                each.done.set_result(None)
            else:
                each.done.set_exception(failed)
                each.done.exception()  # its owner may have been cancelled

    async def _commit_batch(
        self, lock: HeldLock, changes: Sequence[Change]
    ) -> list[Exception | None]:
        for _ in range(TRIES_MAX):
            state = await self._reader.state()
            draft = Draft(self._reader, state, self._clock.now())
            errors = [await _tried(change, draft) for change in changes]
            if draft.is_empty:
                return errors
            online = await asyncio.to_thread(self._online)
            if not await draft.store(self._storage, online, lock.check_held):
                return errors
        raise Conflict("the repository of trust is being changed by someone without its lock")


async def _tried(change: Change, draft: Draft) -> Exception | None:
    try:
        await change(draft)
    except PlayheadError as error:
        return error
    return None
