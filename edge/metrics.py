"""What an edge counts. Children are bound once: looking a label up costs more than counting."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from prometheus_client import CollectorRegistry, Counter, Gauge

from kit.tallies import Tally


class Tier(Enum):
    """Where bytes came from."""

    MEMORY = "memory"
    DISK = "disk"
    FILL = "fill"


class EdgeMetrics:
    """Counters of one edge, in the registry of its listener."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, told: str, *labels: str) -> Counter:
            return Counter(f"playhead_edge_{name}", told, labels, registry=registry)

        served = Tally(
            "playhead_edge_served_total",
            "Blobs sent, by where they were found.",
            "tier",
            registry=registry,
        )
        sent = Tally(
            "playhead_edge_served_bytes_total",
            "Bytes sent, by where they were found.",
            "tier",
            registry=registry,
        )
        bad = counter("verify_failures_total", "Wrong digests: never cached, never sent.", "where")
        self.served = {tier: served.of(tier.value) for tier in Tier}
        self.served_bytes = {tier: sent.of(tier.value) for tier in Tier}
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
        self._registry = registry

    def watch(self, name: str, told: str, value: Callable[[], float]) -> None:
        """Report ``value()`` as a gauge whenever metrics are read."""
        gauge = Gauge(f"playhead_edge_{name}", told, registry=self._registry)
        gauge.set_function(value)
