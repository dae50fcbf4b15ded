"""Who must stand by a release before a channel plays it: its publisher, and the platform."""

from __future__ import annotations

from typing import Protocol

from manifests.documents import Release
from manifests.names import Channel


class Witness(Protocol):
    """Tells whether consoles believe what a channel points to."""

    async def doubt(self, release: Release, channel: Channel) -> str | None:
        """Return why consoles would refuse the release; None if both vouch for it.

        Raises:
            Unavailable: That cannot be told now.
        """


class Voucher(Protocol):
    """Has a release vouched for. Asked before every move of a head, and again if it is there."""

    async def vouch(self, release: Release, channel: Channel) -> None:
        """Return once publisher and platform both vouch for ``release`` as what ``channel`` plays.

        The release is stored; the head is not moved yet. What is vouched for already is left.

        Raises:
            Denied: They do not: the title is another publisher's, or a key was replaced.
            Conflict: They vouch for a newer release, or somebody else is writing.
            Unavailable: They could not be asked; retrying may help.
        """
