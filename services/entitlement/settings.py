"""What can be told to the entitlement service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from kit.http_settings import ListenSettings
from kit.settings import Group
from kit.units import Seconds
from manifests.lease import LIFETIME_S


class EntitlementSettings(Group, frozen=True):
    """How long leases last, and who may listen to what is revoked."""

    listen: ListenSettings = ListenSettings(port=7403, requests_max=1024)
    dir: Path = Path("entitlement")
    """Folder, below `data` unless absolute, for what was revoked."""
    lease_for: Seconds = Seconds(LIFETIME_S)
    """A lease lasts so long, from one second to 15 minutes; consoles renew it while they
    download."""
    listeners_max: Annotated[int, Meta(ge=1)] = 512
    """Nodes that listen to what is revoked at the same time."""
    look_every: Seconds = Seconds(0.25)
    """How often to look whether another program of this machine revoked something."""

    def __post_init__(self) -> None:
        """Refuse leases that outlive what nodes remember of revocations."""
        if not 1 <= self.lease_for <= LIFETIME_S:
            raise ValueError(f"lease_for is {self.lease_for:g}s, it must be from 1s to 15m")
