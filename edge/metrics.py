"""What an edge counts. Children are bound once: looking a label up costs more than counting."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from prometheus_client import CollectorRegistry, Counter, Gauge


class Tier(Enum):
    """Where bytes came from."""

    MEMORY = "memory"
    DISK = "disk"
    FILL = "fill"


class Outcome(Enum):
    """What became of a start call."""

    GRANTED = "granted"
    REFUSED = "refused"
    OPEN = "open"
    """Neither lease nor refusal: only what is for anyone was sent."""


class EdgeMetrics:
    """Counters of one edge, in the registry of its listener."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, told: str, *labels: str) -> Counter:
            return Counter(f"playhead_edge_{name}", told, labels, registry=registry)

        served = counter("served_total", "Blobs sent, by where they were found.", "tier")
        sent = counter("served_bytes_total", "Bytes sent, by where they were found.", "tier")
        bad = counter("verify_failures_total", "Wrong digests: never cached, never sent.", "where")
        self.served = {tier: served.labels(tier.value) for tier in Tier}
        self.served_bytes = {tier: sent.labels(tier.value) for tier in Tier}
        self.bad_on_disk = bad.labels("disk")
        self.bad_upstream = bad.labels("upstream")
        self.fills = counter("fills_total", "Fetches from upstream that brought verified bytes.")
        self.collapsed = counter("collapsed_total", "Requests that joined one under way.")
        self.upstream_bytes = counter("upstream_bytes_total", "Bytes read from upstreams.")
        self.upstream_failures = counter(
            "upstream_failures_total", "Upstreams left for the next.", "upstream", "code"
        )
        self.evictions = counter("evictions_total", "Blobs dropped from disk for room.")
        self.not_cached = counter(
            "not_cached_total", "Blobs served without being kept, by reason.", "reason"
        )
        starts = counter("starts_total", "Start calls, by what was decided.", "outcome")
        self.starts = {outcome: starts.labels(outcome.value) for outcome in Outcome}
        self._registry = registry

    def watch(self, name: str, told: str, value: Callable[[], float]) -> None:
        """Report ``value()`` as a gauge whenever metrics are read."""
        gauge = Gauge(f"playhead_edge_{name}", told, registry=self._registry)
        gauge.set_function(value)
