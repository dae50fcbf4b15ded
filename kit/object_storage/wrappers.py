"""What is stacked on any object storage: retries under a budget, and metrics.

The order is ``Measured(Retrying(storage))`` to see what callers see, the other way round to see
every attempt; ``compose.py`` decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram

from kit.buffers import Buffer
from kit.clock import Clock
from kit.errors import PlayheadError
from kit.object_storage import ObjectStat, ObjectStorage
from kit.resilience import RetryBudget
from kit.settings import Group
from kit.units import Seconds

T = TypeVar("T")


class RetrySettings(Group, frozen=True):
    """How often and how patiently to try again."""

    attempts_max: int = 4
    """Per call, the first included."""
    pause_first: Seconds = Seconds(0.1)
    """Ceiling of the pause before the first retry; it doubles from one to the next."""
    pause_max: Seconds = Seconds(5)
    """No pause is longer."""
    budget_ratio: float = 0.2
    """Retries per call in the long run: an outage costs the storage 1.2 times the load, not 4."""
    budget_reserve: int = 10
    """Retries saved up while all is well, for a short hiccup."""


class Retrying:
    """Tries a failed call again when the error says that this may help.

    A ``put_if_absent`` that stored but whose answer was lost is tried again, finds the key and
    returns False, although it was this call that stored. For keys that are digests both mean
    the same: the object is there.

    Pauses are drawn evenly from zero to the ceiling ("full jitter"), so that callers which failed
    together do not come back together.

    Source: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    def __init__(
        self,
        base: ObjectStorage,
        *,
        settings: RetrySettings,
        random: Random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._base = base
        self._settings = settings
        self._random = random
        self._sleep = sleep
        self._budget = RetryBudget(ratio=settings.budget_ratio, reserve=settings.budget_reserve)

    async def get(self, key: str, *, size_max: int) -> bytes:
        """Return the whole object."""
        return await self._retried(lambda: self._base.get(key, size_max=size_max))

    async def read(self, key: str, start: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``start``."""
        return await self._retried(lambda: self._base.read(key, start, length))

    async def stat(self, key: str) -> ObjectStat:
        """Return size and age of an object."""
        return await self._retried(lambda: self._base.stat(key))

    async def list(self, prefix: str) -> AsyncIterator[ObjectStat]:
        """Yield objects in order of key; after a failure, list again and pass over what was."""
        self._budget.offer()
        last = ""  # sorts before every key
        attempt = 1
        while True:
            try:
                async for found in self._base.list(prefix):
                    if found.key > last:
                        last = found.key
                        attempt = 1
                        yield found
            except PlayheadError as error:
                if not self._may_retry(error, attempt):
                    raise
                await self._pause(attempt)
                attempt += 1
            else:
                return

    async def put_if_absent(self, key: str, data: Buffer) -> bool:
        """Store ``data`` unless the key exists, also by an earlier attempt."""
        return await self._retried(lambda: self._base.put_if_absent(key, data))

    async def put(self, key: str, data: Buffer) -> None:
        """Store ``data``, replacing what is there."""
        await self._retried(lambda: self._base.put(key, data))

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete ``keys``."""
        await self._retried(lambda: self._base.delete(keys))

    async def _retried(self, call: Callable[[], Awaitable[T]]) -> T:
        self._budget.offer()
        attempt = 1
        while True:
            try:
                return await call()
            except PlayheadError as error:
                if not self._may_retry(error, attempt):
                    raise
            await self._pause(attempt)
            attempt += 1

    def _may_retry(self, error: PlayheadError, attempt: int) -> bool:
        return error.retryable and attempt < self._settings.attempts_max and self._budget.spend()

    async def _pause(self, attempt: int) -> None:
        ceiling_s = min(self._settings.pause_max, self._settings.pause_first * 2 ** (attempt - 1))
        await self._sleep(self._random.uniform(0, ceiling_s))


class Measured:
    """Counts and times every call, and the bytes that went through.

    ``playhead_object_storage_call_seconds{operation,outcome}`` is a histogram. The outcome is
    ``ok``, an error's code, ``cancelled``, or ``bug`` for an exception that is none of ours.
    A listing is one call, as long as it kept its reader waiting.
    ``playhead_object_storage_moved_bytes_total{operation}`` counts bytes of calls that were ok.
    """

    def __init__(self, base: ObjectStorage, *, registry: CollectorRegistry, clock: Clock) -> None:
        self._base = base
        self._clock = clock
        self._seconds = Histogram(
            "playhead_object_storage_call_seconds",
            "How long a call to object storage took, by operation and outcome.",
            ["operation", "outcome"],
            registry=registry,
        )
        moved = Counter(
            "playhead_object_storage_moved_bytes",
            "Bytes read from and stored in object storage, by operation.",
            ["operation"],
            registry=registry,
        )
        # Bound once: looking a child up costs more than counting on it.
        self._got, self._read, self._stored_once, self._stored = (
            moved.labels(operation) for operation in ("get", "read", "put_if_absent", "put")
        )

    async def get(self, key: str, *, size_max: int) -> bytes:
        """Return the whole object."""
        with self._measured("get"):
            content = await self._base.get(key, size_max=size_max)
        self._got.inc(len(content))
        return content

    async def read(self, key: str, start: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``start``."""
        with self._measured("read"):
            content = await self._base.read(key, start, length)
        self._read.inc(len(content))
        return content

    async def stat(self, key: str) -> ObjectStat:
        """Return size and age of an object."""
        with self._measured("stat"):
            return await self._base.stat(key)

    async def list(self, prefix: str) -> AsyncIterator[ObjectStat]:
        """Yield objects in order of key."""
        listing = aiter(self._base.list(prefix))
        waited_s = 0.0
        outcome = "cancelled"  # also when the reader had seen enough
        try:
            while True:
                started_s = self._clock.monotonic()
                try:
                    found = await anext(listing)
                except StopAsyncIteration:
                    outcome = "ok"
                    return
                finally:
                    waited_s += self._clock.monotonic() - started_s
                yield found
        except Exception as error:
            outcome = _outcome(error)
            raise
        finally:
            self._seconds.labels("list", outcome).observe(waited_s)

    async def put_if_absent(self, key: str, data: Buffer) -> bool:
        """Store ``data`` unless the key exists."""
        with self._measured("put_if_absent"):
            is_stored = await self._base.put_if_absent(key, data)
        if is_stored:
            self._stored_once.inc(memoryview(data).nbytes)
        return is_stored

    async def put(self, key: str, data: Buffer) -> None:
        """Store ``data``, replacing what is there."""
        with self._measured("put"):
            await self._base.put(key, data)
        self._stored.inc(memoryview(data).nbytes)

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete ``keys``."""
        with self._measured("delete"):
            await self._base.delete(keys)

    @contextmanager
    def _measured(self, operation: str) -> Iterator[None]:
        started_s = self._clock.monotonic()
        outcome = "ok"
        try:
            yield
        except BaseException as error:
            outcome = _outcome(error)
            raise
        finally:
            elapsed_s = self._clock.monotonic() - started_s
            self._seconds.labels(operation, outcome).observe(elapsed_s)


def _outcome(error: BaseException) -> str:
    """Name an exception from a closed set: a label with free text would never stop growing."""
    match error:
        case PlayheadError():
            return error.code
        case asyncio.CancelledError():
            return "cancelled"
        case _:
            return "bug"
