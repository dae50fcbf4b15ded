"""How a process listens and what it lets clients take: the settings every HTTP service has."""

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
    requests_max: Annotated[int, Meta(ge=1)] = 256
    """Requests served at the same time; one more is answered 503 at once."""
    drop_stalled_after: Seconds = Seconds(30)
    """A client that takes less than 256 KiB in this time (9 kB/s) is dropped."""
    close_idle_after: Seconds = Seconds(75)
    """A connection without a complete request is closed after this."""
    drain_for: Seconds = Seconds(30)
    """After SIGTERM, responses under way have this long to finish."""
