"""Counters and timings for paths so hot that a lock for each count would show.

They belong to one event loop, which is also where metrics are read, so plain numbers will do: a
count costs a tenth of what prometheus_client takes, with its locks for threads.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric

TIMES_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Upper bounds of the buckets of timings."""


class Count:
    """One number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        """Add ``amount``."""
        self.value += amount


class Tally:
    """A counter with at most one label; read by prometheus_client like its own."""

    def __init__(
        self, name: str, told: str, label: str | None = None, *, registry: CollectorRegistry
    ) -> None:
        self._name = name
        self._told = told
        self._labels = [] if label is None else [label]
        self._counts: dict[str, Count] = {}
        registry.register(self)

    def of(self, value: str = "") -> Count:
        """Return the count of one value of the label. Keep it: looking it up is what costs."""
        count = self._counts.get(value)
        if count is None:
            count = self._counts[value] = Count()
        return count

    def describe(self) -> Iterator[Metric]:
        """Yield what it is called (called by the registry, which finds it by that)."""
        yield CounterMetricFamily(self._name, self._told, labels=self._labels)

    def collect(self) -> Iterator[Metric]:
        """Yield all counts (called by the registry)."""
        family = CounterMetricFamily(self._name, self._told, labels=self._labels)
        for value, count in self._counts.items():
            family.add_metric([value] if self._labels else [], count.value)
        yield family


class Spread:
    """How often something took how long, by upper bounds in seconds."""

    __slots__ = ("_bounds_s", "counts", "sum_s")

    def __init__(self, bounds_s: tuple[float, ...]) -> None:
        self._bounds_s = bounds_s
        self.counts = [0] * (len(bounds_s) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one that took so long."""
        self.counts[bisect_left(self._bounds_s, seconds)] += 1
        self.sum_s += seconds


class Timings:
    """A histogram of seconds with at most one label."""

    def __init__(
        self,
        name: str,
        told: str,
        label: str | None = None,
        *,
        registry: CollectorRegistry,
        bounds_s: Sequence[float] = TIMES_S,
    ) -> None:
        self._name = name
        self._told = told
        self._labels = [] if label is None else [label]
        self._bounds_s = tuple(bounds_s)
        self._spreads: dict[str, Spread] = {}
        registry.register(self)

    def of(self, value: str = "") -> Spread:
        """Return the spread of one value of the label. Keep it: looking it up is what costs."""
        spread = self._spreads.get(value)
        if spread is None:
            spread = self._spreads[value] = Spread(self._bounds_s)
        return spread

    def describe(self) -> Iterator[Metric]:
        """Yield what it is called (called by the registry, which finds it by that)."""
        yield HistogramMetricFamily(self._name, self._told, labels=self._labels)

    def collect(self) -> Iterator[Metric]:
        """Yield the histogram (called by the registry)."""
        family = HistogramMetricFamily(self._name, self._told, labels=self._labels)
        for value, spread in self._spreads.items():
            buckets, below = [], 0
            for bound_s, count in zip((*self._bounds_s, float("inf")), spread.counts, strict=True):
                below += count
                buckets.append(("+Inf" if bound_s == float("inf") else str(float(bound_s)), below))
            label = [value] if self._labels else []
            family.add_metric(label, buckets=buckets, sum_value=spread.sum_s)
        yield family
