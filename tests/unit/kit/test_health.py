"""Alive, ready, and what is counted: the three questions of operators."""

from __future__ import annotations

import pytest
from prometheus_client import Counter
from pytest_aiohttp import AiohttpClient

from kit.errors import Unavailable
from kit.http_settings import ListenSettings
from kit.service import Binder


@pytest.fixture
def binder() -> Binder:
    return Binder("role", ListenSettings())


async def test_a_process_without_dependencies_is_alive_and_ready(
    binder: Binder, aiohttp_client: AiohttpClient
) -> None:
    client = await aiohttp_client(binder.app)
    for path in ("/healthz", "/readyz"):
        answer = await client.get(path)
        assert answer.status == 200
        assert answer.headers["Cache-Control"] == "no-store"


async def test_a_dependency_that_fails_is_named_and_the_process_stays_alive(
    binder: Binder, aiohttp_client: AiohttpClient
) -> None:
    async def check() -> None:
        raise Unavailable("no answer from the bucket")

    binder.ready("storage", check)
    client = await aiohttp_client(binder.app)
    answer = await client.get("/readyz")
    assert answer.status == 503
    assert (await answer.json())["faults"] == {"storage": "no answer from the bucket"}
    assert (await client.get("/healthz")).status == 200


async def test_a_draining_process_is_not_ready(
    binder: Binder, aiohttp_client: AiohttpClient
) -> None:
    client = await aiohttp_client(binder.app)
    binder.state.is_draining = True
    answer = await client.get("/readyz")
    assert answer.status == 503
    assert "draining" in (await answer.json())["faults"]["process"]


async def test_what_is_counted_is_shown(binder: Binder, aiohttp_client: AiohttpClient) -> None:
    Counter("playhead_role_things", "Things.", registry=binder.registry).inc(3)
    client = await aiohttp_client(binder.app)
    answer = await client.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert "playhead_role_things_total 3.0" in await answer.text()
