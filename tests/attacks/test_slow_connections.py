"""Clients that are slow on purpose, against a listener with a fast lane and one without.

Each attack ends by itself, within the time that is given to whoever is slow, and somebody else is
answered meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

import pytest
from aiohttp import web

from kit.http_head import Head
from kit.http_settings import ListenSettings
from kit.lane import Answer
from kit.service import Address, Binder, serving
from kit.units import Seconds
from tests.polling import eventually

BODY = bytes(1 << 20)
ENTIRE = b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n"
LISTEN = ListenSettings(
    head_within=Seconds(0.3),
    close_idle_after=Seconds(60),
    drop_stalled_after=Seconds(0.4),
    connections_max=300,
)


class Lane:
    def answer(self, head: Head, *, by_file: bool) -> Answer | None:
        if head.target != b"/page":
            return None
        return Answer(200, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY), BODY)


@dataclass
class Served:
    address: Address
    binder: Binder

    def closed(self, reason: str) -> float:
        name = "playhead_edge_http_connections_closed_total"
        return self.binder.registry.get_sample_value(name, {"reason": reason}) or 0.0

    @property
    def connections(self) -> float:
        return self.binder.registry.get_sample_value("playhead_edge_http_connections") or 0.0

    async def answers(self) -> None:
        """Ask as anybody else does, and be answered."""
        reader, writer = await self.connect()
        writer.write(ENTIRE)
        async with asyncio.timeout(5):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(len(BODY)) == BODY
        writer.close()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self.address.host, self.address.port)


@pytest.fixture(params=[True, False], ids=["lane", "no lane"])
async def served(request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    async def page(_: web.Request) -> web.Response:
        return web.Response(body=BODY)

    binder = Binder("edge", LISTEN)
    binder.routes(web.get("/page", page), web.get("/other", page))
    if request.param:
        binder.fast_lane(Lane())
    async with serving([binder]) as [address]:
        yield Served(address, binder)


@asynccontextmanager
async def attackers(
    served: Served, count: int
) -> AsyncIterator[list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]:
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(count):
            reader, writer = await served.connect()
            stack.callback(writer.close)
            made.append((reader, writer))
        yield made


async def is_over(reader: asyncio.StreamReader) -> bool:
    with suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(0.001):
            while await reader.read(1 << 20):
                pass
        return True
    return reader.at_eof() or reader.exception() is not None


@pytest.mark.parametrize(
    ("begun", "piece"),
    [
        (b"", b"G"),
        (b"GET /page HTTP/1.1\r\nHost: x\r\n", b"X-A: b\r\n"),
        (b"GET /page HTTP/1.1\nHost: x\n", b"X-A: b\n"),
        (b"GET /page HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 5000, b"a"),
        (b"DELETE /page HTTP/1.0\r\n", b"X-A: b\r\n"),
        (ENTIRE * 2 + b"GET /pa", b"g"),
        (ENTIRE * 2 + b"GET /page HTTP/1.1\r\nHost: x\r\n", b"X-A: b\r\n"),
    ],
    ids=["letters", "lines", "bare lines", "a long head", "another method", "after two", "amid"],
)
async def test_a_head_that_never_ends_is_hung_up_on_in_the_time_of_a_head(
    served: Served, begun: bytes, piece: bytes
) -> None:
    async with attackers(served, 20) as slow:
        for _, writer in slow:
            writer.write(begun)

        async def are_over() -> bool:
            await served.answers()
            for _, writer in slow:
                if not writer.is_closing():
                    writer.write(piece)
            return all([await is_over(reader) for reader, _ in slow])

        await eventually(are_over, within_s=5)
    await served.answers()


@pytest.mark.parametrize(
    "asked",
    [ENTIRE * 8, ENTIRE.replace(b"page", b"other") * 8, ENTIRE],
    ids=["many", "many of aiohttp", "some"],
)
async def test_who_asks_and_never_reads_is_dropped(served: Served, asked: bytes) -> None:
    async with attackers(served, 10) as slow:
        for reader, writer in slow:
            reader._transport.pause_reading()  # type: ignore[attr-defined]
            for _ in range(20):
                writer.write(asked)

        async def are_dropped() -> bool:
            await served.answers()
            return served.connections <= 1

        await eventually(are_dropped, within_s=8)


async def test_more_connections_than_there_may_be_leave_those_that_are_open(
    served: Served,
) -> None:
    reader, writer = await served.connect()
    async with AsyncExitStack() as stack:
        for _ in range(1000):
            _, other = await served.connect()
            stack.callback(other.close)

        async def are_shed() -> bool:
            return served.closed("shed") >= 701

        await eventually(are_shed)
        writer.write(ENTIRE)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert served.connections == LISTEN.connections_max
    writer.close()

    async def are_gone() -> bool:
        return served.connections == 0

    await eventually(are_gone)
    await served.answers()
