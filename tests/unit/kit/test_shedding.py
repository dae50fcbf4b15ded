"""A listener that is asked for more than it has time for."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from kit.http_head import Head
from kit.http_settings import ListenSettings
from kit.lane import Answer
from kit.service import Address, Binder, serving
from kit.units import Seconds
from tests.polling import eventually

TURN = Seconds(0.002)
BODY = b"served"
CLIENTS = 60


class Costly:
    """A lane whose answers take a while, as long as they are to."""

    def __init__(self) -> None:
        self.cost_s = 0.001

    def answer(self, head: Head, *, by_file: bool) -> Answer | None:
        if head.target != b"/fast":
            return None
        until = time.perf_counter() + self.cost_s
        while time.perf_counter() < until:
            pass
        return Answer(200, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY), BODY)


@dataclass
class Served:
    address: Address
    binder: Binder
    lane: Costly

    def metric(self, name: str, **labels: str) -> float:
        return self.binder.registry.get_sample_value(f"playhead_edge_http_{name}", labels) or 0.0


@asynccontextmanager
async def running(listen: ListenSettings) -> AsyncIterator[Served]:
    async def slow(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(text="slow")

    binder, lane = Binder("edge", listen), Costly()
    binder.routes(web.get("/slow", slow), web.post("/slow", slow), web.get("/operator/x", slow))
    binder.for_operators("/operator/")
    binder.fast_lane(lane)
    async with serving([binder]) as [address]:
        yield Served(address, binder, lane)


@dataclass
class Client:
    """One that asks again whatever it was told, until it shall stop."""

    served: Served
    request: bytes
    said: Counter[int] = field(default_factory=Counter)
    told: set[bytes] = field(default_factory=set)
    stop: bool = False

    async def run(self) -> None:
        address = self.served.address
        while not self.stop:
            reader, writer = await asyncio.open_connection(address.host, address.port)
            try:
                writer.write(self.request)
                while not await self._take(reader) and not self.stop:
                    writer.write(self.request)
            finally:
                writer.close()

    async def _take(self, reader: asyncio.StreamReader) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        body = await reader.readexactly(int(lines[b"Content-Length"]))
        status = int(head.split()[1])
        self.said[status] += 1
        if status == 503:
            assert lines[b"Cache-Control"] == b"no-store"
            assert b'"overloaded"' in body
            self.told.add(lines[b"Retry-After"])
        return lines.get(b"Connection") == b"close"


@asynccontextmanager
async def crowd(served: Served, request: bytes) -> AsyncIterator[list[Client]]:
    clients = [Client(served, request) for _ in range(CLIENTS)]
    async with asyncio.TaskGroup() as tasks:
        for client in clients:
            tasks.create_task(client.run())
        try:
            yield clients
        finally:
            for client in clients:
                client.stop = True
            served.lane.cost_s = 0


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


async def until_shed(served: Served, reason: str, least: int = 20) -> None:
    async def is_shed() -> bool:
        return served.metric("shed_total", reason=reason) >= least

    await eventually(is_shed)


async def test_what_there_is_no_time_for_is_refused_and_the_rest_is_served() -> None:
    async with (
        running(ListenSettings(turn_within=TURN)) as served,
        crowd(served, get("/fast")) as clients,
    ):
        await until_shed(served, "no-time")
        before = sum(client.said[200] for client in clients)

        async def are_served() -> bool:
            return sum(client.said[200] for client in clients) > before + 200

        await eventually(are_served)
        assert served.metric("overloaded") == 1
    told = set().union(*(client.told for client in clients))
    assert told
    assert told <= {b"1", b"2"}
    assert set().union(*(client.said for client in clients)) == {200, 503}
    assert served.metric("requests_total", status="503") >= served.metric(
        "shed_total", reason="no-time"
    )


async def test_who_is_not_even_refused_is_served_once_it_is_over() -> None:
    async with running(ListenSettings(turn_within=TURN)) as served:
        async with crowd(served, get("/fast")):
            await until_shed(served, "unread")
        # Every client has had its answer, or the crowd would not have ended.

        async def is_over() -> bool:
            return served.metric("overloaded") == 0

        await eventually(is_over)
        reader, writer = await asyncio.open_connection(served.address.host, served.address.port)
        writer.write(get("/fast"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        writer.close()


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/operator/x"])
async def test_operators_are_answered_meanwhile(path: str) -> None:
    async with (
        running(ListenSettings(turn_within=TURN)) as served,
        crowd(served, get("/fast")),
    ):
        await until_shed(served, "no-time")
        operator = Client(served, get(path))
        reader, writer = await asyncio.open_connection(served.address.host, served.address.port)
        for _ in range(20):
            writer.write(operator.request)
            await operator._take(reader)
        assert operator.said == {200: 20}
        writer.close()


@pytest.mark.parametrize(
    ("request_", "is_kept"),
    [
        (get("/slow"), True),
        (b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab", True),
        (get("/slow") * 2, False),
    ],
    ids=["a get", "a whole post", "two at once"],
)
async def test_a_refusal_ends_the_connection_only_where_the_request_does_not(
    request_: bytes, is_kept: bool
) -> None:
    async with (
        running(ListenSettings(turn_within=TURN)) as served,
        crowd(served, get("/fast")),
    ):
        await until_shed(served, "no-time")
        head = b""
        while b" 503 " not in head:
            reader, writer = await asyncio.open_connection(served.address.host, served.address.port)
            writer.write(request_)
            head = await reader.readuntil(b"\r\n\r\n")
            writer.close()
        assert (b"Connection: close" in head) is not is_kept


async def test_a_post_with_all_of_its_body_leaves_the_connection_to_the_lane() -> None:
    async with running(ListenSettings()) as served:
        reader, writer = await asyncio.open_connection(served.address.host, served.address.port)
        for _ in range(3):
            writer.write(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab")
            assert (await reader.readuntil(b"slow")).startswith(b"HTTP/1.1 200")
            writer.write(get("/fast"))
            assert (await reader.readuntil(BODY)).startswith(b"HTTP/1.1 200")
        assert served.metric("fast_lane_total") == 3
        writer.close()


async def test_without_a_limit_nobody_is_refused() -> None:
    async with (
        running(ListenSettings(turn_within=Seconds(0))) as served,
        crowd(served, get("/fast")) as clients,
    ):

        async def are_served() -> bool:
            return sum(client.said[200] for client in clients) > 500

        await eventually(are_served)
    assert served.metric("shed_total", reason="no-time") == 0


async def test_who_is_held_back_and_leaves_gives_up_its_place() -> None:
    async with (
        running(ListenSettings(turn_within=TURN)) as served,
        crowd(served, get("/fast")),
    ):
        leaving = []
        while served.metric("shed_total", reason="unread") < 200:
            address = served.address
            for _ in range(20):
                _, writer = await asyncio.open_connection(address.host, address.port)
                writer.write(get("/fast"))
                leaving.append(writer)
        for writer in leaving:
            writer.close()

        async def are_gone() -> bool:
            return served.metric("connections") <= CLIENTS

        await eventually(are_gone, within_s=20)
