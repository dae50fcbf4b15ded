"""Where the thread that verifies gets documents from: what is at hand, and the edges."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import CancelledError, Future
from threading import Lock
from typing import Protocol

from kit.errors import NotFound, Unavailable

METADATA, TARGETS = "metadata/", "targets/"
"""What the names begin with by which the library asks a source."""

Fetch = Callable[[str, int], Awaitable[bytes]]
"""Fetches a document by name and limit of bytes, on the event loop."""


class Source(Protocol):
    """Brings documents by name. Called by the thread that verifies."""

    def get(self, name: str, size_max: int) -> bytes:
        """Return the document ``name`` of at most ``size_max`` bytes; *not verified*.

        Raises:
            NotFound: There is none.
            Unavailable: Nobody answered.
        """


class AtHand:
    """Only documents that are here: for what must not cost a request."""

    def __init__(self, documents: Mapping[str, bytes]) -> None:
        self._documents = documents

    def get(self, name: str, size_max: int) -> bytes:
        """Return the document ``name``.

        Raises:
            NotFound: It is not here, or larger than it may be.
        """
        found = self._documents.get(name.removeprefix(METADATA))
        if found is None or len(found) > size_max:
            raise NotFound(f"{name} is not at hand")
        return found


class Bundled:
    """A trust bundle first; what it lacks is asked for singly.

    A bundle that has a root has the newest one: later ones are not asked for.
    """

    def __init__(self, documents: Mapping[str, bytes], rest: Source) -> None:
        self._documents = documents
        self._bundle = AtHand(documents)
        self._rest = rest
        roots = [_root_version(name) for name in documents]
        self._newest_root = max((version for version in roots if version), default=None)

    def get(self, name: str, size_max: int) -> bytes:
        """Return the document ``name``.

        Raises: as the source that is asked for what is not in the bundle.
        """
        try:
            return self._bundle.get(name, size_max)
        except NotFound:
            version = _root_version(name.removeprefix(METADATA))
            if version is not None and version > (self._newest_root or version):
                raise
            return self._rest.get(name, size_max)


class FromLoop:
    """Has the event loop fetch for a thread that waits. Close it, and the thread waits no more."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._loop = asyncio.get_running_loop()
        self._lock = Lock()
        self._under_way: Future[bytes] | None = None
        self._is_closed = False

    def get(self, name: str, size_max: int) -> bytes:
        """Return the document ``name``. Called by the thread.

        Raises:
            Unavailable: Nobody waits for the thread's work any more.
            NotFound, Untrusted, IntegrityError: as the edges' answers make it.
        """
        with self._lock:
            if self._is_closed:
                raise Unavailable(f"{name}: not asked for any more")
            work = asyncio.run_coroutine_threadsafe(self._asked(name, size_max), self._loop)
            self._under_way = work
        try:
            return work.result()
        except CancelledError as error:
            raise Unavailable(f"{name}: not waited for any more") from error

    def close(self) -> None:
        """End the request under way; the next is refused. Called on the event loop."""
        with self._lock:
            self._is_closed = True
            if self._under_way is not None:
                self._under_way.cancel()

    async def _asked(self, name: str, size_max: int) -> bytes:
        return await self._fetch(name, size_max)


def _root_version(name: str) -> int | None:
    version, _, rest = name.partition(".")
    return int(version) if rest == "root.json" and version.isdecimal() else None
