"""What a console can be told: where to fetch from, how much at once, and how patient to be."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from chunks.chunker import CHUNK_SIZE_MAX
from chunks.plan import REQUEST_SIZE_MAX
from kit.http_client import ClientSettings
from kit.settings import Group
from kit.units import ByteSize, Seconds


class CheckpointSettings(Group, frozen=True):
    """How often finished chunks are made durable; a power cut costs what came after."""

    every_bytes: Annotated[ByteSize, Meta(ge=1)] = ByteSize(64 << 20)
    every: Seconds = Seconds(4)


class ConsoleSettings(Group, frozen=True):
    """A console's settings. Memory held for ranges is ``requests_at_once * range_bytes_max``."""

    edges: tuple[str, ...] = ()
    """Base URLs in order of preference, e.g. ``http://127.0.0.1:8080``."""
    requests_at_once: Annotated[int, Meta(ge=1, le=64)] = 8
    range_bytes_max: Annotated[ByteSize, Meta(ge=CHUNK_SIZE_MAX)] = ByteSize(REQUEST_SIZE_MAX)
    """Most bytes one request asks for. No chunk is larger than the least this may be."""
    threads: Annotated[int, Meta(ge=0, le=256)] = 0
    """Threads that unpack, verify and write; 0 is one for each core."""
    limit_rate: Annotated[ByteSize, Meta(ge=0)] = ByteSize(0)
    """Bytes per second to receive at most; 0 is no limit."""
    penalty: Seconds = Seconds(1)
    """How long an edge that failed is passed over; doubled with each failure in a row."""
    penalty_max: Seconds = Seconds(30)
    give_up_after: Seconds = Seconds(60)
    """Stop when for so long no edge has given anything usable. What was done is kept."""
    checkpoint: CheckpointSettings = CheckpointSettings()
    http: ClientSettings = ClientSettings()
