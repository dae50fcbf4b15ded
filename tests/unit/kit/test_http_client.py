"""The client against servers that do not keep their word."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from kit import trace
from kit.errors import IntegrityError, NotFound, Unavailable
from kit.http_client import HttpClient
from kit.http_settings import ClientSettings, ListenSettings
from kit.object_storage.testing import MemoryStorage
from kit.service import Binder
from kit.units import Seconds
from tests import titles
from tests.servers.upstream import Fault, Upstream
from tests.serving import Node, running, running_origin

title = titles.some_title()
PATH = title.bundle_address.slice(0).path
SIZE = len(title.slice(0))


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    async with HttpClient(
        ClientSettings(connect_within=Seconds(0.5), stall_after=Seconds(0.2))
    ) as client:
        yield client


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    upstream.publish(title)
    async with upstream.running():
        yield upstream


@pytest.fixture
async def origin() -> AsyncIterator[Node]:
    storage = MemoryStorage()
    await titles.put(storage, title)
    async with running_origin(storage) as node:
        yield node


async def fetch(client: HttpClient, url: str, size: int = SIZE) -> bytearray:
    async with client.get(url) as reply:
        reply.require_content()
        return await reply.read_exactly(size)


async def test_a_good_answer_is_returned_whole(client: HttpClient, upstream: Upstream) -> None:
    assert await fetch(client, upstream.url + PATH) == title.slice(0)
    async with client.get(upstream.url + PATH) as reply:
        assert await reply.read(size_max=SIZE) == title.slice(0)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.CUT, Unavailable),
        (Fault.RESET, Unavailable),
        (Fault.STALLED, Unavailable),
        (Fault.SILENT, Unavailable),
        (Fault.NONSENSE, Unavailable),
        (Fault.BROKEN, Unavailable),
        (Fault.ANOTHER_SPAN, Unavailable),
        (Fault.SHORTER, IntegrityError),
        (Fault.LONGER, IntegrityError),
        (Fault.HUGE, IntegrityError),
        (Fault.PAGE, IntegrityError),
    ],
)
async def test_a_bad_answer_is_one_error_that_names_the_url(
    client: HttpClient, upstream: Upstream, fault: Fault, error: type[Exception]
) -> None:
    upstream.faults[PATH] = fault
    with pytest.raises(error, match=f"^{upstream.url}{PATH}: "):
        await fetch(client, upstream.url + PATH)


async def test_more_than_the_most_is_refused_before_it_is_read(
    client: HttpClient, upstream: Upstream
) -> None:
    async with client.get(upstream.url + PATH) as reply:
        with pytest.raises(IntegrityError, match=f"{SIZE} bytes declared, at most 1000"):
            await reply.read(size_max=1000)


async def test_nobody_there_is_unavailable(client: HttpClient) -> None:
    with pytest.raises(Unavailable, match=r"^http://127\.0\.0\.1:9/x: "):
        await fetch(client, "http://127.0.0.1:9/x")


async def test_not_found_is_not_found(client: HttpClient, upstream: Upstream) -> None:
    with pytest.raises(NotFound):
        await fetch(client, upstream.url + "/nothing")


@pytest.mark.parametrize("span", [(0, 1), (100, 200_000), (SIZE - 1, SIZE)])
async def test_a_span_is_fetched_alone(
    client: HttpClient, origin: Node, span: tuple[int, int]
) -> None:
    start, end = span
    async with client.get(origin.url + PATH, span=span) as reply:
        reply.require_content()
        assert await reply.read_exactly(end - start) == title.slice(0)[start:end]


async def test_a_server_that_ignores_the_span_is_found_out(
    client: HttpClient, upstream: Upstream
) -> None:
    async with client.get(upstream.url + PATH, span=(0, 10)) as reply:
        with pytest.raises(Unavailable, match="answered 200, expected 206"):
            reply.require_content()


async def test_a_server_that_sends_another_span_is_found_out(
    client: HttpClient, origin: Node
) -> None:
    async with client.get(origin.url + PATH, span=(SIZE - 5, SIZE + 5)) as reply:
        with pytest.raises(IntegrityError, match="expected bytes"):
            reply.require_content()


async def test_a_body_without_a_length_is_limited_too(client: HttpClient) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b"x" * 1000)
        return response

    binder = Binder("other", ListenSettings())
    binder.routes(web.get("/", endless))
    async with running(binder) as node:
        async with client.get(node.url + "/") as reply:
            with pytest.raises(IntegrityError, match="more than 5000 bytes"):
                await reply.read(size_max=5000)
        async with client.get(node.url + "/") as reply:
            assert len(await reply.read(size_max=100_000)) == 100_000
        with pytest.raises(IntegrityError, match="more than the 10 bytes"):
            await fetch(client, node.url + "/", 10)
        with pytest.raises(IntegrityError, match="ended after 100000 of 100001"):
            await fetch(client, node.url + "/", 100_001)


async def test_who_asks_for_time_is_heard(client: HttpClient) -> None:
    async def busy(_: web.Request) -> web.Response:
        return web.Response(status=503, headers={"Retry-After": "17"})

    binder = Binder("other", ListenSettings())
    binder.routes(web.get("/", busy))
    async with running(binder) as node, client.get(node.url + "/") as reply:
        with pytest.raises(Unavailable, match="answered 503") as caught:
            reply.require_content()
    assert caught.value.retry_after_s == 17.0


async def test_redirects_are_not_followed_and_the_trace_is_passed_on(client: HttpClient) -> None:
    seen: list[str | None] = []

    async def elsewhere(request: web.Request) -> web.Response:
        seen.append(request.headers.get("traceparent"))
        raise web.HTTPFound("http://other.example/")

    binder = Binder("other", ListenSettings())
    binder.routes(web.get("/", elsewhere))
    here = trace.follow(None)
    trace.current.set(here)
    async with running(binder) as node, client.get(node.url + "/") as reply:
        with pytest.raises(Unavailable, match="answered 302"):
            reply.require_content()
    assert seen == [here.header]
