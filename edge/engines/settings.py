"""What an operator can tell of an nginx or a Varnish that serves for us, and of its gate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from kit.http_settings import ClientSettings, ListenSettings
from kit.settings import Group
from kit.units import GIB, ByteSize, Seconds

REMEMBER_S_MAX = 60


class GateSettings(Group, frozen=True):
    """Who answers an engine whether a lease holds: ``playhead serve gate``."""

    listen: ListenSettings = ListenSettings(port=7404)
    """For health and metrics only: engines ask at the socket."""
    socket: Path = Path("gate.sock")
    """Unix socket, below ``data`` unless absolute. Whoever may connect can have a lease for every
    title, so it is for the engine and nobody else."""
    group: str = ""
    """Group that may connect as well, by name; empty: only who runs the gate."""
    remember_for: Seconds = Seconds(5)
    """An engine asks again about a lease after so long: what is revoked is served for so much
    longer, and one second more by nginx, which counts in whole ones."""

    def __post_init__(self) -> None:
        """Refuse what would make revoking useless."""
        if not 0 <= self.remember_for <= REMEMBER_S_MAX:
            raise ValueError(
                f"remember_for is {self.remember_for:g}s, it must be from 0s to {REMEMBER_S_MAX}s"
            )


class EngineSettings(Group, frozen=True):
    """What ``playhead edge render`` writes into a configuration."""

    listen: ListenSettings = ListenSettings(port=8080, requests_max=10_000)
    """Where players ask: say on which address that is."""
    upstreams: tuple[str, ...] = ()
    """Base URLs of our edges that fill the engine, the preferred first; without one, the edge of
    this machine at ``edge.listen``."""
    client: ClientSettings = ClientSettings(stall_after=Seconds(40))
    """How patient the engine is with them; longer than they are with their own upstreams."""
    cache_dir: Path = Path("engine")
    """Folder of the engine's cache, below ``data`` unless absolute; nobody else writes there."""
    max_bytes: ByteSize = ByteSize(64 * GIB)
    """Content the engine keeps on disk."""
    workers: Annotated[int, Meta(ge=0)] = 0
    """Processes of nginx; 0: one a core."""
    connections_max: Annotated[int, Meta(ge=64)] = 16_384
    """Open connections of each, idle ones as well."""
    user: str = ""
    """Who nginx's workers run as if root starts it, ``name`` or ``name:group``; empty: as its build
    says."""
    certificate: Path | None = None
    """Chain in PEM: nginx then speaks TLS 1.3, and nothing else."""
    certificate_key: Path | None = None
    """Its private key."""
