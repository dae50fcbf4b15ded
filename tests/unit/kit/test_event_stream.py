"""Following a stream: connected again whenever it breaks; how long it is silent is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from aiohttp import web

from kit.clock import ManualClock
from kit.errors import FormatError
from kit.event_stream import EventStream
from kit.http_client import HttpClient
from kit.http_settings import ClientSettings
from kit.server_sent_events import BEAT, ServerEvent
from kit.units import Seconds
from tests.polling import eventually


class Source:
    """Sends each connection what it is told to, and ends it."""

    def __init__(self) -> None:
        self.answers: list[bytes | int] = []
        self.connections = 0
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.connections += 1
        said = self.answers.pop(0) if self.answers else 503
        if isinstance(said, int):
            return web.Response(status=said)
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(said)
        return response

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_get("/feed", self.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/feed"
        try:
            yield
        finally:
            await runner.cleanup()


@asynccontextmanager
async def following(
    source: Source, clock: ManualClock
) -> AsyncIterator[tuple[EventStream, list[str]]]:
    heard: list[str] = []

    def take(event: ServerEvent) -> None:
        if event.name == "wrong":
            raise FormatError("not for us")
        heard.append(event.name)

    async with source.serving(), HttpClient(ClientSettings(stall_after=Seconds(2))) as client:
        stream = EventStream(source.url, client, headers=dict, clock=clock, random=Random(1))
        task = asyncio.create_task(stream.follow(take))
        try:
            yield stream, heard
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_it_goes_on_after_refusals_breaks_and_nonsense() -> None:
    source, clock = Source(), ManualClock()
    one, two, wrong = (ServerEvent(name, b"{}").encode() for name in ("one", "two", "wrong"))
    source.answers = [403, one, b"<html>\n\n", 404, wrong, two]
    async with following(source, clock) as (_, heard):

        async def has_both() -> bool:
            return heard == ["one", "two"]

        await eventually(has_both)


async def test_silence_is_told_from_the_last_sign_of_life() -> None:
    source, clock = Source(), ManualClock()
    source.answers = [BEAT]
    async with following(source, clock) as (stream, _):

        async def is_heard() -> bool:
            return stream.silent_s() == 0

        await eventually(is_heard)
        clock.advance(7)
        assert stream.silent_s() == 7


async def test_a_source_that_was_never_heard_is_silent_for_ever() -> None:
    stream = EventStream(
        "http://127.0.0.1:9",
        HttpClient(ClientSettings()),
        headers=dict,
        clock=ManualClock(),
        random=Random(1),
    )
    assert stream.silent_s() == float("inf")
