"""Object storage as we need it: immutable blobs under a key, and a few small heads that move.

One port, split by capability, so that whoever is handed a :class:`Reader` *cannot* write.
Retries, metrics and faults are wrappers on the port (``wrappers.py``), stacked by the
composition root; one conformance suite runs on every adapter and every wrapper.

Keys are ``/``-separated ASCII: parts of ``[A-Za-z0-9._-]``, none empty, none that starts with
a dot (so neither ``..`` nor a hidden file is a key), each at most 255 bytes, all at most 512.
A key that is not is :class:`~kit.errors.InvalidInput` everywhere. No key may be the folder of
another (``a`` beside ``a/b``): a directory cannot hold both, and a bucket does not check.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from kit.buffers import Buffer


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """What storage knows of an object without reading it."""

    key: str
    size: int
    """In bytes."""
    modified_at: float
    """Seconds since the Unix epoch, by the storage's clock."""


class Reader(Protocol):
    """The side that serves."""

    async def get(self, key: str, *, size_max: int) -> bytes:
        """Return the whole object.

        Raises:
            NotFound: No such key.
            IntegrityError: It is larger than ``size_max`` bytes (checked before it is read),
                or it ended early.
            Unavailable: The storage did not answer; retrying may help.
        """

    async def read(self, key: str, start: int, length: int) -> bytes:
        """Return exactly the ``length`` bytes from ``start``.

        Raises:
            NotFound: No such key.
            IntegrityError: The object ends before ``start + length``.
            Unavailable: The storage did not answer; retrying may help.
        """

    async def stat(self, key: str) -> ObjectStat:
        """Return size and age of an object.

        Raises:
            NotFound: No such key.
            Unavailable: The storage did not answer; retrying may help.
        """

    def list(self, prefix: str) -> AsyncIterator[ObjectStat]:
        """Yield every object whose key starts with ``prefix``, in ascending order of key.

        What was put before the listing began and not deleted since is in it. ``prefix`` is
        the beginning of a key, cut anywhere: ``bundles/`` or ``bundles/3f``.

        Raises:
            InvalidInput: No key can start with ``prefix``.
            Unavailable: The storage did not answer; what was yielded so far is right.
        """


class Writer(Protocol):
    """The side that publishes."""

    async def put_if_absent(self, key: str, data: Buffer) -> bool:
        """Store ``data`` under ``key`` unless the key exists; return whether this call stored it.

        Atomic and durable: once it returns, either way, the object survives a power cut; a
        concurrent reader sees all of it or none. A call that begins after another returned
        never stores. Of calls that race exactly one stores, except on S3 servers whose
        create-once is not exclusive (OpenStack Swift): there several may, and one remains.
        Keys that are digests do not care; *never build a lock on it*.

        If the call is cancelled the write may still happen. ``data`` must not change before
        the call returns, and never after it was cancelled: a thread may still be reading it.

        Raises:
            Conflict: ``key`` is the folder of another object, or the other way round.
            OutOfSpace: The storage is full.
            Unavailable: The storage did not answer; retrying may help.
        """

    async def put(self, key: str, data: Buffer) -> None:
        """Store ``data`` under ``key``, replacing what is there; atomic and durable.

        For heads only, which have one writer; everything else is written once. Cancelling
        and ``data`` are as in :meth:`put_if_absent`.

        Raises:
            Conflict: ``key`` is the folder of another object, or the other way round.
            OutOfSpace: The storage is full.
            Unavailable: The storage did not answer; retrying may help.
        """


class Sweeper(Protocol):
    """The side that deletes."""

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete ``keys``; one that does not exist is deleted already.

        Raises:
            Unavailable: The storage did not answer; some may be gone, retrying is safe.
        """


class ObjectStorage(Reader, Writer, Sweeper, Protocol):
    """All sides."""
