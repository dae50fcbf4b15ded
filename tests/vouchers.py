"""Someone who vouches, for tests of what a publisher does besides."""

from __future__ import annotations

from manifests.documents import Release
from manifests.names import Channel


class Notary:
    """Vouches for all, and remembers for what."""

    def __init__(self) -> None:
        self.vouched: list[tuple[Release, Channel]] = []

    async def vouch(self, release: Release, channel: Channel) -> None:
        self.vouched.append((release, channel))

    async def doubt(self, release: Release, channel: Channel) -> str | None:
        return None
