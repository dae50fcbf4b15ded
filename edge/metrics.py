"""What an edge counts. Children are bound once: looking a label up costs more than counting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum

from prometheus_client import CollectorRegistry, Counter, Gauge

from kit.tallies import Tally, Timings


class Tier(Enum):
    """Where bytes came from. Memory is the page cache: what was read or written lately."""

    MEMORY = "memory"
    DISK = "disk"
    FILL = "fill"


class FirstByte(Enum):
    """Where the first byte of an answer came from."""

    MEMORY = "memory"
    DISK = "disk"
    COLLAPSED = "collapsed"
    """From a fetch that was under way for another."""
    MISS = "miss"


FIRST_BYTE_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
"""From a hit in memory to an upstream that is about to be given up."""


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
        self.bad_sibling = bad.labels("sibling")
        self.sibling_fetches = counter(
            "sibling_fetches_total", "Things had from another worker, which fetched or kept them."
        )
        self.sibling_failures = counter(
            "sibling_failures_total", "Times another worker did not answer, and was done without."
        )
        self.fills = counter("fills_total", "Fetches from upstream that brought verified bytes.")
        self.collapsed = counter("collapsed_total", "Requests that joined one under way.")
        self.upstream_bytes = counter("upstream_bytes_total", "Bytes read from upstreams.")
        self.upstream_failures = counter(
            "upstream_failures_total", "Upstreams left for the next.", "upstream", "code"
        )
        self.upstream_attempts = counter(
            "upstream_attempts_total", "Requests made to an upstream.", "upstream"
        )
        self.upstream_retries = counter(
            "upstream_retries_total",
            "Further requests for one object: after a failure, a slow start, or one too many.",
            "why",
        )
        self.evictions = counter("evictions_total", "Blobs dropped from disk, by reason.", "reason")
        self.scrubbed_bytes = counter(
            "scrubbed_bytes_total", "Bytes read again from the disk to see whether they rot."
        )
        self.scrub_rotten = counter("scrub_rotten_total", "Blobs that scrubbing found rotten.")
        self.scrub_repaired = counter(
            "scrub_repaired_total", "Of those, what was had from upstream again."
        )
        self.not_cached = counter(
            "not_cached_total", "Blobs served without being kept, by reason.", "reason"
        )
        waits = Timings(
            "playhead_edge_first_byte_seconds",
            "From a request for content to its first byte, by where that was.",
            "found",
            registry=registry,
            bounds_s=FIRST_BYTE_BUCKETS_S,
        )
        self.first_byte = {found: waits.of(found.value) for found in FirstByte}
        warmed = counter("warm_bytes_total", "Bytes of warms, by where they were found.", "found")
        self.warm_fetched = warmed.labels("upstream")
        self.warm_present = warmed.labels("cache")
        self.warm_failures = counter(
            "warm_failures_total", "Objects of warms that could not be had, after all attempts."
        )
        starts = counter("starts_total", "Start calls, by what was decided.", "outcome")
        self.starts = {outcome: starts.labels(outcome.value) for outcome in Outcome}
        self._registry = registry

    def watch_each(
        self, name: str, told: str, label: str, values: Mapping[str, Callable[[], float]]
    ) -> None:
        """Report as a gauge each of ``values``, which are named by ``label``."""
        gauge = Gauge(f"playhead_edge_{name}", told, [label], registry=self._registry)
        for each, value in values.items():
            gauge.labels(each).set_function(value)

    def watch(self, name: str, told: str, value: Callable[[], float]) -> None:
        """Report ``value()`` as a gauge whenever metrics are read."""
        gauge = Gauge(f"playhead_edge_{name}", told, registry=self._registry)
        gauge.set_function(value)
