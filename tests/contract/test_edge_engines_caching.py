"""What any edge keeps, for how long, and what it does when those behind or before it fail."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web

from chunks.slices import SLICE_SIZE
from edge.engines.deviations import (
    AGE,
    KEPT_OVER_RESTART,
    MISSES_ARE_COUNTED,
    SLICES,
    VERIFIED_READS,
    deviates,
)
from edge.engines.nginx_build import ASSUMED, NginxBuild
from kit.clock import SystemClock
from kit.http_settings import ListenSettings
from kit.units import MIB, Seconds
from manifests.lease import HEADER
from tests import titles
from tests.engines import ENGINES, Engine, gate_serving, in_front, running
from tests.leases import gate_at
from tests.polling import eventually
from tests.servers.engines import running_engine
from tests.servers.ports import free_ports
from tests.servers.upstream import Fault, Upstream

pytestmark = pytest.mark.slow

title = titles.some_title(bundle_size=9 * SLICE_SIZE + 12_345)
large = titles.some_title(seed=2, bundle_size=32 * MIB)
SIZE = len(title.bundle)
BUNDLE, SLICE, HEAD = (
    title.bundle_address.path,
    f"{title.bundle_address.path}/3",
    "/t/a-title/h/live",
)
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
async def origin() -> AsyncIterator[Upstream]:
    origin = Upstream()
    origin.publish(title)
    origin.publish(large)
    async with origin.running():
        yield origin


@pytest.fixture(params=ENGINES)
async def engine(
    request: pytest.FixtureRequest, origin: Upstream, tmp_path: Path
) -> AsyncIterator[Engine]:
    async with running(request.param, tmp_path, origin) as engine:
        yield engine


@pytest.fixture(params=ENGINES[1:])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


async def test_the_first_is_a_miss_and_the_next_are_hits(engine: Engine) -> None:
    for path in (title.manifest_address.path, SLICE, HEAD, title.release_address.path):
        first = await engine.ask(path)
        asked = engine.origin.asked.copy()
        again = [await engine.ask(path) for _ in range(3)]
        assert "fwd=miss" in first.headers["Cache-Status"]
        assert all("hit" in reply.headers["Cache-Status"] for reply in again)
        assert all(reply.body == first.body for reply in again)
        assert engine.origin.asked == asked


@pytest.mark.parametrize("path", [SLICE, BUNDLE, HEAD])
async def test_many_who_ask_at_once_make_one_fetch(engine: Engine, path: str) -> None:
    engine.origin.gate.clear()
    asking = [asyncio.create_task(engine.ask(path)) for _ in range(40)]

    async def is_asked() -> bool:
        return bool(engine.origin.asked)

    await eventually(is_asked)
    engine.origin.gate.set()
    replies = await asyncio.gather(*asking)
    assert {reply.status for reply in replies} == {200}
    assert len({reply.body for reply in replies}) == 1
    assert set(engine.origin.asked.values()) == {1}


async def test_spans_and_the_whole_of_a_large_bundle_are_right(engine: Engine) -> None:
    path, size = large.bundle_address.path, 8 * MIB
    starts = [0, 5 * MIB + 1, 13 * MIB - 7, 24 * MIB]
    spans = await asyncio.gather(
        *(engine.ask(path, Range=f"bytes={start}-{start + size - 1}") for start in starts)
    )
    for start, reply in zip(starts, spans, strict=True):
        assert reply.status == 206
        assert reply.body == large.bundle[start : start + size]
    whole = await engine.ask(path)
    assert whole.body == large.bundle
    assert set(engine.origin.asked.values()) == {1}


async def test_a_client_that_takes_nothing_holds_up_nobody(engine: Engine) -> None:
    path = large.bundle_address.path
    async with stuck(engine, path):
        async with asyncio.timeout(15):
            replies = await asyncio.gather(*(engine.ask(path) for _ in range(4)))
        assert all(reply.body == large.bundle for reply in replies)


@asynccontextmanager
async def stuck(engine: Engine, path: str) -> AsyncIterator[None]:
    """Ask for ``path`` and take not a byte of the body."""
    place = urlsplit(engine.url)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_connect(sock, (place.hostname, place.port))
        request = f"GET {path} HTTP/1.1\r\nHost: an-edge\r\n{HEADER}: {engine.lease()}\r\n\r\n"
        await loop.sock_sendall(sock, request.encode())
        assert (await loop.sock_recv(sock, 12)).startswith(b"HTTP/1.1 200")
        yield
    finally:
        sock.close()


async def test_of_a_bundle_only_what_is_asked_for_is_fetched(engine: Engine) -> None:
    start = 4 * SLICE_SIZE + 10
    reply = await engine.ask(BUNDLE, Range=f"bytes={start}-{start + 99}")
    assert reply.body == title.bundle[start : start + 100]
    slices = {path for path in engine.origin.asked if not path.endswith("/slices")}
    if deviates(engine.name, SLICES):
        assert (
            await engine.ask(BUNDLE)
        ).status == 200  # sent while it comes, so it may take longer
        assert len(slices | set(engine.origin.asked)) == 11
    else:
        assert slices == {f"{BUNDLE}/4"}


async def test_who_asks_for_much_that_does_not_exist_is_held_up(engine: Engine) -> None:
    lease = engine.lease()
    paths = [f"/t/a-title/m/{number:064x}" for number in range(200)]
    statuses = Counter([(await engine.ask(path, lease=lease)).status for path in paths])
    if deviates(engine.name, MISSES_ARE_COUNTED):
        assert statuses == {404: 200}
    else:
        assert statuses[429] > 0


async def test_a_client_that_leaves_takes_nothing_from_others(engine: Engine) -> None:
    async def leaves() -> None:
        async with engine.session.get(
            engine.url + BUNDLE, headers={HEADER: engine.lease()}
        ) as reply:
            await reply.content.readexactly(1000)
            reply.close()

    await asyncio.gather(*(leaves() for _ in range(5)))
    assert (await engine.ask(BUNDLE)).body == title.bundle
    assert set(engine.origin.asked.values()) == {1}


async def test_without_an_origin_what_is_kept_is_served(engine: Engine) -> None:
    kept = [title.manifest_address.path, BUNDLE, SLICE, HEAD, title.release_address.path]
    before = [await engine.ask(path) for path in kept]
    engine.origin.spoil(Fault.BROKEN)
    after = [await engine.ask(path) for path in kept]
    assert [reply.status for reply in after] == [200] * len(kept)
    assert [reply.body for reply in after] == [reply.body for reply in before]


async def test_a_fault_upstream_is_502_for_as_long_as_it_lasts_and_no_longer(
    engine: Engine,
) -> None:
    engine.origin.spoil(Fault.BROKEN)
    for path in (SLICE, HEAD, BUNDLE):
        reply = await engine.ask(path)
        assert reply.status == 502
        assert reply.headers["Cache-Control"] == "no-store"
        assert reply.json()["code"] == "no-upstream"
    engine.origin.faults.clear()
    assert (await engine.ask(SLICE)).body == title.slice(3)
    assert (await engine.ask(HEAD)).status == 200
    assert (await engine.ask(BUNDLE)).body == title.bundle


@pytest.mark.parametrize("fault", [Fault.FLIPPED, Fault.CUT, Fault.PAGE])
async def test_wrong_bytes_reach_neither_the_cache_nor_a_player(
    engine: Engine, fault: Fault
) -> None:
    engine.origin.faults[SLICE] = fault
    assert (await engine.ask(SLICE)).status == 502
    engine.origin.faults.clear()
    assert (await engine.ask(SLICE)).body == title.slice(3)


async def test_what_was_missing_is_found_soon_after_it_is_published(engine: Engine) -> None:
    page, head = engine.origin.objects.pop(title.manifest_address.path), titles.some_title(seed=3)
    beta = HEAD.replace("live", "beta")
    assert (await engine.ask(title.manifest_address.path)).status == 404
    assert (await engine.ask(beta)).status == 404
    engine.origin.objects |= {title.manifest_address.path: page, beta: head.head}

    async def is_found() -> bool:
        replies = [await engine.ask(path) for path in (title.manifest_address.path, beta)]
        return [reply.status for reply in replies] == [200, 200]

    await eventually(is_found, within_s=6)


async def test_answers_say_how_old_they_are(engine: Engine) -> None:
    first = await engine.ask(HEAD)

    async def is_older() -> bool:
        reply = await engine.ask(HEAD)
        if deviates(engine.name, AGE):
            assert reply.headers["Date"] == first.headers["Date"]
            return True
        return int(reply.headers["Age"]) >= 1

    await eventually(is_older)


async def test_a_restart_keeps_the_cache(kind: str, origin: Upstream, tmp_path: Path) -> None:
    """The edge behind is gone as well, so it is the engine's own."""
    async with running(kind, tmp_path, origin) as engine:
        assert (await engine.ask(BUNDLE)).body == title.bundle
        assert (await engine.ask(SLICE)).status == 200
        plan = engine.plan
    assert plan is not None
    clock = SystemClock()
    async with gate_serving(tmp_path, gate_at(clock), 1), running_engine(plan, kind) as url:
        again = Engine(kind, url, origin, gate_at(clock), aiohttp.ClientSession(), tmp_path)
        async with again.session:
            bundle, piece = await again.ask(BUNDLE), await again.ask(SLICE)
    if deviates(kind, KEPT_OVER_RESTART):
        assert bundle.status == 502
        return
    assert bundle.body == title.bundle
    assert piece.body == title.slice(3)
    assert "hit" in piece.headers["Cache-Status"]


@dataclass
class Source:
    """An upstream whose documents are stale after a second, and which can be told to fail."""

    body: bytes = b"one"
    is_failing: bool = False
    cache_control: str = "public, max-age=1, stale-while-revalidate=1, stale-if-error=86400"

    started: list[tuple[bytes, str | None, str | None]] = field(default_factory=list)
    """What start calls asked with and showed."""

    async def answer(self, request: web.Request) -> web.Response:
        if request.path == "/readyz":
            return web.Response()
        if request.method == "POST":
            shown = request.headers.get("Authorization"), request.headers.get(HEADER)
            self.started.append((await request.read(), *shown))
            return web.Response(body=self.body, headers={"Cache-Control": "no-store"})
        if self.is_failing:
            return web.Response(status=503)
        return web.Response(body=self.body, headers={"Cache-Control": self.cache_control})


@asynccontextmanager
async def serving_source(source: Source) -> AsyncIterator[str]:
    server = web.ServerRunner(web.Server(source.answer))  # type: ignore[arg-type]
    await server.setup()
    site = web.TCPSite(server, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{server.addresses[0][1]}"
    finally:
        await server.cleanup()


async def test_a_head_is_fetched_anew_and_stale_only_while_nobody_gives_it(
    kind: str, tmp_path: Path
) -> None:
    source = Source()
    async with (
        serving_source(source) as url,
        in_front(kind, tmp_path, gate_at(SystemClock()), url) as engine,
    ):
        assert (await engine.ask(HEAD)).body == b"one"
        source.body = b"two"

        async def is_two() -> bool:
            return (await engine.ask(HEAD)).body == b"two"

        await eventually(is_two)
        source.is_failing = True

        async def is_stale() -> bool:
            reply = await engine.ask(HEAD)
            assert (reply.status, reply.body) == (200, b"two")
            return "stale" in reply.headers["Cache-Status"]

        await eventually(is_stale)
        source.is_failing, source.body = False, b"three"

        async def is_three() -> bool:
            return (await engine.ask(HEAD)).body == b"three"

        await eventually(is_three)


async def test_a_bit_that_rots_on_nginxs_disk_is_sent(origin: Upstream, tmp_path: Path) -> None:
    """It cannot tell; a console can, and asks another edge."""
    assert deviates("nginx", VERIFIED_READS)
    async with running("nginx", tmp_path, origin) as engine:
        assert (await engine.ask(SLICE)).body == title.slice(3)

        def rot() -> None:
            [file] = (path for path in engine.cache_dir.rglob("content/*/*/*") if path.is_file())
            with file.open("r+b") as opened:
                opened.seek(-1, os.SEEK_END)
                opened.write(bytes([title.slice(3)[-1] ^ 1]))

        await asyncio.to_thread(rot)
        found = (await engine.ask(SLICE)).body
    assert found != title.slice(3)
    assert found[:-1] == title.slice(3)[:-1]


async def test_one_request_too_many_of_nginx_is_answered_503_at_once(
    origin: Upstream, tmp_path: Path
) -> None:
    listen = ListenSettings(port=free_ports(1)[0], requests_max=2)
    path = large.bundle_address.path
    async with running("nginx", tmp_path, origin, listen=listen) as engine:
        async with stuck(engine, path), stuck(engine, path):
            reply = await engine.ask(path)
            assert reply.status == 503
            assert reply.headers["Retry-After"] == "1"
        await eventually(lambda: is_served(engine))


async def is_served(engine: Engine) -> bool:
    return (await engine.ask(SLICE)).status == 200


async def test_an_upstream_that_is_gone_is_left_for_the_next(kind: str, tmp_path: Path) -> None:
    source = Source()
    async with (
        serving_source(source) as url,
        in_front(kind, tmp_path, gate_at(SystemClock()), NOBODY, url) as engine,
    ):

        async def is_answered() -> bool:
            return (await engine.ask(SLICE)).body == b"one"

        await eventually(is_answered)


async def test_an_nginx_that_lacks_slices_serves_the_same(origin: Upstream, tmp_path: Path) -> None:
    build = NginxBuild(ASSUMED.version, ASSUMED.modules - {"slice"})
    async with running("nginx", tmp_path, origin, build=build) as engine:
        for _ in "cold", "warm":
            span = await engine.ask(BUNDLE, Range=f"bytes={4 * MIB - 3}-{4 * MIB + 2}")
            assert (span.status, span.body) == (206, title.bundle[4 * MIB - 3 : 4 * MIB + 3])
            assert (await engine.ask(BUNDLE)).body == title.bundle
        assert set(origin.asked.values()) == {1}


async def test_a_start_call_is_passed_on_with_what_it_shows_and_not_kept(
    kind: str, tmp_path: Path
) -> None:
    source = Source()
    async with (
        serving_source(source) as url,
        in_front(kind, tmp_path, gate_at(SystemClock()), url) as engine,
    ):
        path, shown = f"{HEAD}/start", {"Authorization": "Bearer ann", HEADER: "a lease"}
        for count in (1, 2):
            async with engine.session.post(
                engine.url + path, data=b'{"installed":1}', headers=shown
            ) as reply:
                assert (reply.status, await reply.read()) == (200, b"one")
            assert source.started == [(b'{"installed":1}', "Bearer ann", "a lease")] * count
        async with engine.session.post(engine.url + path, data=b"x" * 1000) as reply:
            assert reply.status == 400
        async with engine.session.post(engine.url + HEAD, data=b"x") as reply:
            assert reply.status == 405
        assert (await engine.ask(path)).status == 404
        assert len(source.started) == 2


async def test_who_never_ends_a_request_is_hung_up_on(kind: str, tmp_path: Path) -> None:
    listen = ListenSettings(port=free_ports(1)[0], close_idle_after=Seconds(1))
    async with (
        serving_source(Source()) as url,
        in_front(kind, tmp_path, gate_at(SystemClock()), url, listen=listen) as engine,
    ):
        place = urlsplit(engine.url)
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        writer.write(b"GET /t/a-title/h/live HTTP/1.1\r\nHost: ")
        assert (await engine.ask(HEAD)).status == 200
        said = b""
        async with asyncio.timeout(10):
            with suppress(ConnectionResetError):
                said = await reader.read()
        assert said == b"" or b" 4" in said.partition(b"\r\n")[0]
        writer.close()


async def test_with_its_edges_gone_an_engine_says_so(kind: str, tmp_path: Path) -> None:
    async with in_front(kind, tmp_path, gate_at(SystemClock()), NOBODY) as engine:
        for path in (SLICE, HEAD, BUNDLE, title.release_address.path):
            reply = await engine.ask(path)
            assert reply.status == 502
            assert reply.json()["code"] == "no-upstream"
            assert reply.headers["Cache-Control"] == "no-store"
            assert reply.headers["Retry-After"] == "1"
