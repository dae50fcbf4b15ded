"""Object storage for tests: one in memory, and one that fails when told to.

Both implement the port and pass its conformance suite, as whatever they stand in for does.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from kit.buffers import Buffer
from kit.clock import Clock, SystemClock
from kit.errors import IntegrityError, NotFound, OutOfSpace, Unavailable
from kit.object_storage import ObjectStat, ObjectStorage
from kit.object_storage.keys import check_key, check_prefix

Operation: TypeAlias = Literal["get", "read", "stat", "list", "put_if_absent", "put", "delete"]


class MemoryStorage:
    """Implements :class:`kit.object_storage.ObjectStorage` in a dictionary."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._objects: dict[str, tuple[bytes, float]] = {}

    async def get(self, key: str, *, size_max: int) -> bytes:
        """Return the whole object."""
        content, _ = self._find(key)
        if len(content) > size_max:
            raise IntegrityError(f"{key}: {len(content)} bytes, expected at most {size_max}")
        return content

    async def read(self, key: str, start: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``start``."""
        content, _ = self._find(key)
        if start + length > len(content):
            raise IntegrityError(f"{key}: asked for up to {start + length}, ends at {len(content)}")
        return content[start : start + length]

    async def stat(self, key: str) -> ObjectStat:
        """Return size and age of an object."""
        content, modified_at = self._find(key)
        return ObjectStat(key, len(content), modified_at)

    async def list(self, prefix: str) -> AsyncIterator[ObjectStat]:
        """Yield objects in order of key."""
        check_prefix(prefix)
        for key in sorted(key for key in self._objects if key.startswith(prefix)):
            if key in self._objects:  # not deleted by whoever reads this listing
                yield await self.stat(key)

    async def put_if_absent(self, key: str, data: Buffer) -> bool:
        """Store ``data`` unless the key exists."""
        if check_key(key) in self._objects:
            return False
        await self.put(key, data)
        return True

    async def put(self, key: str, data: Buffer) -> None:
        """Store ``data``, replacing what is there."""
        self._objects[check_key(key)] = (bytes(data), self._clock.now())

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete ``keys``."""
        for key in keys:
            self._objects.pop(check_key(key), None)

    def _find(self, key: str) -> tuple[bytes, float]:
        try:
            return self._objects[check_key(key)]
        except KeyError:
            raise NotFound(f"{key}: no such object") from None


@dataclass(frozen=True, slots=True)
class Before:
    """The call fails and the storage never hears of it."""

    error: Exception


@dataclass(frozen=True, slots=True)
class After:
    """The storage does it and the answer is lost; a listing breaks off after ``found_count``."""

    error: Exception
    found_count: int = 0


@dataclass(frozen=True, slots=True)
class Truncated:
    """A read returns only its first ``size`` bytes and says nothing."""

    size: int


@dataclass(frozen=True, slots=True)
class BitFlipped:
    """A read returns its bytes with one bit wrong."""

    bit_index: int


Fault: TypeAlias = Before | After | Truncated | BitFlipped

SLOW_DOWN = Before(Unavailable("503 SlowDown"))
RESET = After(Unavailable("connection reset"))
FULL = Before(OutOfSpace("no space left"))


class FaultyStorage:
    """Passes calls on to ``base``, except that the next of an operation meets the next fault.

    ``faulty.next("get", SLOW_DOWN, BitFlipped(3))`` spoils the next two ``get``. ``calls`` counts
    what was asked for, by operation.
    """

    def __init__(self, base: ObjectStorage) -> None:
        self._base = base
        self._faults: defaultdict[Operation, deque[Fault]] = defaultdict(deque)
        self.calls: defaultdict[Operation, int] = defaultdict(int)

    def next(self, operation: Operation, *faults: Fault) -> None:
        """Queue ``faults`` for the next calls of ``operation``, one each."""
        self._faults[operation].extend(faults)

    async def get(self, key: str, *, size_max: int) -> bytes:
        """Return the whole object."""
        fault = self._begin("get")
        return _spoil(fault, await self._base.get(key, size_max=size_max))

    async def read(self, key: str, start: int, length: int) -> bytes:
        """Return the bytes from ``start``."""
        fault = self._begin("read")
        return _spoil(fault, await self._base.read(key, start, length))

    async def stat(self, key: str) -> ObjectStat:
        """Return size and age of an object."""
        fault = self._begin("stat")
        found = await self._base.stat(key)
        _end(fault)
        return found

    async def list(self, prefix: str) -> AsyncIterator[ObjectStat]:
        """Yield objects in order of key."""
        fault = self._begin("list")
        found_count = 0
        async for found in self._base.list(prefix):
            if isinstance(fault, After) and found_count == fault.found_count:
                break
            yield found
            found_count += 1
        _end(fault)

    async def put_if_absent(self, key: str, data: Buffer) -> bool:
        """Store ``data`` unless the key exists."""
        fault = self._begin("put_if_absent")
        is_stored = await self._base.put_if_absent(key, data)
        _end(fault)
        return is_stored

    async def put(self, key: str, data: Buffer) -> None:
        """Store ``data``, replacing what is there."""
        fault = self._begin("put")
        await self._base.put(key, data)
        _end(fault)

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete ``keys``."""
        fault = self._begin("delete")
        await self._base.delete(keys)
        _end(fault)

    def _begin(self, operation: Operation) -> Fault | None:
        self.calls[operation] += 1
        faults = self._faults[operation]
        fault = faults.popleft() if faults else None
        if isinstance(fault, Before):
            raise fault.error
        return fault


def _end(fault: Fault | None) -> None:
    if isinstance(fault, After):
        raise fault.error


def _spoil(fault: Fault | None, content: bytes) -> bytes:
    _end(fault)
    match fault:
        case Truncated(size):
            return content[:size]
        case BitFlipped(bit_index):
            spoiled = bytearray(content)
            spoiled[bit_index // 8] ^= 1 << bit_index % 8
            return bytes(spoiled)
        case _:
            return content
