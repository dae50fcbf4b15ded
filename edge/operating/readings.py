"""What an edge's counters stand at, by name: what the status page and its curves are made of."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import pairwise

from prometheus_client import CollectorRegistry

from edge.operating.messages import Rates
from kit.clock import Clock

SAMPLES_MAX = 120
SAMPLE_EVERY_S = 1.0
"""Two minutes of curve: what an operator who just looked there wants to see."""

SERVED, SERVED_BYTES = "playhead_edge_served_total", "playhead_edge_served_bytes_total"
UPSTREAM_BYTES = "playhead_edge_upstream_bytes_total"


@dataclass(frozen=True, slots=True)
class Sample:
    """Running totals at a moment."""

    at_s: float
    """Monotonic."""
    requests: float
    served_bytes: float
    upstream_bytes: float


class Readings:
    """Reads a registry; remembers two minutes, once :meth:`sample` is called each second."""

    def __init__(self, registry: CollectorRegistry, clock: Clock) -> None:
        self._registry = registry
        self._clock = clock
        self._samples: deque[Sample] = deque(maxlen=SAMPLES_MAX + 1)

    def values(self, *names: str) -> dict[str, dict[str, float]]:
        """Return the samples of some metrics: by name, then by the values of their labels."""
        found: dict[str, dict[str, float]] = {name: {} for name in names}
        for metric in self._registry.restricted_registry(names).collect():
            for sample in metric.samples:
                if sample.name in found:
                    found[sample.name][" ".join(sample.labels.values())] = sample.value
        return found

    def sample(self) -> None:
        """Note where the totals stand."""
        values = self.values(SERVED, SERVED_BYTES, UPSTREAM_BYTES)
        self._samples.append(
            Sample(
                self._clock.monotonic(),
                sum(values[SERVED].values()),
                sum(values[SERVED_BYTES].values()),
                sum(values[UPSTREAM_BYTES].values()),
            )
        )

    def rates(self) -> list[Rates]:
        """Return what went through in each second, the oldest first."""
        samples = list(self._samples)
        return [_rate(before, after) for before, after in pairwise(samples)]


def _rate(before: Sample, after: Sample) -> Rates:
    seconds = max(1e-3, after.at_s - before.at_s)
    return Rates(
        requests=(after.requests - before.requests) / seconds,
        served_bytes=(after.served_bytes - before.served_bytes) / seconds,
        upstream_bytes=(after.upstream_bytes - before.upstream_bytes) / seconds,
    )
