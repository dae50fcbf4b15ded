"""What a console can be told: where to fetch from, how much at once, and how patient to be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from chunks.chunker import CHUNK_SIZE_MAX
from chunks.plan import REQUEST_SIZE_MAX
from kit.http_settings import ClientSettings
from kit.settings import Group
from kit.units import ByteSize, Seconds

UpdateMode: TypeAlias = Literal["auto", "overlay", "clone", "in-place"]


class CheckpointSettings(Group, frozen=True):
    """How often finished chunks are made durable; a power cut costs what came after."""

    every_bytes: ByteSize = ByteSize(64 << 20)
    """Make what was written durable after so many bytes."""
    every: Seconds = Seconds(4)
    """Or after so long, whichever comes first."""


class TrustSettings(Group, frozen=True):
    """What a console believes, and how long it waits for what vouches."""

    root: Path | None = None
    """The root document that all trust begins with; by default `keys/root.json` below `data`."""
    within: Seconds = Seconds(120)
    """Give up on what vouches for a release when not all of it came in so long."""


class LeaseServiceSettings(Group, frozen=True):
    """Who gives this console's player leases."""

    url: str = ""
    """Base URL of an entitlement service. Without one, leases are minted with the keys of this
    machine: for a console beside its server."""
    token_file: Path = Path("player.token")
    """The player's bearer token for that service, below `keys.dir` unless absolute; only its owner
    may read it."""
    through_edges: bool = True
    """Show the token to edges, which get the first lease together with what it is for: that saves a
    round trip or two. Never over plain HTTP if the service itself is asked over TLS."""


class ConsoleSettings(Group, frozen=True):
    """A console's settings. Memory held for ranges is ``requests_at_once * range_bytes_max``."""

    edges: Annotated[tuple[str, ...], Meta(min_length=1)] = ("http://127.0.0.1:7402",)
    """Base URLs of edges, the preferred first; the next is tried when one fails."""
    requests_at_once: Annotated[int, Meta(ge=1, le=64)] = 8
    """Ranges under way at the same time."""
    range_bytes_max: ByteSize = ByteSize(REQUEST_SIZE_MAX)
    """Most bytes one request asks for. No chunk is larger than the least this may be."""
    threads: Annotated[int, Meta(ge=0, le=256)] = 0
    """Threads that unpack, verify and write; 0 is one for each core."""
    limit_rate: ByteSize = ByteSize(0)
    """Bytes per second to receive at most; 0 is no limit."""
    update_mode: UpdateMode = "auto"
    """How changed large files come into place; `auto` patches in place where room is short."""
    penalty: Seconds = Seconds(1)
    """How long an edge that failed is passed over; doubled with each failure in a row.
    An edge that asks for more (`Retry-After`) gets it."""
    penalty_max: Seconds = Seconds(30)
    """No edge is passed over for longer."""
    give_up_after: Seconds = Seconds(60)
    """Stop when for so long no edge has given anything usable. What was done is kept."""
    use_deltas: bool = True
    """Fetch deltas where they are smaller than the chunks they make."""
    delta_patience: Seconds = Seconds(10)
    """Fetch plain chunks instead of a delta that no edge has given for so long."""
    delta_memory_max: ByteSize = ByteSize(56 << 20)
    """What all deltas being applied may take together; one alone may take all of it."""
    entitlement: LeaseServiceSettings = LeaseServiceSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    trust: TrustSettings = TrustSettings()
    http: ClientSettings = ClientSettings()

    def __post_init__(self) -> None:
        """Refuse a limit on ranges that some chunk would not fit."""
        if self.range_bytes_max < CHUNK_SIZE_MAX:
            raise ValueError(f"range_bytes_max is {self.range_bytes_max}, at least 1MiB is needed")
