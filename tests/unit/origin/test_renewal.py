"""An origin that has the keys keeps what it serves fresh, and tidy."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from kit.clock import ManualClock
from kit.errors import Unavailable
from kit.object_storage.testing import SLOW_DOWN, FaultyStorage, MemoryStorage
from manifests.locations import trust_key
from manifests.trust_roles import ROOT, SNAPSHOT, TIMESTAMP
from origin import renewal as renewal_module
from origin.registry import Registry
from origin.renewal import Renewal
from tests.polling import eventually
from tests.registries import TestBed
from tests.trust_repository import NOW_S, a_release

HOUR_S, DAY_S = 3600.0, 86400.0
LEFT = "playhead_origin_trust_expires_seconds"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_S)


@pytest.fixture
def bed(clock: ManualClock) -> TestBed:
    return TestBed(clock=clock, memory=MemoryStorage(clock=clock))


async def test_timestamp_is_renewed_hourly_and_metrics_say_what_is_left(
    bed: TestBed, clock: ManualClock
) -> None:
    registry = await bed.begun()
    metrics = CollectorRegistry()

    async def opened() -> Registry:
        return registry

    renewal = Renewal(opened, clock=clock, metrics=metrics)
    clock.advance(0.5 * HOUR_S)
    await renewal.renew(registry)
    assert metrics.get_sample_value(LEFT) == 47.5 * HOUR_S
    clock.advance(0.5 * HOUR_S)
    await renewal.renew(registry)
    assert metrics.get_sample_value(LEFT) == 48 * HOUR_S


async def test_failure_is_tried_again(
    bed: TestBed, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bed.begun()
    storage = FaultyStorage(bed.memory)
    storage.next("get", SLOW_DOWN)
    clock.advance(2 * HOUR_S)
    monkeypatch.setattr(renewal_module, "AGAIN_AFTER_S", 0.0)
    opened = [Unavailable("not yet")]

    async def open_registry() -> Registry:
        if opened:
            raise opened.pop()
        return bed.registry(storage)

    before = await bed.memory.get(trust_key(TIMESTAMP), size_max=10_000)
    task = asyncio.create_task(
        Renewal(open_registry, clock=clock, metrics=CollectorRegistry()).run()
    )

    async def is_renewed() -> bool:
        return await bed.memory.get(trust_key(TIMESTAMP), size_max=10_000) != before

    try:
        await eventually(is_renewed)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_metadata_superseded_long_ago_is_swept_and_nothing_else(
    bed: TestBed, clock: ManualClock
) -> None:
    registry = await bed.begun()
    await bed.enrol(registry, "acme", "a-title")
    old_client = bed.client()
    for counter in range(1, 4):
        await bed.vouch(registry, "acme", a_release("a-title", counter))
    assert await registry.sweep() == 0
    clock.advance(8 * DAY_S)
    await bed.vouch(registry, "acme", a_release("a-title", 4))
    left_over = trust_key("publisher-acme", 99)
    await bed.memory.put(left_over, b"{}")
    swept = await registry.sweep()
    state = await registry.state()
    assert await _names(bed) == sorted(
        [
            left_over,
            trust_key(ROOT, 1),
            trust_key(TIMESTAMP),
            trust_key(SNAPSHOT, state.snapshot.version),
            *(trust_key(role, state.version_of(role)) for role in state.roles()),
        ]
    )
    assert swept > 10
    for client in (old_client, bed.client()):
        assert client.believes("acme", a_release("a-title", 4))
        client.close()
    await bed.vouch(bed.registry(), "acme", a_release("a-title", 5))
    assert await registry.sweep() == 0


async def _names(bed: TestBed) -> list[str]:
    return [found.key async for found in bed.memory.list("trust/")]
