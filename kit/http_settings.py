"""What can be set of every HTTP server and client. Apart from both, which need aiohttp."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from kit.settings import Group
from kit.units import Seconds


class ListenSettings(Group, frozen=True):
    """Address and limits of one listener."""

    host: str = "127.0.0.1"
    """Address to listen on; ``0.0.0.0`` is every one of this machine."""
    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    """0 picks a free one; the log says which."""
    reuse_port: bool = False
    """Let other processes listen on the same port; the kernel spreads connections over them."""
    requests_max: Annotated[int, Meta(ge=1)] = 256
    """Requests served at the same time; one more is answered 503 at once."""
    drop_stalled_after: Seconds = Seconds(30)
    """A client that takes less than 256 KiB in this time (9 kB/s) is dropped."""
    close_idle_after: Seconds = Seconds(75)
    """A connection without a complete request is closed after this."""
    drain_for: Seconds = Seconds(30)
    """After SIGTERM, responses under way have this long to finish."""


class ClientSettings(Group, frozen=True):
    """How patient we are with a server, and how many connections we make."""

    connect_within: Seconds = Seconds(5)
    """A server that takes longer to accept a connection counts as down."""
    stall_after: Seconds = Seconds(10)
    """No byte for so long means the server is gone."""
    connections_max: Annotated[int, Meta(ge=1)] = 64
    """Connections at the same time; further requests wait for one."""
