"""A console's leases: got once, renewed in time, replaced when refused, and ended by a denial."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from console.entitlement import EntitlementClient
from console.leases import RENEW_AT, TRUSTED_FOR_S, GrantedLease, Leases
from console.permits import LeaseRefused
from console.platform_api import Console
from kit.clock import ManualClock, SystemClock
from kit.errors import Denied, PlayheadError, SettingsError, Unavailable
from kit.http_client import HttpClient
from kit.http_settings import ClientSettings
from manifests.lease import HEADER
from manifests.names import TitleId
from tests.believing import BelievingHeads
from tests.consoles import differences, impatient_settings
from tests.faulty_edge import Asked, FaultyEdge, serving_faulty
from tests.folder_publisher import LIVE, TITLE, FolderPublisher
from tests.polling import eventually
from tests.trees import write_tree

GAME = TitleId("game")
LASTS_S = 900.0


@dataclass
class Source:
    """Gives numbered leases, or raises what it was told to, the first first."""

    errors: list[PlayheadError] = field(default_factory=list)
    asked: int = 0

    async def lease(self, title: TitleId) -> GrantedLease:
        self.asked += 1
        await asyncio.sleep(0)
        if self.errors:
            raise self.errors.pop(0)
        return GrantedLease(f"{title}-{self.asked}", LASTS_S)


def leases_of(source: Source, clock: ManualClock) -> Leases:
    return Leases(source, impatient_settings("http://edge"), clock)


async def test_many_requests_share_one_lease() -> None:
    source = Source()
    leases = leases_of(source, ManualClock())
    tokens = await asyncio.gather(*(leases.token(GAME) for _ in range(20)))
    assert set(tokens) == {"game-1"}
    assert source.asked == 1


async def test_a_lease_is_renewed_before_it_ends_while_the_old_one_is_used() -> None:
    source, clock = Source(), ManualClock()
    leases = leases_of(source, clock)
    await leases.token(GAME)
    clock.advance(RENEW_AT * LASTS_S)
    assert await leases.token(GAME) == "game-1"

    async def is_renewed() -> bool:
        return await leases.token(GAME) == "game-2"

    await eventually(is_renewed)
    await leases.close()
    assert source.asked == 2


async def test_a_lease_that_is_over_is_not_shown() -> None:
    source, clock = Source(), ManualClock()
    leases = leases_of(source, clock)
    await leases.token(GAME)
    clock.advance(LASTS_S)
    assert await leases.token(GAME) == "game-2"


async def test_a_failed_renewal_costs_nothing_while_the_lease_lasts() -> None:
    source, clock = Source(), ManualClock()
    leases = leases_of(source, clock)
    await leases.token(GAME)
    source.errors = [Unavailable("down")]
    clock.advance(RENEW_AT * LASTS_S)

    async def has_failed() -> bool:
        assert await leases.token(GAME) == "game-1"
        return not source.errors

    await eventually(has_failed)
    clock.advance(1)

    async def is_renewed() -> bool:
        return await leases.token(GAME) == "game-3"

    await eventually(is_renewed)


async def test_a_denied_renewal_ends_the_download() -> None:
    source, clock = Source(), ManualClock()
    leases = leases_of(source, clock)
    await leases.token(GAME)
    source.errors = [Denied("not yours any more")]
    clock.advance(RENEW_AT * LASTS_S)
    with pytest.raises(Denied, match="not yours any more"):
        while True:
            await leases.token(GAME)
            await asyncio.sleep(0)


async def test_an_outage_is_sat_out_and_a_long_one_is_named() -> None:
    source = Source([Unavailable("down"), Unavailable("down")])
    leases = leases_of(source, ManualClock())
    assert await leases.token(GAME) == "game-3"

    clock = ManualClock()

    class Down:
        async def lease(self, title: TitleId) -> GrantedLease:
            clock.advance(0.2)
            raise Unavailable(f"{title}: down")

    down = Leases(Down(), impatient_settings("http://edge"), clock)
    with pytest.raises(Unavailable, match=r"no lease for 0\.5 s.*goes on from here.*down"):
        await down.token(GAME)


async def test_a_denial_is_not_asked_for_twice_in_one_go() -> None:
    source = Source([Denied("no")])
    with pytest.raises(Denied, match="no"):
        await leases_of(source, ManualClock()).token(GAME)
    assert source.asked == 1


async def test_a_refused_lease_is_replaced_unless_it_is_quite_new() -> None:
    source, clock = Source(), ManualClock()
    leases = leases_of(source, clock)
    token = await leases.token(GAME)
    assert not leases.replace(GAME, token)
    clock.advance(TRUSTED_FOR_S)
    assert leases.replace(GAME, token)
    assert await leases.token(GAME) == "game-2"
    # Others that were refused with the old one just take the new.
    assert leases.replace(GAME, token)
    assert source.asked == 2


class SkippingClock(SystemClock):
    """Goes on, and is ahead by what it skipped."""

    skipped_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.skipped_s


class Doors:
    """A fault that lets in whoever shows a lease that is in ``good``."""

    def __init__(self, *good: str, status: int = 403) -> None:
        self.good = set(good)
        self.status = status
        self.seen: list[tuple[str, str | None]] = []

    async def __call__(
        self, request: web.Request, asked: Asked, _body: bytes
    ) -> web.StreamResponse | None:
        lease = request.headers.get(HEADER)
        self.seen.append((asked.path, lease))
        if "/h/" in asked.path or "/r/" in asked.path or lease in self.good:
            return None
        return web.json_response({"code": "a-code", "detail": "no entry"}, status=self.status)


@pytest.fixture
def published(tmp_path: Path) -> tuple[Path, FolderPublisher]:
    tree = tmp_path / "tree"
    tree.mkdir()
    write_tree(tree, seed=2)
    publisher = FolderPublisher()
    publisher.publish(tree)
    return tree, publisher


@pytest.fixture
async def two_edges(
    published: tuple[Path, FolderPublisher],
) -> AsyncIterator[tuple[FaultyEdge, FaultyEdge]]:
    edges = FaultyEdge(published[1].objects), FaultyEdge(published[1].objects)
    async with serving_faulty(*edges):
        yield edges


async def install(source: Source, folder: Path, *edges: FaultyEdge, **settings: Any) -> None:
    chosen = impatient_settings(*(edge.url for edge in edges), **settings)
    async with HttpClient(chosen.http) as http:
        await Console(chosen, http, source, new_heads=BelievingHeads).install(
            TITLE, folder, channel=LIVE
        )


pytestmark = pytest.mark.may_block


async def test_content_is_asked_for_with_a_lease_and_what_anyone_may_read_without(
    two_edges: tuple[FaultyEdge, FaultyEdge], tmp_path: Path
) -> None:
    doors = Doors(f"{TITLE}-1")
    two_edges[0].fault = doors
    await install(Source(), tmp_path / "game", two_edges[0])
    for path, lease in doors.seen:
        assert lease == (f"{TITLE}-1" if "/m/" in path or "/b/" in path else None), path


async def test_an_edge_that_refuses_is_left_for_one_that_does_not(
    two_edges: tuple[FaultyEdge, FaultyEdge],
    published: tuple[Path, FolderPublisher],
    tmp_path: Path,
) -> None:
    two_edges[0].fault = Doors()
    source = Source()
    await install(source, tmp_path / "game", *two_edges)
    assert await differences(published[0], tmp_path / "game") == []
    assert source.asked == 1  # a broken edge makes no flood at who mints


async def test_a_download_that_every_edge_refuses_ends_with_their_words(
    two_edges: tuple[FaultyEdge, FaultyEdge], tmp_path: Path
) -> None:
    for edge in two_edges:
        edge.fault = Doors()
    with pytest.raises(LeaseRefused, match=r"no edge lets .* goes on once .* no entry"):
        await install(Source(), tmp_path / "game", *two_edges)


async def test_a_lease_that_ended_on_the_way_is_replaced_at_once(
    two_edges: tuple[FaultyEdge, FaultyEdge],
    published: tuple[Path, FolderPublisher],
    tmp_path: Path,
) -> None:
    edge, source, clock = two_edges[0], Source(), SkippingClock()
    doors = Doors(f"{TITLE}-1", status=401)

    async def ends_midway(
        request: web.Request, asked: Asked, body: bytes
    ) -> web.StreamResponse | None:
        if asked.is_bundle and len(doors.good) == 1:
            doors.good = {f"{TITLE}-2", "none"}
            clock.skipped_s += TRUSTED_FOR_S
        return await doors(request, asked, body)

    edge.fault = ends_midway
    chosen = impatient_settings(edge.url)
    async with HttpClient(chosen.http) as http:
        console = Console(chosen, http, source, clock, BelievingHeads)
        report = await console.install(TITLE, tmp_path / "game", channel=LIVE)
    assert await differences(published[0], tmp_path / "game") == []
    assert source.asked == 2
    assert report.failed_requests == 0


async def test_leases_that_nodes_do_not_believe_yet_are_waited_for_and_then_named(
    two_edges: tuple[FaultyEdge, FaultyEdge],
    published: tuple[Path, FolderPublisher],
    tmp_path: Path,
) -> None:
    """Keys that differ for a moment are no reason to end a download, and none to deny it."""
    edge = two_edges[0]
    refused = 0
    doors = Doors(status=401)

    async def at_first(
        request: web.Request, asked: Asked, body: bytes
    ) -> web.StreamResponse | None:
        nonlocal refused
        refused += "/m/" in asked.path
        return await doors(request, asked, body) if refused < 4 else None

    edge.fault = at_first
    await install(Source(), tmp_path / "game", edge)
    assert await differences(published[0], tmp_path / "game") == []
    edge.fault = doors
    with pytest.raises(Unavailable, match=r"gave up on .* answered 401 a-code: no entry"):
        await install(Source(), tmp_path / "other", edge)


async def test_a_refused_download_goes_on_where_it_was(
    two_edges: tuple[FaultyEdge, FaultyEdge],
    published: tuple[Path, FolderPublisher],
    tmp_path: Path,
) -> None:
    edge = two_edges[0]
    doors = Doors(f"{TITLE}-1")

    total = sum(map(len, published[1].objects.values()))

    async def until_half(
        request: web.Request, asked: Asked, body: bytes
    ) -> web.StreamResponse | None:
        if edge.sent_bytes > total // 2:
            doors.good.clear()
        return await doors(request, asked, body)

    edge.fault = until_half
    with pytest.raises(LeaseRefused):
        await install(
            Source(), tmp_path / "game", edge, requests_at_once=1, range_bytes_max=1 << 20
        )
    before = edge.sent_bytes
    edge.fault = None
    await install(Source(), tmp_path / "game", edge)
    assert await differences(published[0], tmp_path / "game") == []
    assert edge.sent_bytes - before < total * 3 // 4


@pytest.fixture
async def service() -> AsyncIterator[tuple[str, list[web.Response]]]:
    """Gives the answers it is told to, the first first."""
    answers: list[web.Response] = []

    async def answer(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer secret"
        assert await request.json() == {"title": "game"}
        return answers.pop(0)

    app = web.Application()
    app.router.add_post("/api/v1/leases", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}", answers
    await runner.cleanup()


def token_file(folder: Path) -> Path:
    path = folder / "player.token"
    path.write_text("secret\n")
    path.chmod(0o600)
    return path


async def test_a_service_gives_leases_and_says_why_not(
    service: tuple[str, list[web.Response]], tmp_path: Path
) -> None:
    url, answers = service
    async with HttpClient(ClientSettings()) as http:
        client = EntitlementClient(url, token_file(tmp_path), http)
        answers.append(web.json_response({"lease": "abc", "expires_in_s": 60}))
        assert await client.lease(GAME) == GrantedLease("abc", 60)
        problem = {"code": "not-owned", "detail": "game: not yours"}
        answers.append(web.json_response(problem, status=403))
        with pytest.raises(Denied, match="game: not yours"):
            await client.lease(GAME)
        answers += [web.json_response(problem, status=503), web.Response(text="<html>")]
        for _ in range(2):
            with pytest.raises(Unavailable, match="answered"):
                await client.lease(GAME)


async def test_a_player_who_never_signed_in_is_told_where_the_token_goes(tmp_path: Path) -> None:
    async with HttpClient(ClientSettings()) as http:
        client = EntitlementClient("http://127.0.0.1:9", tmp_path / "none", http)
        with pytest.raises(SettingsError, match=r"console\.entitlement\.token_file"):
            await client.lease(GAME)
