"""The other workers: who is responsible for what, and what becomes of it when one is gone."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from chunks.chunk_id import digest_of
from edge.crew import ALONE, WORKERS_MAX, new_node_name
from edge.metrics import EdgeMetrics
from edge.passage import HEADER as LOOP_HEADER
from edge.passage import HERE, NodeName, Passage
from edge.upstream.siblings import Alone, SiblingGone, Workers, socket_of
from edge.upstream.upstreams import NoUpstream
from kit.errors import IntegrityError, NotFound
from kit.http_client import HttpReply
from manifests.lease import HEADER
from tests.polling import eventually

PATH = "/t/a-title/h/live"
NAMES = [bytes([first]) + bytes(31) for first in range(256)]
OTHERS = next(name for name in NAMES if name[0] % WORKERS_MAX % 2 == 1)
"""A name that worker 1 of 2 is responsible for; we are 0."""


@dataclass
class Sibling:
    """Worker 1, and how it answers."""

    answer: Callable[[web.Request], Awaitable[web.Response]]
    is_alive: bool = True
    asked: list[web.Request] = field(default_factory=list)

    @asynccontextmanager
    async def serving(self, folder: Path) -> AsyncIterator[None]:
        async def answer(request: web.BaseRequest) -> web.Response:
            assert isinstance(request, web.BaseRequest)
            if request.path == "/healthz":
                if not self.is_alive:
                    await asyncio.Event().wait()
                return web.Response()
            self.asked.append(request)  # type: ignore[arg-type]
            return await self.answer(request)  # type: ignore[arg-type]

        runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
        await runner.setup()
        await web.UnixSite(runner, socket_of(folder, 1)).start()
        try:
            yield
        finally:
            await runner.cleanup()


def says(status: int = 200, body: bytes = b"it", **headers: str) -> Sibling:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=status, body=body, headers=headers)

    return Sibling(answer)


async def take(reply: HttpReply) -> bytes:
    return bytes(await reply.read(size_max=99))


@dataclass
class Us:
    """Worker 0, and what it counts."""

    workers: Workers
    registry: CollectorRegistry

    def count(self, name: str) -> float:
        return self.registry.get_sample_value(f"playhead_edge_sibling_{name}_total") or 0.0


@asynccontextmanager
async def us(folder: Path, *, within_s: float = 10) -> AsyncIterator[Us]:
    registry = CollectorRegistry()
    workers = Workers(
        0,
        2,
        folder,
        node_lease=lambda: "our lease",
        within_s=within_s,
        metrics=EdgeMetrics(registry),
    )
    async with workers.open():
        yield Us(workers, registry)


def worker(index: int, count: int) -> Workers:
    metrics = EdgeMetrics(CollectorRegistry())
    return Workers(index, count, Path("x"), node_lease=lambda: "", within_s=1, metrics=metrics)


@pytest.mark.parametrize("count", range(2, WORKERS_MAX + 1))
def test_every_name_is_one_workers_and_each_has_its_share(count: int) -> None:
    crew = [worker(index, count) for index in range(count)]
    shares = Counter[int]()
    for number in range(10_000):
        name = digest_of(number.to_bytes(4, "big"))
        [owner] = [each.index for each in crew if each.owns(name)]
        shares[owner] += 1
    assert len(shares) == count
    # 16 parts shared out: some have one part more than others.
    assert max(shares.values()) <= 2.5 * min(shares.values())


async def test_who_is_alone_owns_everything_and_has_nobody_to_ask() -> None:
    alone = Alone()
    assert all(alone.owns(name) for name in NAMES)
    assert await alone.ask_all("GET", "/metrics") == []
    with pytest.raises(SiblingGone):
        await alone.fetch(OTHERS, PATH, take)
    assert (ALONE.index, ALONE.count) == (0, 1)
    assert new_node_name() != new_node_name()


async def test_what_the_owner_answers_is_taken_and_it_is_shown_a_lease(tmp_path: Path) -> None:
    sibling = says()
    async with sibling.serving(tmp_path), us(tmp_path) as here:
        assert await here.workers.fetch(OTHERS, PATH, take) == b"it"
        assert (here.count("fetches"), here.count("failures")) == (1, 0)
    [request] = sibling.asked
    assert (request.path, request.headers[HEADER]) == (PATH, "our lease")
    assert LOOP_HEADER not in request.headers, "or it would be taken for another node's"


async def test_where_a_request_has_been_is_passed_on_without_us(tmp_path: Path) -> None:
    sibling = says()
    async with sibling.serving(tmp_path), us(tmp_path) as here:
        HERE.set(Passage((NodeName("a"), NodeName("b"))))
        await here.workers.fetch(OTHERS, PATH, take)
    [request] = sibling.asked
    assert request.headers[LOOP_HEADER] == "playhead; node=a, playhead; node=b"


async def test_what_the_owner_says_is_not_there_or_cannot_be_had_is_the_last_word(
    tmp_path: Path,
) -> None:
    async with us(tmp_path) as here, says(404).serving(tmp_path):
        with pytest.raises(NotFound):
            await here.workers.fetch(OTHERS, PATH, take)
    async with us(tmp_path) as here:
        async with says(502, b'{"detail": "both are down"}').serving(tmp_path):
            with pytest.raises(NoUpstream, match="both are down"):
                await here.workers.fetch(OTHERS, PATH, take)
        assert here.count("failures") == 0


async def test_any_502_that_is_no_document_of_ours_is_that_too(tmp_path: Path) -> None:
    async with says(502, b"<html>").serving(tmp_path), us(tmp_path) as here:
        with pytest.raises(NoUpstream, match="answered 502"):
            await here.workers.fetch(OTHERS, PATH, take)


@pytest.mark.parametrize("status", [500, 503, 401, 302, 206])
async def test_any_other_answer_has_us_ask_upstream_ourselves(tmp_path: Path, status: int) -> None:
    async with says(status).serving(tmp_path), us(tmp_path) as here:
        with pytest.raises(SiblingGone):
            await here.workers.fetch(OTHERS, PATH, take)
        assert here.count("failures") == 1


async def test_wrong_bytes_of_a_sibling_are_counted_and_asked_for_upstream(tmp_path: Path) -> None:
    async def bad(_reply: HttpReply) -> bytes:
        raise IntegrityError("they are wrong")

    async with says().serving(tmp_path), us(tmp_path) as here:
        with pytest.raises(SiblingGone, match="they are wrong"):
            await here.workers.fetch(OTHERS, PATH, bad)
        found = here.registry.get_sample_value(
            "playhead_edge_verify_failures_total", {"where": "sibling"}
        )
        assert found == 1


async def test_nobody_at_the_socket_is_noticed_at_once(tmp_path: Path) -> None:
    async with us(tmp_path) as here:
        async with asyncio.timeout(5):
            with pytest.raises(SiblingGone):
                await here.workers.fetch(OTHERS, PATH, take)
        assert await here.workers.ask_all("GET", "/metrics") == []


async def test_one_that_is_slow_but_lives_is_waited_for_and_one_that_hangs_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.upstream.siblings.LOOK_EVERY_S", 0.02)
    monkeypatch.setattr("edge.upstream.siblings.ALIVE_WITHIN_S", 0.1)
    go = asyncio.Event()

    async def answer(_request: web.Request) -> web.Response:
        await go.wait()
        return web.Response(body=b"late")

    sibling = Sibling(answer)
    async with sibling.serving(tmp_path), us(tmp_path) as here:
        asking = asyncio.create_task(here.workers.fetch(OTHERS, PATH, take))
        done, _ = await asyncio.wait([asking], timeout=0.5)
        assert not done
        go.set()
        assert await asking == b"late"
        go.clear()
        sibling.is_alive = False
        async with asyncio.timeout(5):
            with pytest.raises(SiblingGone, match="does not answer"):
                await here.workers.fetch(OTHERS, PATH, take)
        assert here.count("failures") == 1
        go.set()
        with pytest.raises(SiblingGone, match="for a while"):
            await here.workers.fetch(OTHERS, PATH, take)
        assert len(sibling.asked) == 2, "nobody waits for it any more"
        sibling.is_alive = True

        async def is_asked_again() -> bool:
            with suppress(SiblingGone):
                return await here.workers.fetch(OTHERS, PATH, take) == b"late"
            return False

        await eventually(is_asked_again)


async def test_one_that_lives_and_never_answers_is_given_up_after_what_a_fill_may_take_twice(
    tmp_path: Path,
) -> None:
    async def answer(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError("never")

    async with Sibling(answer).serving(tmp_path), us(tmp_path, within_s=0.1) as here:
        async with asyncio.timeout(5):
            with pytest.raises(SiblingGone, match="took too long"):
                await here.workers.fetch(OTHERS, PATH, take)


async def test_all_that_answer_in_time_are_heard(tmp_path: Path) -> None:
    sibling = says(200, b"metrics of one")
    async with sibling.serving(tmp_path), us(tmp_path) as here:
        assert await here.workers.ask_all("POST", "/edge/v1/x", b"{}") == [b"metrics of one"]
    [request] = sibling.asked
    assert request.method == "POST"
