"""What is said of how long a dependency takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.latency import SAMPLES_MAX, SAMPLES_MIN, Latency

SECONDS = st.floats(min_value=0, max_value=100)


@given(samples=st.lists(SECONDS, min_size=1, max_size=300))
def test_the_average_and_the_percentile_are_within_what_was_told(samples: list[float]) -> None:
    latency = Latency(forget_s=5)
    for sample in samples:
        latency.tell(sample, now=0)
    average, p95 = latency.average_s(0), latency.p95_s(0)
    assert average is not None
    assert min(samples) - 1e-9 <= average <= max(samples) + 1e-9
    if len(samples) < SAMPLES_MIN:
        assert p95 is None
    else:
        recent = samples[-SAMPLES_MAX:]
        assert p95 in recent
        assert sum(sample > p95 for sample in recent) <= len(recent) / 20


def test_the_average_follows_a_change_within_some_twenty_answers() -> None:
    latency = Latency(forget_s=5)
    for _ in range(200):
        latency.tell(0.010, now=0)
    for _ in range(22):
        latency.tell(1.0, now=0)
    assert latency.average_s(0) == pytest.approx(0.9, abs=0.02)


def test_nothing_is_known_before_the_first_answer() -> None:
    latency = Latency(forget_s=5)
    assert latency.average_s(0) is None
    assert latency.p95_s(0) is None


def test_what_was_measured_long_ago_is_forgotten() -> None:
    latency = Latency(forget_s=5)
    for _ in range(SAMPLES_MIN):
        latency.tell(9.0, now=0)
    assert latency.average_s(5) == 9.0
    assert latency.average_s(5.1) is None
    latency.tell(1.0, now=6)
    assert latency.average_s(6) == 1.0
    assert latency.p95_s(6) is None
