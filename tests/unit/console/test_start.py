"""A console that starts: one request brings what it asks for at first, and nothing is believed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from console.edge_memory import LACKS_START_FOR_S, EdgeMemory
from console.leases import GrantedLease
from console.platform_api import Console
from console.settings import ConsoleSettings, TrustSettings
from console.start import HEDGE_AFTER_S
from kit.clock import ManualClock
from kit.http_client import HttpClient
from kit.http_settings import ClientSettings
from kit.units import Seconds
from manifests.names import TitleId
from manifests.start import Absent, Content, Part, answer_header, encode_end, encode_part
from tests.consoles import impatient_settings
from tests.counted_connections import counted
from tests.faulty_edge import FaultyEdge, serving_faulty
from tests.folder_publisher import LIVE, TITLE
from tests.leases import AnyLease
from tests.serving import Node
from tests.start_edges import call, edge_before, parts_of, stored
from tests.vouched_edge import VouchedWorld

pytestmark = pytest.mark.may_block

Change = Callable[[list[Part]], bytes]


@dataclass
class Stage:
    """A vouched title, a real edge before it, and a front that answers start calls as told."""

    world: VouchedWorld
    edge: Node

    @property
    def front(self) -> FaultyEdge:
        return self.world.edge

    @property
    def game(self) -> Path:
        return self.world.game

    def settings(self, *urls: str) -> ConsoleSettings:
        return impatient_settings(
            *(urls or (self.front.url,)),
            trust=TrustSettings(root=self.world.root),
            http=ClientSettings(stall_after=Seconds(1), connect_within=Seconds(1)),
        )

    @asynccontextmanager
    async def console(self, *urls: str) -> AsyncIterator[Console]:
        settings = self.settings(*urls)
        async with HttpClient(settings.http) as http:
            yield Console(settings, http, AnyLease(), self.world.clock)

    async def answering(self, change: Change) -> None:
        """Have the front answer start calls with what ``change`` makes of the right parts."""
        parts = parts_of(await call(self.edge))

        async def answer(_request: web.Request, _body: bytes) -> web.Response:
            return web.Response(body=change(parts))

        self.front.start = answer

    async def install(self) -> tuple[list[str], int]:
        """Install through the front; return what was asked for singly, and how much failed."""
        async with self.console() as console:
            report = await console.install(TITLE, self.game, channel=LIVE)
        assert report.requests == len(self.front.asked) + len(self.front.starts)
        assert self.world.text == "one " * 20_000
        return self.world.asked(), report.failed_requests


@dataclass
class NumberedLeases:
    """Gives leases to anyone, and counts them."""

    given: int = 0

    async def lease(self, title: TitleId) -> GrantedLease:
        self.given += 1
        return GrantedLease(f"lease-{self.given}-for-{title}", 900)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    world = VouchedWorld(tmp_path)
    world.build("one " * 20_000)
    async with (
        edge_before(await stored(world), tmp_path / "cache") as (edge, _),
        serving_faulty(world.edge),
    ):
        yield Stage(world, edge)


def whole(parts: list[Part]) -> bytes:
    return answer_header() + b"".join(map(encode_part, parts)) + encode_end()


async def test_a_fresh_install_is_one_request(stage: Stage) -> None:
    async with stage.console(stage.edge.url) as console:
        report = await console.install(TITLE, stage.game, channel=LIVE)
    assert stage.world.text == "one " * 20_000
    assert (report.requests, report.failed_requests, report.hedged_requests) == (1, 0, 0)
    assert report.plan.download_bytes == sum(
        len(part.body)
        for part in parts_of(await call(stage.edge))
        if isinstance(part, Content) and part.span is not None
    )


async def test_every_byte_of_the_answer_is_counted(stage: Stage) -> None:
    answer = await call(stage.edge)
    async with stage.console(stage.edge.url) as console:
        report = await console.install(TITLE, stage.game, channel=LIVE)
    assert report.received_bytes == len(answer.body)


async def test_an_update_is_told_what_it_needs_in_one_request(stage: Stage) -> None:
    async with stage.console() as console:
        await console.install(TITLE, stage.game, channel=LIVE)
    stage.world.build("two " * 20_000)
    async with (
        edge_before(await stored(stage.world), stage.world.folder / "cache-2") as (edge, _),
        stage.console(edge.url) as console,
    ):
        report = await console.update(stage.game)
    assert stage.world.text == "two " * 20_000
    assert report.requests == 3  # the start, the page, the range


async def test_an_update_to_nothing_new_is_one_small_request(stage: Stage) -> None:
    async with stage.console(stage.edge.url) as console:
        await console.install(TITLE, stage.game, channel=LIVE)
        report = await console.update(stage.game)
    assert report.requests == 1
    assert report.received_bytes < 2000


async def test_an_edge_that_has_never_heard_of_it_costs_one_request_once(stage: Stage) -> None:
    async with stage.console() as console:
        await console.install(TITLE, stage.game, channel=LIVE)
        assert len(stage.front.starts) == 1
        report = await console.install(TITLE, stage.world.folder / "again", channel=LIVE)
    assert len(stage.front.starts) == 1
    assert report.failed_requests == 0


def test_an_edge_is_asked_again_after_a_day() -> None:
    clock = ManualClock()
    memory = EdgeMemory(clock)
    memory.note_no_start("http://edge")
    assert not memory.may_know_start("http://edge")
    assert memory.may_know_start("http://other")
    clock.advance(LACKS_START_FOR_S)
    assert memory.may_know_start("http://edge")


async def test_what_is_absent_is_asked_for_singly(stage: Stage) -> None:
    await stage.answering(
        lambda parts: whole(
            [Absent(p.path, p.span) if isinstance(p, Content) else p for p in parts]
        )
    )
    asked, failed = await stage.install()
    assert [path.split("/")[2] for path in asked] == ["h", "m", "m", "b"]
    assert failed == 0


async def test_an_answer_cut_short_is_gone_on_with_singly(stage: Stage) -> None:
    await stage.answering(lambda parts: whole(parts)[:-20])
    asked, failed = await stage.install()
    assert [path.split("/")[2] for path in asked] == ["b"]
    assert failed == 1


@pytest.mark.parametrize("index", range(4))
async def test_a_part_that_is_wrong_is_asked_for_singly(stage: Stage, index: int) -> None:
    def flipped(parts: list[Part]) -> bytes:
        wrong = parts[index]
        assert isinstance(wrong, Content)
        body = bytearray(wrong.body)
        body[len(body) // 2] ^= 1
        changed = [
            *parts[:index],
            Content(wrong.path, wrong.span, bytes(body)),
            *parts[index + 1 :],
        ]
        return whole(changed)

    await stage.answering(flipped)
    asked, failed = await stage.install()
    assert len(asked) == 4 - index, "nothing more of that answer is used"
    assert failed == 1


async def test_an_answer_that_never_ends_is_given_up(stage: Stage) -> None:
    async def endless(request: web.Request, _body: bytes) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(answer_header())
        while True:
            await asyncio.sleep(0.01)
            await response.write(b"\0")

    stage.front.start = endless
    asked, failed = await stage.install()
    assert len(asked) == 4
    assert failed == 1


async def silent(_request: web.Request, _body: bytes) -> web.StreamResponse:
    await asyncio.sleep(3600)
    raise AssertionError


async def test_the_next_edge_is_asked_too_if_the_first_does_not_begin(stage: Stage) -> None:
    stage.front.start = silent
    async with stage.console(stage.front.url, stage.edge.url) as console:
        report = await console.install(TITLE, stage.game, channel=LIVE)
    assert stage.world.text == "one " * 20_000
    assert (report.requests, report.hedged_requests) == (2, 1)
    assert report.first_chunk_s is not None
    assert report.first_chunk_s > HEDGE_AFTER_S
    assert stage.world.asked() == []


async def test_an_edge_that_begins_in_time_has_no_second_asked(stage: Stage) -> None:
    stage.front.start = silent
    async with stage.console(stage.edge.url, stage.front.url) as console:
        report = await console.install(TITLE, stage.game, channel=LIVE)
    assert (report.requests, report.hedged_requests, stage.front.starts) == (1, 0, [])


async def test_a_first_edge_that_is_down_is_no_reason_to_wait(stage: Stage) -> None:
    async def broken(_request: web.Request, _body: bytes) -> web.StreamResponse:
        return web.Response(status=503)

    stage.front.start = broken
    async with stage.console(stage.front.url, stage.edge.url) as console:
        report = await console.install(TITLE, stage.game, channel=LIVE)
    assert (report.requests, report.failed_requests, report.hedged_requests) == (2, 1, 0)


async def test_a_plan_costs_no_start(stage: Stage) -> None:
    async with stage.console() as console:
        await console.plan(TITLE, stage.game, channel=LIVE)
    assert stage.front.starts == []


async def test_a_refusal_leaves_the_last_word_to_who_gives_leases(stage: Stage) -> None:
    async def refusing(_request: web.Request, _body: bytes) -> web.StreamResponse:
        problem = {"code": "denied", "detail": "not yours"}
        return web.json_response(problem, status=403, content_type="application/problem+json")

    stage.front.start = refusing
    asked, failed = await stage.install()
    assert len(asked) == 4
    assert failed == 0


async def test_one_connection_does_for_all_that_a_start_brings_and_for_the_next(
    stage: Stage,
) -> None:
    async with counted(stage.edge.url) as door, stage.console(door.url) as console:
        await console.install(TITLE, stage.game, channel=LIVE)
        assert door.accepted == 1
        await console.update(stage.game)
        await console.install(TITLE, stage.world.folder / "again", channel=LIVE)
    assert door.accepted == 1


async def test_the_next_operation_shows_the_lease_of_the_last(stage: Stage) -> None:
    source = NumberedLeases()
    async with (
        HttpClient(stage.settings(stage.edge.url).http) as http,
    ):
        console = Console(stage.settings(stage.edge.url), http, source, stage.world.clock)
        await console.install(TITLE, stage.game, channel=LIVE)
        await console.install(TITLE, stage.world.folder / "again", channel=LIVE)
    assert source.given == 1
