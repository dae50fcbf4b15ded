"""What a console asks of whoever tells it what a channel points to: a head that may be believed."""

from __future__ import annotations

from typing import Protocol

from console.fetcher import Fetcher
from console.title_folder import TitleFolder
from console.workers import Workers
from kit.clock import Clock
from manifests.documents import Head
from manifests.names import Channel, TitleId


class Heads(Protocol):
    """Belongs to one call of the console."""

    async def head(self, title: TitleId, channel: Channel) -> Head:
        """Return what ``channel`` points to.

        Raises:
            Untrusted: Not all vouch for it who must.
            NotFound: No edge knows the title or the channel.
            Unavailable: No edge answered for long enough.
        """


class NewHeads(Protocol):
    """Makes :class:`Heads` of what one call of the console has open."""

    def __call__(
        self, fetcher: Fetcher, folder: TitleFolder, workers: Workers, clock: Clock
    ) -> Heads:
        """Return them; does no I/O."""
