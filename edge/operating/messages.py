"""What operators and an edge say to each other: ``docs/format/edge_api.md``, every object of it."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import msgspec
from msgspec import Meta

from manifests.documents import GROUP_COUNT_MAX, Head, Release
from manifests.names import GROUP_PATTERN, TITLE_PATTERN

TARGET_LENGTH_MAX = 512
FAILED_PATHS_MAX = 100
"""Of a warm, named in its receipt; all are counted."""

_Target = Annotated[str, Meta(min_length=1, max_length=TARGET_LENGTH_MAX)]
_Group = Annotated[str, Meta(pattern=GROUP_PATTERN)]
_Moment = Annotated[float, Meta(ge=0, le=1e11)]


class _Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request: closed to unknown keys, so that a mistyped one is not passed over."""


class _Told(msgspec.Struct, frozen=True, kw_only=True):
    """An answer: newer edges may say more."""


class Amount(msgspec.Struct, frozen=True):
    """So many things, of so many bytes together."""

    count: int = 0
    size: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.count + other.count, self.size + other.size)


Amounts = dict[str, Amount]
"""By kind."""


class Kind(Enum):
    """Of what a warm brings, in the order in which it does."""

    DOCUMENT = "document"
    """Head, release, trust bundle, metadata of trust."""
    MANIFEST = "manifest"
    """Root, pages, delta indexes, manifest deltas."""
    SLICE_LIST = "slice-list"
    SLICE = "slice"
    """Of bundles of chunks."""
    DELTA = "delta"
    """Slices of bundles of deltas."""


class WarmRequest(_Asked, frozen=True, kw_only=True):
    """What to bring, and how."""

    target: _Target
    """``game`` (what ``live`` plays), ``game@beta``, ``game@12``."""
    groups: Annotated[tuple[_Group, ...], Meta(max_length=GROUP_COUNT_MAX)] = ()
    """Install groups; none means all of them."""
    deltas: bool = False
    """What updates to it need as well."""
    deadline_s: _Moment
    """Seconds since the Unix epoch until which what was brought is pinned."""
    max_rate: Annotated[int, Meta(ge=0)] = 0
    """Bytes a second from upstream at most; 0 for no limit."""
    supersede: bool = False
    """Drop first, from now on, what of the title is cached and not in this release."""


class WarmPhase(Enum):
    """Where a warm is."""

    PLANNING = "planning"
    """Reading head, trust and manifest, which say how much there is."""
    RUNNING = "running"
    DONE = "done"
    """Complete, but for what :attr:`Warm.failed_count` says."""
    FAILED = "failed"
    """It stopped by itself; :attr:`Warm.fault` says why. Begun anew, it goes on from there."""
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    """Its deadline came first."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of it."""
        return self not in (WarmPhase.PLANNING, WarmPhase.RUNNING)


class Warm(msgspec.Struct, kw_only=True):
    """A warm: its request, how far it is, and in the end its receipt. Also its file, as JSON."""

    warm_id: str
    request: WarmRequest
    phase: WarmPhase = WarmPhase.PLANNING
    begun_s: float
    """Seconds since the Unix epoch."""
    worked_s: float = 0.0
    """Seconds it was at work, over all runs."""
    runs: int = 0
    """How often it was begun: once, and after each restart of the edge."""
    worker: int = 0
    """Which worker of the edge does it."""
    head: Head | None = None
    """As it was when the warm began; None where a release was named by its counter."""
    release: Release | None = None
    planned: Amounts = msgspec.field(default_factory=dict)
    """All there is to bring, once it is known."""
    fetched: Amounts = msgspec.field(default_factory=dict)
    """Brought from upstream, and verified."""
    earlier: Amounts = msgspec.field(default_factory=dict)
    """Brought in runs that a restart of the edge ended."""
    present: Amounts = msgspec.field(default_factory=dict)
    """Here already, and verified by this warm."""
    pinned: Amount = Amount()
    unpinned: Amount = Amount()
    """Cached, but not pinned, for no more may be."""
    superseded: Amount = Amount()
    """What of older releases goes first now, if that was asked for."""
    failed_count: int = 0
    failed: list[str] = msgspec.field(default_factory=list)
    """Paths of the first that could not be had."""
    ids_digest: str = ""
    """BLAKE3 of the digests of manifests, slice lists and slices, in order: what two edges share
    that were warmed alike."""
    fault: str = ""

    @property
    def target(self) -> str:
        """What it brings, in a few words."""
        groups = f" ({', '.join(self.request.groups)})" if self.request.groups else ""
        return f"{self.request.target}{groups}"

    def planned_total(self) -> Amount:
        """Return all there is to bring."""
        return total(self.planned)

    def done_total(self) -> Amount:
        """Return all that is here."""
        return total(self.fetched) + total(self.present)


class PurgeRequest(_Asked, frozen=True, kw_only=True):
    """What to drop, and how."""

    target: _Target
    hard: bool = False
    """Drop it now; otherwise verify it again before it is sent, and drop it first for room."""
    dry_run: bool = False


class Purged(_Told, frozen=True, kw_only=True):
    """What was dropped, or would be."""

    target: str
    hard: bool
    dry_run: bool
    blobs: Amount
    documents: Amount


class PinRequest(_Asked, frozen=True, kw_only=True):
    """What of the cache to keep, until when."""

    target: _Target
    until_s: _Moment
    """Seconds since the Unix epoch; 0 unpins."""


class Action(Enum):
    """What becomes of blobs that a worker keeps."""

    MEASURE = "measure"
    """Nothing: it is only said how much they are."""
    DROP = "drop"
    DOUBT = "doubt"
    """They are verified again before they are sent, and go first for room."""
    PIN = "pin"
    UNPIN = "unpin"
    SUPERSEDE = "supersede"
    """They go first for room."""


class NamesRequest(_Asked, frozen=True, kw_only=True):
    """From worker to worker: what to do with which blobs."""

    action: Action
    names: Annotated[tuple[bytes, ...], Meta(max_length=4096)]
    until_s: _Moment = 0.0


class Acted(_Told, frozen=True, kw_only=True):
    """What that was done to."""

    done: Amount = Amount()
    refused: Amount = Amount()
    """Not pinned, for no more may be."""

    def __add__(self, other: Acted) -> Acted:
        return Acted(done=self.done + other.done, refused=self.refused + other.refused)


class DocumentsRequest(_Asked, frozen=True, kw_only=True):
    """From worker to worker: which documents to drop, or to ask for again."""

    paths: Annotated[tuple[_Target, ...], Meta(max_length=1024)]
    hard: bool


class Pinned(_Told, frozen=True, kw_only=True):
    """What is pinned now."""

    target: str
    until_s: float
    pinned: Amount
    refused: Amount
    """For no more may be pinned."""


class SupersedeRequest(_Asked, frozen=True, kw_only=True):
    """Whose older releases are to go first."""

    title: Annotated[str, Meta(pattern=TITLE_PATTERN)]


class Superseded(_Told, frozen=True, kw_only=True):
    """What of a title goes first now: what is cached, and in no release that is played."""

    title: str
    superseded: Amount


class DrainRequest(_Asked, frozen=True, kw_only=True):
    """Whether to take no more traffic."""

    draining: bool


class Drained(_Told, frozen=True, kw_only=True):
    """Whether it takes no more traffic, and what is still under way."""

    draining: bool
    requests_running: int


class UpstreamHealth(_Told, frozen=True, kw_only=True):
    """How an upstream does."""

    url: str
    shield: bool
    healthy: bool
    given_up: bool
    """It fails so often that it is asked for signs of life alone."""
    failures: int
    """Since the edge started."""
    last_fault: str
    """What went wrong the last time; empty if nothing ever did."""
    average_s: float | None
    """Until its answers began, lately."""


class Rates(_Told, frozen=True, kw_only=True):
    """What went through in a second."""

    requests: float
    served_bytes: float
    upstream_bytes: float


class CacheUse(_Told, frozen=True, kw_only=True):
    """What is in the cache; sizes in bytes."""

    size: int
    size_max: int
    blobs: int
    pinned: Amount
    pinned_size_max: int
    superseded: Amount
    documents: Amount


class Scrubbed(_Told, frozen=True, kw_only=True):
    """What reading the cache again has found."""

    size: int = 0
    """Bytes read."""
    rotten: int = 0
    repaired: int = 0
    pass_age_s: float = 0.0
    """Since all of it was read once, of the part that waits longest; 0 if it is never read."""

    def __add__(self, other: Scrubbed) -> Scrubbed:
        return Scrubbed(
            size=self.size + other.size,
            rotten=self.rotten + other.rotten,
            repaired=self.repaired + other.repaired,
            pass_age_s=max(self.pass_age_s, other.pass_age_s),
        )


class Status(_Told, frozen=True, kw_only=True):
    """What an edge, with all its workers, is doing. Counts are since its workers started."""

    version: str
    workers: int
    started_s: float
    """Seconds since the Unix epoch, of the worker that has run longest."""
    uptime_s: float
    draining: bool
    requests_running: int
    served: Amounts
    """By tier: ``memory``, ``disk``, ``fill``."""
    request_hit_ratio: float | None
    """Of all that was served, what did not come from upstream; None if nothing was."""
    byte_hit_ratio: float | None
    upstream_size: int
    """Bytes read from upstream."""
    origin_bytes_per_byte: float | None
    """Bytes from upstream for each byte served."""
    collapsed: int
    fills: int
    fills_running: int
    rates: list[Rates]
    """Each second of the last two minutes, the oldest first."""
    upstreams: list[UpstreamHealth]
    cache: CacheUse
    verify_failures: dict[str, int]
    """Wrong digests, by where they were found."""
    evictions: dict[str, int]
    """By reason."""
    not_cached: dict[str, int]
    """Served without being kept, by reason."""
    leases_refused: dict[str, int]
    """By code."""
    scrub: Scrubbed = Scrubbed()
    congestion_control: str
    """Of TCP; empty where it is not known."""
    warms: list[Warm]


class Explanation(_Told, frozen=True, kw_only=True):
    """Where one object is, and if nowhere, why. Moments are Unix epoch, 0 for never."""

    what: str
    path: str = ""
    """Its URL path, where that is known."""
    kind: str
    """``slice``, ``slice-list``, ``manifest`` or ``document``."""
    cached: bool = False
    tier: str = ""
    """``memory`` or ``disk``; empty if it is not cached."""
    size: int = 0
    stored_s: float = 0.0
    uses: int = 0
    """How often it was asked for since its last turn in the queue, up to what is counted."""
    pinned_until_s: float = 0.0
    superseded: bool = False
    place: str = ""
    """Segment and offset, or a document's age."""
    source: str
    """Where it would come from now."""
    gone: str = ""
    """Why it is not here: ``never seen``, or what became of it."""
    gone_s: float = 0.0
    text: str
    """All of that as a sentence."""


def total(amounts: Amounts) -> Amount:
    """Return the sum over all kinds."""
    return sum(amounts.values(), Amount())


def plus(amounts: Amounts, kind: Kind, amount: Amount) -> None:
    """Add to one kind, in place."""
    amounts[kind.value] = amounts.get(kind.value, Amount()) + amount


def plus_all(amounts: Amounts, others: Amounts) -> None:
    """Add all kinds, in place."""
    for kind, amount in others.items():
        amounts[kind] = amounts.get(kind, Amount()) + amount
