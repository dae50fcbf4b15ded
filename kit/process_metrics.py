"""What a process costs: CPU, memory and age, under the names that Prometheus' own clients use.

The library's collector reads ``/proc``, which would hold the event loop up; the system is asked.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

RSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in which the system counts a process's peak memory."""


class ProcessFigures(Collector):
    """Reports what this process has used."""

    def __init__(self, registry: CollectorRegistry, started_s: float | None = None) -> None:
        """Take ``started_s`` (Unix epoch) for the start; by default now."""
        self._started_s = time.time() if started_s is None else started_s
        registry.register(self)

    def describe(self) -> Iterator[Metric]:
        """Yield what there is: so the registry knows the names."""
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        """Yield the figures as they are now."""
        yield CounterMetricFamily(
            "process_cpu_seconds", "CPU time used, by user and system.", value=time.process_time()
        )
        yield GaugeMetricFamily("process_start_time_seconds", "Unix epoch.", value=self._started_s)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT
        yield GaugeMetricFamily(
            "process_peak_memory_bytes", "The most memory that was resident.", value=peak
        )
