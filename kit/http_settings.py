"""What can be set of every HTTP server and client. Apart from both, which need aiohttp."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from kit.settings import Group
from kit.units import Seconds


class TlsSettings(Group, frozen=True):
    """The certificate of one listener: TLS 1.3, and nothing older."""

    certificate: Path
    """PEM file of the certificate and the chain behind it. Replaced files are taken up within a
    second, without a restart; what is wrong with them is logged, and the old go on."""
    key: Path
    """PEM file of its key, without a password, that only its owner may read."""


class ListenSettings(Group, frozen=True):
    """Address and limits of one listener."""

    host: str = "127.0.0.1"
    """Address to listen on; ``0.0.0.0`` is every one of this machine."""
    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    """0 picks a free one; the log says which."""
    tls: TlsSettings | None = None
    """Without it, plain HTTP."""
    reuse_port: bool = False
    """Let other processes listen on the same port; the kernel spreads connections over them."""
    backlog: Annotated[int, Meta(ge=1)] = 1024
    """Connections that wait to be accepted; the kernel's `net.core.somaxconn` bounds it too."""
    congestion: Literal["", "bbr", "cubic", "reno"] = ""
    """How fast the kernel sends. Empty is its own choice; `bbr` keeps its pace where packets are
    lost for other reasons than a full line. One the kernel lacks is logged and left out."""
    connections_max: Annotated[int, Meta(ge=1)] = 16_384
    """Connections at the same time, idle ones too; one more is closed at once."""
    head_within: Seconds = Seconds(10)
    """A request whose first byte came must have all its headers, and TLS its handshake, in this."""
    requests_max: Annotated[int, Meta(ge=1)] = 256
    """Requests served at the same time; one more is answered 503 at once."""
    turn_within: Seconds = Seconds(0.05)
    """Requests wait for their turn at most so long, or eight times as long in a burst; what cannot
    be served in this is answered 503 with `Retry-After`. 0 lets all in, however long they wait."""
    drop_stalled_after: Seconds = Seconds(30)
    """A client that takes less than 256 KiB in this time (9 kB/s) is dropped."""
    close_idle_after: Seconds = Seconds(75)
    """A connection without a complete request is closed after this."""
    drain_for: Seconds = Seconds(30)
    """After SIGTERM, responses under way have this long to finish."""
    linger_for: Seconds = Seconds(0.5)
    """After SIGTERM, connections without a request stay open for so long: one may be on its way."""


class ClientSettings(Group, frozen=True):
    """How patient we are with a server, and how many connections we make."""

    connect_within: Seconds = Seconds(5)
    """A server that takes longer to accept a connection counts as down."""
    stall_after: Seconds = Seconds(10)
    """No byte for so long means the server is gone."""
    connections_max: Annotated[int, Meta(ge=1)] = 64
    """Connections at the same time; further requests wait for one."""
    ca_file: Path | None = None
    """PEM file of the authorities whose servers are believed, alone, over TLS 1.3. Without one:
    those the system believes."""
