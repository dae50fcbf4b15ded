"""What an edge is doing, read from its counters; and that of several workers as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import msgspec

from edge.documents import Documents
from edge.operating.keeping import Keeping
from edge.operating.messages import (
    Amount,
    Amounts,
    CacheUse,
    Rates,
    Scrubbed,
    Status,
    UpstreamHealth,
    Warm,
    plus_all,
    total,
)
from edge.operating.readings import SERVED, SERVED_BYTES, UPSTREAM_BYTES, Readings
from edge.upstream.upstreams import Upstreams
from kit.clock import Clock
from kit.http_server import ServerState

FILL = "fill"
"""The tier of what came from upstream: all others are hits."""

_FILLS, _COLLAPSED = "playhead_edge_fills_total", "playhead_edge_collapsed_total"
_RUNNING = "playhead_edge_fills_running"
_EVICTIONS, _BAD = "playhead_edge_evictions_total", "playhead_edge_verify_failures_total"
_NOT_CACHED = "playhead_edge_not_cached_total"
_SCRUBBED, _AGE = "playhead_edge_scrubbed_bytes_total", "playhead_edge_scrub_pass_age_seconds"
_ROTTEN, _REPAIRED = "playhead_edge_scrub_rotten_total", "playhead_edge_scrub_repaired_total"
_REFUSED = "playhead_edge_leases_refused_total"
_NAMES = (
    SERVED,
    SERVED_BYTES,
    UPSTREAM_BYTES,
    _FILLS,
    _COLLAPSED,
    _RUNNING,
    _EVICTIONS,
    _BAD,
    _NOT_CACHED,
    _SCRUBBED,
    _ROTTEN,
    _REPAIRED,
    _AGE,
    _REFUSED,
)

CONGESTION_FILE = Path("/proc/sys/net/ipv4/tcp_congestion_control")


@dataclass(frozen=True, slots=True)
class About:
    """What does not change while a process runs."""

    version: str
    congestion_control: str


class Watch:
    """Tells the status of one worker."""

    def __init__(
        self,
        readings: Readings,
        documents: Documents,
        keeping: Keeping,
        upstreams: Upstreams,
        *,
        clock: Clock,
        about: About,
    ) -> None:
        self._readings = readings
        self._documents = documents
        self._keeping = keeping
        self._upstreams = upstreams
        self._clock = clock
        self._about = about
        self._started_s = clock.now()

    def status(self, server: ServerState, warms: list[Warm]) -> Status:
        """Return what this worker is doing."""
        values = self._readings.values(*_NAMES)
        requests, sizes = values[SERVED], values[SERVED_BYTES]
        served = {
            tier: Amount(int(count), int(sizes.get(tier, 0))) for tier, count in requests.items()
        }
        return with_ratios(
            Status(
                version=self._about.version,
                workers=1,
                started_s=self._started_s,
                uptime_s=max(0.0, self._clock.now() - self._started_s),
                draining=server.is_draining,
                requests_running=server.running,
                served=served,
                request_hit_ratio=None,
                byte_hit_ratio=None,
                upstream_size=_sum(values[UPSTREAM_BYTES]),
                origin_bytes_per_byte=None,
                collapsed=_sum(values[_COLLAPSED]),
                fills=_sum(values[_FILLS]),
                fills_running=_sum(values[_RUNNING]),
                rates=self._readings.rates(),
                upstreams=[
                    UpstreamHealth(
                        url=each.url,
                        shield=each.is_shield,
                        healthy=each.is_healthy,
                        given_up=each.is_given_up,
                        failures=each.failures,
                        last_fault=each.last_fault,
                        average_s=each.average_s,
                    )
                    for each in self._upstreams.health()
                ],
                cache=self._cache_use(),
                verify_failures=_counts(values[_BAD]),
                evictions=_counts(values[_EVICTIONS]),
                not_cached=_counts(values[_NOT_CACHED]),
                leases_refused=_counts(values[_REFUSED]),
                scrub=Scrubbed(
                    size=_sum(values[_SCRUBBED]),
                    rotten=_sum(values[_ROTTEN]),
                    repaired=_sum(values[_REPAIRED]),
                    pass_age_s=sum(values[_AGE].values()),
                ),
                congestion_control=self._about.congestion_control,
                warms=warms,
            )
        )

    def _cache_use(self) -> CacheUse:
        known = self._documents.known()
        documents = Amount(len(known), sum(len(each.content) for each in known))
        return msgspec.structs.replace(self._keeping.use(), documents=documents)


def merged(statuses: Sequence[Status]) -> Status:
    """Return the status of an edge whose workers have ``statuses``; there is at least one.

    The cache is one, which every worker sees; what is counted is added up. An upstream is
    healthy if it is so for most.
    """
    first = statuses[0]
    if len(statuses) == 1:
        return first
    served: Amounts = {}
    for each in statuses:
        plus_all(served, each.served)
    return with_ratios(
        msgspec.structs.replace(
            first,
            workers=sum(each.workers for each in statuses),
            started_s=min(each.started_s for each in statuses),
            uptime_s=max(each.uptime_s for each in statuses),
            draining=all(each.draining for each in statuses),
            requests_running=sum(each.requests_running for each in statuses),
            served=served,
            upstream_size=sum(each.upstream_size for each in statuses),
            collapsed=sum(each.collapsed for each in statuses),
            fills=sum(each.fills for each in statuses),
            fills_running=sum(each.fills_running for each in statuses),
            rates=_merged_rates([each.rates for each in statuses]),
            upstreams=_merged_upstreams([each.upstreams for each in statuses]),
            cache=_merged_use([each.cache for each in statuses]),
            verify_failures=_added([each.verify_failures for each in statuses]),
            evictions=_added([each.evictions for each in statuses]),
            not_cached=_added([each.not_cached for each in statuses]),
            scrub=sum((each.scrub for each in statuses), Scrubbed()),
            leases_refused=_added([each.leases_refused for each in statuses]),
            warms=sorted(
                (warm for each in statuses for warm in each.warms), key=lambda warm: warm.begun_s
            ),
        )
    )


def with_ratios(status: Status) -> Status:
    """Return ``status`` with the ratios that its totals make."""
    everything = total(status.served)
    filled = status.served.get(FILL, Amount())
    return msgspec.structs.replace(
        status,
        request_hit_ratio=_share(everything.count - filled.count, everything.count),
        byte_hit_ratio=_share(everything.size - filled.size, everything.size),
        origin_bytes_per_byte=_share(status.upstream_size, everything.size),
    )


def read_about() -> About:
    """Read which version this is, and the system's algorithm of congestion control. Blocks."""
    try:
        congestion_control = CONGESTION_FILE.read_text().strip()[:32]
    except OSError:
        congestion_control = ""
    return About(version("playhead"), congestion_control)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _sum(values: dict[str, float]) -> int:
    return int(sum(values.values()))


def _counts(values: dict[str, float]) -> dict[str, int]:
    return {label or "all": int(value) for label, value in values.items() if value}


def _added(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    labels = dict.fromkeys(label for each in counts for label in each)
    return {label: sum(each.get(label, 0) for each in counts) for label in labels}


def _merged_use(uses: Sequence[CacheUse]) -> CacheUse:
    """Add up what each worker keeps; documents are the same ones in each."""
    return CacheUse(
        size=sum(each.size for each in uses),
        size_max=sum(each.size_max for each in uses),
        blobs=sum(each.blobs for each in uses),
        pinned=sum((each.pinned for each in uses), Amount()),
        pinned_size_max=sum(each.pinned_size_max for each in uses),
        superseded=sum((each.superseded for each in uses), Amount()),
        documents=max((each.documents for each in uses), key=lambda amount: amount.count),
    )


def _merged_rates(rates: Sequence[Sequence[Rates]]) -> list[Rates]:
    """Add up the seconds that all workers have seen; all end now."""
    count = min(map(len, rates))
    rows = zip(*(each[len(each) - count :] for each in rates), strict=True)
    return [
        Rates(
            requests=sum(each.requests for each in row),
            served_bytes=sum(each.served_bytes for each in row),
            upstream_bytes=sum(each.upstream_bytes for each in row),
        )
        for row in rows
    ]


def _merged_upstreams(upstreams: Sequence[Sequence[UpstreamHealth]]) -> list[UpstreamHealth]:
    by_url: dict[str, list[UpstreamHealth]] = {}
    for each in (each for of_worker in upstreams for each in of_worker):
        by_url.setdefault(each.url, []).append(each)
    return [
        UpstreamHealth(
            url=url,
            shield=seen[0].shield,
            healthy=2 * sum(each.healthy for each in seen) >= len(seen),
            given_up=2 * sum(each.given_up for each in seen) > len(seen),
            failures=sum(each.failures for each in seen),
            last_fault=next((each.last_fault for each in seen if each.last_fault), ""),
            average_s=max((s for each in seen if (s := each.average_s) is not None), default=None),
        )
        for url, seen in by_url.items()
    ]
