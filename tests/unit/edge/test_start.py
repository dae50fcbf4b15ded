"""An edge answers a start call: all at once, in order, and content only to who may read it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from edge.metrics import Outcome
from edge.start.permission import Permission
from kit.clock import SystemClock
from kit.errors import Denied
from manifests import locations
from manifests.documents import parse_head, parse_root
from manifests.lease import HEADER
from manifests.lease_gate import Gate, Revocation
from manifests.lease_service import LEASES_PATH, LeaseAnswer
from manifests.names import TitleId
from manifests.start import (
    Absent,
    Content,
    LeasePart,
    Part,
    Refusal,
    Wish,
    encode_wish,
    start_path,
)
from manifests.start_reader import AnswerReader
from tests.folder_publisher import LIVE, TITLE
from tests.leases import ANN, gate_at, lease_at
from tests.serving import Node, Reply, running_edge
from tests.start_edges import call, contents, edge_before, parts_of, stored
from tests.vouched_edge import BUNDLE_KEY, HEAD_KEY, VouchedWorld

pytestmark = pytest.mark.may_block

OTHER = TitleId("another-title")


@dataclass
class Served:
    world: VouchedWorld
    edge: Node
    origin: Node
    gate: Gate

    def object(self, path: str) -> bytes:
        return self.world.objects[path.lstrip("/")]


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """An edge whose gate knows the key of tests."""
    world = VouchedWorld(tmp_path)
    world.build("one " * 20_000)
    guard = gate_at(SystemClock())
    async with edge_before(await stored(world), tmp_path / "cache", guard=guard) as (edge, origin):
        yield Served(world, edge, origin, guard)


def lease(title: TitleId = TITLE) -> dict[str, str]:
    return {HEADER: lease_at(SystemClock(), title)}


async def test_a_start_brings_trust_root_page_and_first_range_in_this_order(served: Served) -> None:
    parts = parts_of(await call(served.edge, lease()))
    kinds = [part.path.split("/")[3] for part in parts if isinstance(part, Content)]
    assert kinds == ["h", "m", "m", "b"]
    assert len(parts) == 4


async def test_every_part_is_what_its_request_would_have_brought(served: Served) -> None:
    for part in parts_of(await call(served.edge, lease())):
        assert isinstance(part, Content)
        asked = lease()
        if part.span is not None:
            asked["Range"] = f"bytes={part.span[0]}-{part.span[1] - 1}"
        assert (await served.edge.ask(part.path, **asked)).body == part.body


async def test_the_range_is_where_the_first_chunks_are(served: Served) -> None:
    *_, last = parts_of(await call(served.edge, lease()))
    assert isinstance(last, Content)
    assert last.span is not None
    assert last.span[0] == 0
    assert last.body == served.object(last.path)[: last.span[1]]


async def test_an_answer_is_never_cached(served: Served) -> None:
    reply = await call(served.edge, lease())
    assert reply.headers["Cache-Control"] == "no-store"


async def test_without_a_lease_only_what_is_for_anyone_comes(served: Served) -> None:
    found = contents(parts_of(await call(served.edge)))
    assert list(found) == [f"/{BUNDLE_KEY}"]


async def test_a_lease_for_another_title_is_refused_before_anything_is_sent(
    served: Served,
) -> None:
    reply = await call(served.edge, lease(OTHER))
    assert (reply.status, reply.json()["code"]) == (403, "lease-other-title")


async def test_a_lease_that_is_no_lease_is_refused(served: Served) -> None:
    reply = await call(served.edge, {HEADER: "x"})
    assert (reply.status, reply.json()["code"]) == (401, "lease-invalid")


async def test_a_title_that_nobody_published_is_not_found_and_counted(served: Served) -> None:
    statuses = [
        (await call(served.edge, title=TitleId(f"no-{index}"))).status for index in range(140)
    ]
    assert statuses[0] == 404
    assert statuses[-1] == 429


async def test_what_the_console_has_is_not_sent_again(served: Served) -> None:
    wish = encode_wish(Wish(installed=1))
    parts = parts_of(await call(served.edge, lease(), wish=wish))
    assert contents(parts) == {f"/{HEAD_KEY}": served.world.objects[HEAD_KEY]}


async def test_an_older_console_gets_the_head_what_vouches_and_the_root(served: Served) -> None:
    release = served.world.build("two " * 20_000)
    storage = await stored(served.world)
    async with edge_before(storage, served.world.folder / "cache-2") as (edge, _):
        parts = parts_of(await call(edge, wish=encode_wish(Wish(installed=1))))
    found = contents(parts)
    assert parse_head(found[f"/{HEAD_KEY}"], TITLE, LIVE).release == release
    root = locations.manifest_key(TITLE, release.root.raw_digest)
    assert list(found) == [f"/{HEAD_KEY}", f"/{BUNDLE_KEY}", f"/{root}"]


async def test_many_starts_at_once_cost_the_origin_one_fetch_of_each_object(
    served: Served,
) -> None:
    await asyncio.gather(*(call(served.edge, lease()) for _ in range(20)))
    asked = served.origin.metric("playhead_origin_http_requests_total", status="200")
    # head, trust bundle, root, page, slice list, slice
    assert asked == 6


async def test_an_answer_ends_where_a_build_cannot_be_followed_any_further(
    tmp_path: Path,
) -> None:
    world = VouchedWorld(tmp_path)
    release = world.build("one " * 20_000)
    root_key = locations.manifest_key(TITLE, release.root.raw_digest)
    root = parse_root(world.objects[root_key], release.root.raw_digest, TITLE)
    del world.objects[locations.manifest_key(TITLE, root.groups[0].pages[0].raw_digest)]
    async with edge_before(await stored(world), tmp_path / "cache") as (edge, _):
        parts = parts_of(await call(edge))
    assert list(contents(parts)) == [f"/{BUNDLE_KEY}", f"/{root_key}"]


async def test_what_is_not_there_is_said_to_be_absent(tmp_path: Path) -> None:
    world = VouchedWorld(tmp_path)
    world.build("one " * 20_000)
    for key in [key for key in world.objects if "/b/" in key]:
        del world.objects[key]
    async with edge_before(await stored(world), tmp_path / "cache") as (edge, _):
        parts = parts_of(await call(edge))
    assert [type(part) for part in parts] == [Content, Content, Content, Absent]


@pytest.mark.parametrize("wish", [b"", b"{}x", b'{"format":2}', b'{"other":1}', b" " * 300])
async def test_a_wish_that_is_none_is_refused(served: Served, wish: bytes) -> None:
    reply = await call(served.edge, lease(), wish=wish)
    assert reply.status in {413, 422}


async def test_a_start_is_no_get(served: Served) -> None:
    assert (await served.edge.ask(f"/t/{TITLE}/h/{LIVE}/start")).status == 404


@dataclass
class Service:
    """An entitlement service that knows one player, and what it was asked."""

    url: str = ""
    title: TitleId = TITLE
    status: int = 200
    bearers: list[str] = field(default_factory=list)
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared, it waits."""

    def __post_init__(self) -> None:
        self.answers.set()

    async def answer(self, request: web.Request) -> web.Response:
        self.bearers.append(request.headers["Authorization"])
        assert await request.json() == {"title": TITLE}
        await self.answers.wait()
        if self.status != 200:
            problem = {"code": "not-owned", "detail": "buy it first"}
            return web.json_response(problem, status=self.status)
        lease = lease_at(SystemClock(), self.title)
        return web.json_response({"lease": lease, "title": TITLE, "expires_in_s": 900})


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    app, found = web.Application(), Service()
    app.router.add_post(LEASES_PATH, found.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


@pytest.fixture
async def minting(served: Served, service: Service, tmp_path: Path) -> AsyncIterator[Served]:
    """The same, before an edge that gets leases for players."""
    gate = gate_at(SystemClock())
    async with running_edge(
        tmp_path / "minting", served.origin.url, guard=gate, entitlement=service.url
    ) as edge:
        yield Served(served.world, edge, served.origin, gate)


PLAYER = {"Authorization": "Bearer the-players-token"}


async def test_a_player_who_says_who_it_is_gets_lease_and_content(
    minting: Served, service: Service
) -> None:
    parts = parts_of(await call(minting.edge, PLAYER))
    leases = [part for part in parts if isinstance(part, LeasePart)]
    assert [part.expires_in_s for part in leases] == [900]
    minting.gate.check(leases[0].lease, TITLE)
    assert [path.split("/")[3] for path in contents(parts)] == ["h", "m", "m", "b"]
    assert parts.index(leases[0]) < 2
    assert service.bearers == ["Bearer the-players-token"]


def refused(reply: Reply) -> str:
    """Return why no content came, be it the whole answer or behind what is for anyone."""
    if reply.status != 200:
        assert reply.status == 403
        return str(reply.json()["code"])
    parts = parts_of(reply)
    assert list(contents(parts)) == [f"/{BUNDLE_KEY}"]
    [refusal] = [part for part in parts if isinstance(part, Refusal)]
    return refusal.code


async def test_a_player_who_does_not_own_it_gets_no_content(
    minting: Served, service: Service
) -> None:
    service.status = 403
    assert refused(await call(minting.edge, PLAYER)) == "denied"


async def test_a_refusal_that_comes_late_is_said_behind_what_was_sent(
    minting: Served, service: Service
) -> None:
    service.status = 403
    service.answers.clear()
    url = minting.edge.url + start_path(TITLE, LIVE)
    async with minting.edge.session.post(url, data=b"{}", headers=PLAYER) as answer:
        reader, parts = AnswerReader(TITLE, LIVE), list[Part]()
        async for piece in answer.content.iter_any():
            parts += reader.feed(piece)
            if parts:
                service.answers.set()
    assert [type(part) for part in parts] == [Content, Refusal]
    assert parts[-1] == Refusal(403, "denied", "buy it first")
    assert minting.edge.metric("playhead_edge_starts_total", outcome="refused") == 1


async def test_a_refusal_that_is_known_before_anything_is_sent_is_the_answer() -> None:
    async def refusing() -> LeaseAnswer:
        raise Denied("buy it first")

    lease = asyncio.create_task(refusing())
    await asyncio.wait([lease])
    with pytest.raises(Denied, match="buy it first"):
        Permission(Outcome.OPEN, lease).refuse_early()


async def test_a_lease_that_was_revoked_meanwhile_opens_nothing(minting: Served) -> None:
    later = int(SystemClock().now() * 1e3) + 60_000
    minting.gate.use_revocations([Revocation(ANN, TITLE, later)])
    assert refused(await call(minting.edge, PLAYER)) == "lease-revoked"


async def test_a_lease_for_another_title_that_the_service_gives_opens_nothing(
    minting: Served, service: Service
) -> None:
    service.title = OTHER
    assert refused(await call(minting.edge, PLAYER)) == "lease-other-title"


async def test_without_the_service_what_is_for_anyone_comes_all_the_same(
    minting: Served, service: Service
) -> None:
    service.status = 503
    parts = parts_of(await call(minting.edge, PLAYER))
    assert list(contents(parts)) == [f"/{BUNDLE_KEY}"]
    assert len(parts) == 1


async def test_an_edge_without_a_service_does_nothing_with_a_players_token(
    served: Served,
) -> None:
    assert len(parts_of(await call(served.edge, PLAYER))) == 1


async def test_a_players_token_is_in_no_line_of_log(
    minting: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    await call(minting.edge, PLAYER)
    said = capsys.readouterr()
    assert "start" in said.out + said.err
    assert "the-players-token" not in said.out + said.err
