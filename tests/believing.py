"""For tests of a console's mechanics: it believes whatever an edge says."""

from __future__ import annotations

from console.fetcher import Fetcher
from console.title_folder import TitleFolder
from console.workers import Workers
from kit.clock import Clock
from manifests import locations
from manifests.documents import DOCUMENT_SIZE_MAX, Head, parse_head
from manifests.names import Channel, TitleId


class BelievingHeads:
    """Fetches a head and asks nobody whether it is vouched for."""

    def __init__(
        self, fetcher: Fetcher, folder: TitleFolder, workers: Workers, clock: Clock
    ) -> None:
        self._fetcher = fetcher

    async def head(self, title: TitleId, channel: Channel) -> Head:
        async def accept(body: bytearray) -> Head:
            return parse_head(body, title, channel)

        key = locations.head_key(title, channel)
        return await self._fetcher.get(key, DOCUMENT_SIZE_MAX, accept)
