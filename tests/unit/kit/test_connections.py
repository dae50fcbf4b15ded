"""Connections of a listener: how many, for how long, and who answers what comes over them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from kit.buffers import Buffer
from kit.errors import Unavailable
from kit.http_head import Head
from kit.http_settings import ListenSettings
from kit.lane import Answer, Piece, Rest
from kit.service import Address, Binder, serving
from kit.units import Seconds
from tests.polling import eventually

PIECE = bytes(range(256)) * 1024
HURRIED = ListenSettings(
    head_within=Seconds(0.2), close_idle_after=Seconds(0.6), drop_stalled_after=Seconds(0.3)
)


@dataclass
class Pieces:
    """Yields ``pieces``; those that are awaited come when ``may_go`` is set."""

    pieces: list[Piece | None]
    after: list[Buffer | Exception] = field(default_factory=list)
    may_go: asyncio.Event = field(default_factory=asyncio.Event)

    def now(self) -> Piece | None:
        return self.pieces.pop(0) if self.pieces else b""

    async def later(self) -> Buffer:
        await self.may_go.wait()
        piece = self.after.pop(0)
        if isinstance(piece, Exception):
            raise piece
        return piece


class SomeLane:
    """Answers paths below ``/fast`` with what it was given."""

    def __init__(self) -> None:
        self.rest: Callable[[], Rest | None] = lambda: None
        self.size = 0
        self.first: Piece | None = None
        self.asked: list[bytes] = []

    def answer(self, head: Head, *, by_file: bool) -> Answer | None:
        if not head.target.startswith(b"/fast"):
            return None
        self.asked.append(head.target)
        size = self.size or len(PIECE)
        told = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nServer: lane\r\n\r\n" % size
        return Answer(200, told, self.first or PIECE[:size], self.rest())


@dataclass
class Served:
    address: Address
    binder: Binder
    lane: SomeLane

    def metric(self, name: str, **labels: str) -> float:
        return self.binder.registry.get_sample_value(f"playhead_edge_{name}", labels) or 0.0


@asynccontextmanager
async def running(listen: ListenSettings) -> AsyncIterator[Served]:
    async def slow(_: web.Request) -> web.Response:
        return web.Response(text="aiohttp")

    binder, lane = Binder("edge", listen), SomeLane()
    binder.routes(web.get("/slow", slow), web.post("/slow", slow))
    binder.fast_lane(lane)
    async with serving([binder]) as [address]:
        yield Served(address, binder, lane)


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, path: str) -> tuple[str, bytes]:
        """Return who answered, and the body."""
        self.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
        return await self.take()

    def send(self, text: str) -> None:
        self.writer.write(text.encode())

    async def take(self) -> tuple[str, bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:-2])
        return fields["server"], await self.reader.readexactly(int(fields["content-length"]))

    async def is_hung_up_on(self) -> bool:
        try:
            return await self.reader.read() == b""
        except ConnectionError:
            return True


@asynccontextmanager
async def client(served: Served) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(served.address.host, served.address.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


async def test_both_lanes_take_turns_on_one_connection() -> None:
    async with running(ListenSettings()) as served, client(served) as ours:
        for _ in range(3):
            assert await ours.ask("/fast") == ("lane", PIECE)
            assert await ours.ask("/slow") == ("playhead", b"aiohttp")
        assert served.metric("http_fast_lane_total") == 3
        assert served.metric("http_requests_total", status="200") == 6


async def test_requests_sent_at_once_are_answered_in_their_order() -> None:
    async with running(ListenSettings()) as served, client(served) as ours:
        ours.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        assert [await ours.take() for _ in range(2)] == [("playhead", b"aiohttp")] * 2


async def test_what_is_sent_before_the_answer_is_complete_waits_its_turn() -> None:
    async with running(ListenSettings()) as served, client(served) as ours:
        rest = Pieces([None], [PIECE])
        served.lane.size = 2 * len(PIECE)
        served.lane.rest = lambda: rest
        ours.send("GET /fast HTTP/1.1\r\nHost: x\r\n\r\n")
        await ours.reader.readuntil(b"\r\n\r\n")
        assert await ours.reader.readexactly(len(PIECE)) == PIECE
        ours.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        rest.may_go.set()
        assert await ours.reader.readexactly(len(PIECE)) == PIECE
        assert await ours.take() == ("playhead", b"aiohttp")


@pytest.mark.parametrize("size", [1, 7, 30])
async def test_a_head_may_come_in_pieces(size: int) -> None:
    async with running(ListenSettings()) as served, client(served) as ours:
        head = "GET /fast HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1\r\n\r\n"
        for at in range(0, len(head), size):
            ours.send(head[at : at + size])
            await ours.writer.drain()
            await asyncio.sleep(0)
        assert await ours.take() == ("lane", PIECE)


async def test_a_slow_client_gets_all_of_a_long_answer() -> None:
    pieces: list[Piece | None] = [PIECE] * 64
    async with running(ListenSettings()) as served, client(served) as ours:
        served.lane.size = len(PIECE)
        served.lane.rest = lambda: Pieces(pieces)
        ours.send("GET /fast HTTP/1.1\r\nHost: x\r\n\r\n")
        await ours.reader.readuntil(b"\r\n\r\n")
        for _ in range(65):
            assert await ours.reader.readexactly(len(PIECE)) == PIECE
        assert not pieces


async def test_who_takes_nothing_is_dropped_and_its_place_is_free() -> None:
    async with running(HURRIED) as served, client(served) as ours:
        served.lane.rest = lambda: Pieces([PIECE] * 1000)
        ours.send("GET /fast HTTP/1.1\r\nHost: x\r\n\r\n")

        async def is_dropped() -> bool:
            return served.metric("http_connections_closed_total", reason="stalled") == 1

        await eventually(is_dropped)
        await eventually(lambda: _is(served.metric("http_requests_running"), 0))
        assert served.metric("http_requests_total", status="499") == 1


async def test_an_answer_whose_rest_cannot_be_had_is_cut_short() -> None:
    async with running(ListenSettings()) as served, client(served) as ours:
        rest = Pieces([None], [Unavailable("gone")])
        rest.may_go.set()
        served.lane.size = 2 * len(PIECE)
        served.lane.rest = lambda: rest
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await ours.ask("/fast")
        await eventually(lambda: _is(served.metric("http_requests_running"), 0))


@dataclass
class Span:
    """A span of an open file."""

    file: int
    offset: int
    end: int
    holds: bool = True
    closed_count: int = 0

    def close(self) -> bool:
        self.closed_count += 1
        return self.holds


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "segment"
    path.write_bytes(PIECE * 64)
    number = os.open(path, os.O_RDONLY)
    yield number
    os.close(number)


async def test_spans_of_a_file_are_sent_whole_to_a_slow_client_and_closed_once(file: int) -> None:
    size = len(PIECE)
    spans = [Span(file, at * size, (at + 16) * size) for at in range(0, 64, 16)]
    async with running(ListenSettings()) as served, client(served) as ours:
        served.lane.rest = lambda: Pieces([*spans[1:], PIECE])
        served.lane.first = spans[0]
        ours.send("GET /fast HTTP/1.1\r\nHost: x\r\n\r\n")
        await ours.reader.readuntil(b"\r\n\r\n")
        for _ in range(65):
            assert await ours.reader.readexactly(size) == PIECE
        assert await ours.ask("/slow") == ("playhead", b"aiohttp")
    assert [span.closed_count for span in spans] == [1, 1, 1, 1]
    assert served.metric("http_requests_running") == 0


async def test_an_answer_whose_blob_was_dropped_while_it_was_sent_is_cut_off(file: int) -> None:
    span = Span(file, 0, len(PIECE), holds=False)
    async with running(ListenSettings()) as served, client(served) as ours:
        served.lane.first = span
        served.lane.rest = lambda: Pieces([PIECE])
        served.lane.size = 2 * len(PIECE)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await ours.ask("/fast")
        await eventually(lambda: _is(served.metric("http_requests_running"), 0))
    assert span.closed_count == 1


async def test_a_client_that_leaves_amid_a_span_leaves_nothing_behind(file: int) -> None:
    span = Span(file, 0, 64 * len(PIECE))
    before = open_files()
    async with running(ListenSettings()) as served:
        async with client(served) as ours:
            served.lane.first = span
            ours.send("GET /fast HTTP/1.1\r\nHost: x\r\n\r\n")
            await ours.reader.readuntil(b"\r\n\r\n")
        await eventually(lambda: _is(span.closed_count, 1))
        await eventually(lambda: _is(served.metric("http_requests_running"), 0))
    await eventually(lambda: _is(open_files(), before))


async def test_who_takes_nothing_of_a_span_is_dropped(file: int) -> None:
    span = Span(file, 0, 64 * len(PIECE))
    async with running(HURRIED) as served, client(served) as ours:
        served.lane.first = span
        ours.send("GET /fast HTTP/1.1\r\nHost: x\r\n\r\n")
        await eventually(
            lambda: _is(served.metric("http_connections_closed_total", reason="stalled"), 1)
        )
        await eventually(lambda: _is(span.closed_count, 1))


async def test_one_connection_too_many_is_shed_and_a_place_that_is_left_is_taken() -> None:
    async with running(ListenSettings(connections_max=2)) as served:
        async with client(served) as first, client(served) as second:
            assert await first.ask("/slow") == await second.ask("/slow")
            async with client(served) as third:
                assert await third.is_hung_up_on()
            assert await first.ask("/fast") == ("lane", PIECE)
            assert served.metric("http_connections") == 2
        assert served.metric("http_connections_closed_total", reason="shed") == 1

        async def is_free() -> bool:
            return served.metric("http_connections") == 0

        await eventually(is_free)
        async with client(served) as fourth:
            assert await fourth.ask("/slow") == ("playhead", b"aiohttp")


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ("", "idle"),
        ("G", "slow-head"),
        ("GET /fast HTTP/1.1\r\nHost: x\r\n", "slow-head"),
        ("POST /slow HTTP/1.1\r\nHost: x\r\nContent-Le", "slow-head"),
    ],
)
async def test_who_does_not_come_to_the_point_is_hung_up_on(sent: str, reason: str) -> None:
    async with running(HURRIED) as served, client(served) as ours:
        ours.send(sent)
        assert await ours.is_hung_up_on()
        assert served.metric("http_connections_closed_total", reason=reason) == 1


async def test_a_head_that_drips_is_not_given_more_time_by_dripping() -> None:
    async with running(HURRIED) as served, client(served) as ours:
        ours.send("GET /fast HTTP/1.1\r\nHost: x\r\n")

        async def is_over() -> bool:
            ours.send("X: y\r\n")
            return served.metric("http_connections_closed_total", reason="slow-head") == 1

        await eventually(is_over, within_s=2)


async def test_a_busy_process_answers_in_neither_lane() -> None:
    async with (
        running(ListenSettings(requests_max=1)) as served,
        client(served) as first,
        client(served) as second,
    ):
        rest = Pieces([None], [PIECE])
        served.lane.size = 2 * len(PIECE)
        served.lane.rest = lambda: rest
        first.send("GET /fast HTTP/1.1\r\nHost: x\r\n\r\n")
        await first.reader.readuntil(b"\r\n\r\n")
        second.send("GET /fast HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await second.reader.readline()).startswith(b"HTTP/1.1 503")
        rest.may_go.set()
        await first.reader.readexactly(2 * len(PIECE))


async def test_draining_finishes_an_answer_of_the_lane() -> None:
    rest = Pieces([None], [PIECE])
    async with running(ListenSettings()) as served:
        reader, writer = await asyncio.open_connection(
            served.address.host, served.address.port, limit=1 << 20
        )
        served.lane.size = 2 * len(PIECE)
        served.lane.rest = lambda: rest
        writer.write(b"GET /fast HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        asyncio.get_running_loop().call_later(0.1, rest.may_go.set)
    assert await reader.read() == 2 * PIECE
    writer.close()


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def _is(value: Any, expected: Any) -> bool:
    return bool(value == expected)
