"""What an operator can tell an edge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from edge.crew import WORKERS_MAX
from edge.generic.settings import GenericSettings
from kit.http_settings import ClientSettings, ListenSettings
from kit.settings import Group
from kit.units import GIB, MIB, ByteSize, Seconds
from manifests.addresses import HEAD_FRESH_S


class EdgeSettings(Group, frozen=True):
    """Where an edge fetches, how much it keeps, and how patient it is."""

    listen: ListenSettings = ListenSettings(port=7402, requests_max=16_384)
    """Its limits hold for each worker."""
    workers: Annotated[int, Meta(ge=0, le=WORKERS_MAX)] = 0
    """Processes that serve, of which each uses one core; 0 is this process alone, as whenever other
    roles are served with it. One for each core, up to 16, uses the machine."""
    fast_lane: bool = True
    """Answer content that is in memory without aiohttp: the same answers, for less of the
    processor."""
    upstreams: tuple[str, ...] = ("http://127.0.0.1:7401",)
    """Base URLs of origins or other edges, the preferred first; one that fails is left for the
    next."""
    cache_dir: Path = Path("edge")
    """Folder of the cache, below ``data`` unless absolute. It may be deleted while no edge runs."""
    max_bytes: ByteSize = ByteSize(64 * GIB)
    """Verified content kept on disk, as the disk counts it; memory that is free serves as its
    first tier by itself."""
    documents_max: Annotated[int, Meta(ge=1)] = 4096
    """Heads, releases, trust bundles and metadata of trust kept, in memory and on disk."""
    documents_max_bytes: ByteSize = ByteSize(64 * MIB)
    """Of all of those. A head or release has at most 16 KiB, metadata of trust at most 5 MB."""
    entitlement: str = ""
    """Base URL of the entitlement service. With it, a player that starts a download and says who it
    is gets its lease here, in the same answer; without it, consoles get theirs by themselves."""
    head_fresh_for: Seconds = Seconds(HEAD_FRESH_S)
    """A head older than this is asked for again."""
    client: ClientSettings = ClientSettings()
    fill_within: Seconds = Seconds(30)
    """An upstream that takes longer for one object of at most 1 MiB is left for the next."""
    fills_max: Annotated[int, Meta(ge=1)] = 32
    """Fetches from upstream at the same time."""
    ahead_max: Annotated[int, Meta(ge=0)] = 64
    """Slices fetched before their turn, over all responses: each holds 1 MiB."""
    cool_down_for: Seconds = Seconds(5)
    """An upstream that failed is asked last for so long, or until it gives a sign of life."""
    hedge_after_max: Seconds = Seconds(2)
    """If an answer takes longer to begin than 95 of 100 lately did, and at most after this, the
    next upstream is asked as well. 0 never asks two."""
    retries_share: Annotated[float, Meta(ge=0, le=1)] = 0.2
    """Retries and hedges may add this share to the requests made to upstreams."""
    shields: tuple[str, ...] = ()
    """Base URLs of edges that are asked before the upstreams: for each object one of them. All
    nodes must name the same, in any order."""
    own_url: str = ""
    """Under which of the shields this node itself is known, if it is one."""
    disk_threads: Annotated[int, Meta(ge=1)] = 4
    """Reads and writes of the cache at the same time."""
    scrub_bytes_per_s: ByteSize = ByteSize(4 * MIB)
    """All that is cached is read again at this rate, over all workers, and what rotted is fetched
    anew: 1 TiB takes three days. 0 is never."""
    scrub_every: Seconds = Seconds(86_400)
    """A pass over the cache begins so long after the one before began, at the earliest."""
    warm_fetches_max: Annotated[int, Meta(ge=1)] = 4
    """Fetches of one warm at the same time: of `fills_max`, what it may take from players."""
    generic: GenericSettings = GenericSettings()
