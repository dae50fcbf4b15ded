"""What a process says of itself."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry

from kit.process_metrics import ProcessFigures


def test_cpu_time_rises_with_work_and_memory_and_start_are_told() -> None:
    registry = CollectorRegistry()
    ProcessFigures(registry, started_s=1000.0)

    def value(name: str) -> float:
        found = registry.get_sample_value(name)
        assert found is not None
        return found

    before, until = value("process_cpu_seconds_total"), time.process_time() + 0.05
    while time.process_time() < until:
        pass
    assert value("process_cpu_seconds_total") >= before + 0.05
    assert value("process_start_time_seconds") == 1000.0
    assert 1 << 20 < value("process_peak_memory_bytes") < 1 << 40
