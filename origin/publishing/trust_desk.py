"""Where a publisher whose key is its own has its releases vouched for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tuf.api.metadata import TargetFile

from kit.errors import Unavailable
from kit.object_storage import Reader
from manifests.documents import DOCUMENT_SIZE_MAX, Release, parse_release
from manifests.locations import release_key
from manifests.names import Channel, TitleId
from origin.publishing.caller import Caller
from origin.registry import Registry

OpenRegistry = Callable[[], Awaitable[Registry | None]]


@dataclass(frozen=True, slots=True)
class Submission:
    """What a publisher hands in: a release for a channel, and what it signed of it."""

    title: TitleId
    channel: Channel
    counter: int
    signed: bytes


class TrustDesk:
    """Opens the registry when it is first asked: a new platform makes its keys then."""

    def __init__(self, reader: Reader, open_registry: OpenRegistry) -> None:
        self._reader = reader
        self._open_registry = open_registry
        self._registry: Registry | None = None
        self._opening = asyncio.Lock()

    async def head_of(self, title: TitleId, channel: Channel) -> TargetFile | None:
        """Return what the platform says of a channel now; None if nothing."""
        return await (await self._opened()).head_of(title, channel)

    async def signed(self, caller: Caller) -> bytes | None:
        """Return what the publisher signed last; None if nothing.

        Raises:
            NotFound: It is not enrolled.
        """
        return await (await self._opened()).publisher_metadata(caller.scope.publisher_id)

    async def accept(self, caller: Caller, submission: Submission) -> None:
        """Have a release vouched for as what a channel plays.

        Raises:
            Denied: The channel is not in scope, or the registry refuses.
            NotFound: There is no such release.
            Conflict: Another was signed meanwhile.
        """
        of = submission
        caller.scope.check_channel(of.title, of.channel)
        release = await self._release(of.title, of.counter)
        registry = await self._opened()
        await registry.accept(caller.scope.publisher_id, of.signed, release, of.channel)

    async def doubt(
        self, caller: Caller, title: TitleId, channel: Channel, counter: int
    ) -> str | None:
        """Return why consoles would refuse a release that a channel plays; None if they believe it.

        Raises:
            Denied: The title is not in scope.
            NotFound: There is no such release.
        """
        caller.scope.check_title(title)
        release = await self._release(title, counter)
        return await (await self._opened()).doubt(release, channel)

    async def _release(self, title: TitleId, counter: int) -> Release:
        key = release_key(title, counter)
        data = await self._reader.get(key, size_max=DOCUMENT_SIZE_MAX)
        return parse_release(data, title, counter)

    async def _opened(self) -> Registry:
        async with self._opening:
            if self._registry is None:
                self._registry = await self._open_registry()
            if self._registry is None:
                raise Unavailable("this origin has not the platform's keys: use one that has")
            return self._registry
