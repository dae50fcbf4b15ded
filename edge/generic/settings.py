"""What an operator can tell a generic cache."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from kit.http_settings import ClientSettings, ListenSettings
from kit.settings import Group
from kit.units import KIB, MIB, ByteSize, Seconds


class GenericSettings(Group, frozen=True):
    """What `playhead serve edge --generic` caches, and how much of it."""

    listen: ListenSettings = ListenSettings(port=7480, requests_max=1024)
    operators: ListenSettings = ListenSettings(port=7481)
    """Where `/healthz`, `/readyz` and `/metrics` are: on `listen` every path is the upstream's."""
    upstream: str = ""
    """Base URL of the server that is cached, `http` or `https`."""
    host: str = ""
    """Sent to the upstream as `Host`. Empty: what the client sent."""
    max_bytes: ByteSize = ByteSize(256 * MIB)
    """Responses kept in memory."""
    object_max_bytes: ByteSize = ByteSize(16 * MIB)
    """A larger response is passed on and not kept."""
    filling_max_bytes: ByteSize = ByteSize(128 * MIB)
    """Responses on their way into the cache; with so many, further ones are passed on only."""
    variants_max: Annotated[int, Meta(ge=1)] = 32
    """Responses kept of one URL, for requests that differ in what `Vary` names."""
    head_max_bytes: ByteSize = ByteSize(32 * KIB)
    """Of the head of a request or a response; a larger one is refused."""
    stale_on_error_for: Seconds = Seconds(24 * 3600)
    """How stale a response may be that is sent because the upstream fails, unless it or the
    request says (`stale-if-error`) or it must not be (`must-revalidate` and the like)."""
    tell_key: bool = False
    """Let `Cache-Status` say under which key a response is stored (RFC 9211, section 2.7)."""
    client: ClientSettings = ClientSettings(stall_after=Seconds(60), connections_max=256)
    keep_upstream_for: Seconds = Seconds(60)
    """A connection to the upstream that is not used for so long is not used again."""
