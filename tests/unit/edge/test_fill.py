"""What an edge makes of upstreams and clients, good and bad, over real sockets."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from chunks.slices import SLICE_SIZE
from kit.http_settings import ClientSettings, ListenSettings
from kit.units import Seconds
from tests import titles
from tests.polling import eventually
from tests.servers.upstream import Fault, Upstream
from tests.serving import Node, running_edge
from tests.stored_blobs import blobs_on_disk

title = titles.some_title()
BUNDLE = title.bundle_address
SLICE = BUNDLE.slice(1).path
LIST = BUNDLE.slice_list.path
IMPATIENT = ClientSettings(connect_within=Seconds(0.5), stall_after=Seconds(0.2))


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    upstream.publish(title)
    async with upstream.running():
        yield upstream


@pytest.fixture
async def second() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    upstream.publish(title)
    async with upstream.running():
        yield upstream


async def is_written(edge: Node, count: int, folder: Path) -> None:
    async def probe() -> bool:
        return len(blobs_on_disk(folder)) == count

    await eventually(probe)


OBJECTS = {
    "head": (title.head_address.path, title.head),
    "release": (title.release_address.path, title.release),
    "manifest": (title.manifest_address.path, title.manifest),
    "slice list": (LIST, title.slices.encode()),
    "slice": (SLICE, title.slice(1)),
}


async def is_refused(edge: Node, path: str, *, may_begin: bool) -> None:
    """See to it that nothing is sent: 502, or an answer that is broken off after its head."""
    async with edge.session.get(edge.url + path) as reply:
        if reply.status == 200:
            assert may_begin
            with pytest.raises(aiohttp.ClientError):
                await reply.content.readexactly(1)
            return
        assert reply.status == 502
        assert (await reply.json(content_type=None))["code"] == "no-upstream"
        assert "Retry-After" in reply.headers


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("which", OBJECTS)
async def test_a_bad_answer_is_neither_sent_nor_kept(
    upstream: Upstream, tmp_path: Path, fault: Fault, which: str
) -> None:
    path, _ = OBJECTS[which]
    async with running_edge(tmp_path, upstream.url, client=IMPATIENT) as edge:
        upstream.faults[path] = fault
        await is_refused(edge, path, may_begin=which == "slice")
        if which == "slice":
            await is_written(edge, 1, tmp_path)  # the list, which was good
        else:
            assert blobs_on_disk(tmp_path) == []
        assert edge.metric("playhead_edge_upstreams_avoided") == 1


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("which", OBJECTS)
async def test_a_bad_upstream_is_left_for_the_next(
    upstream: Upstream, second: Upstream, tmp_path: Path, fault: Fault, which: str
) -> None:
    path, content = OBJECTS[which]
    async with running_edge(tmp_path, upstream.url, second.url, client=IMPATIENT) as edge:
        upstream.faults[path] = fault
        reply = await edge.ask(path)
        assert (reply.status, reply.body) == (200, content)
        assert second.asked[path] == 1


async def test_an_upstream_that_failed_is_asked_last_for_a_while(
    upstream: Upstream, second: Upstream, tmp_path: Path
) -> None:
    async with running_edge(tmp_path, upstream.url, second.url) as edge:
        upstream.spoil(Fault.FLIPPED)
        reply = await edge.ask(BUNDLE.path)
        assert reply.body == title.bundle
        assert sum(upstream.asked.values()) == 1
        failures = edge.metric(
            "playhead_edge_upstream_failures_total", upstream=upstream.url, code="integrity"
        )
        assert failures == 1
        assert edge.metric("playhead_edge_verify_failures_total", where="upstream") == 1


async def test_missing_at_one_upstream_is_found_at_the_next(
    upstream: Upstream, second: Upstream, tmp_path: Path
) -> None:
    upstream.objects.clear()
    async with running_edge(tmp_path, upstream.url, second.url) as edge:
        assert (await edge.ask(SLICE)).body == title.slice(1)


async def test_missing_at_one_upstream_and_another_down_is_not_called_missing(
    upstream: Upstream, second: Upstream, tmp_path: Path
) -> None:
    upstream.objects.clear()
    second.spoil(Fault.BROKEN)
    async with running_edge(tmp_path, upstream.url, second.url) as edge:
        assert (await edge.ask(LIST)).status == 502


async def test_missing_content_is_asked_for_once(upstream: Upstream, tmp_path: Path) -> None:
    path = f"/t/a-title/b/{titles.absent(title).hex()}/slices"
    async with running_edge(tmp_path, upstream.url) as edge:
        for _ in range(3):
            assert (await edge.ask(path)).status == 404
    assert upstream.asked[path] == 1


async def test_what_goes_wrong_in_mid_body_breaks_the_connection_off(
    upstream: Upstream, tmp_path: Path
) -> None:
    upstream.faults[BUNDLE.slice(2).path] = Fault.FLIPPED
    async with running_edge(tmp_path, upstream.url) as edge:
        received = bytearray()
        async with edge.session.get(edge.url + BUNDLE.path) as reply:
            assert reply.status == 200
            with pytest.raises(aiohttp.ClientError):
                async for piece in reply.content.iter_any():
                    received += piece
        assert len(received) <= 2 * SLICE_SIZE
        assert title.bundle.startswith(received)


async def test_fifty_clients_cost_one_fetch_per_slice(upstream: Upstream, tmp_path: Path) -> None:
    upstream.gate.clear()
    async with running_edge(tmp_path, upstream.url) as edge:
        asking = [asyncio.create_task(edge.ask(BUNDLE.path)) for _ in range(50)]

        async def all_wait() -> bool:
            return edge.metric("playhead_edge_collapsed_total") >= 49

        await eventually(all_wait)
        upstream.gate.set()
        replies = await asyncio.gather(*asking)
        assert all(reply.body == title.bundle for reply in replies)
        assert set(upstream.asked.values()) == {1}
        collapsed = [r for r in replies if "collapsed" in r.headers["Cache-Status"]]
        assert len(collapsed) == 49


async def test_a_client_that_leaves_does_not_end_the_fill(
    upstream: Upstream, tmp_path: Path
) -> None:
    async with running_edge(tmp_path, upstream.url) as edge:
        await edge.ask(LIST)
        upstream.gate.clear()
        leaving = asyncio.create_task(edge.ask(SLICE))
        staying = asyncio.create_task(edge.ask(SLICE))

        async def both_wait() -> bool:
            return edge.metric("playhead_edge_collapsed_total") == 1

        await eventually(both_wait)
        leaving.cancel()

        async def one_left() -> bool:
            return edge.binder.state.running == 1

        await eventually(one_left)
        upstream.gate.set()
        assert (await staying).body == title.slice(1)
        assert upstream.asked[SLICE] == 1


async def test_a_fill_that_every_client_left_still_reaches_the_cache(
    upstream: Upstream, tmp_path: Path
) -> None:
    async with running_edge(tmp_path, upstream.url) as edge:
        await edge.ask(LIST)
        upstream.gate.clear()
        leaving = asyncio.create_task(edge.ask(SLICE))

        async def asked() -> bool:
            return upstream.asked[SLICE] == 1

        await eventually(asked)
        leaving.cancel()

        async def none_left() -> bool:
            return edge.binder.state.running == 0

        await eventually(none_left)
        upstream.gate.set()
        await is_written(edge, 2, tmp_path)
        assert "hit" in (await edge.ask(SLICE)).headers["Cache-Status"]


async def test_slices_are_fetched_ahead_of_their_turn(upstream: Upstream, tmp_path: Path) -> None:
    async with running_edge(tmp_path, upstream.url) as edge:
        await edge.ask(LIST)
        upstream.gate.clear()
        asking = asyncio.create_task(edge.ask(BUNDLE.path))

        async def all_asked() -> bool:
            return len(upstream.asked) == 4

        await eventually(all_asked)
        upstream.gate.set()
        assert (await asking).body == title.bundle


@pytest.mark.parametrize("path", [SLICE, BUNDLE.path])
async def test_a_head_goes_out_once_upstream_has_begun(
    upstream: Upstream, tmp_path: Path, path: str
) -> None:
    upstream.faults = {BUNDLE.slice(i).path: Fault.STALLED for i in range(3)}
    async with running_edge(tmp_path, upstream.url) as edge:
        await edge.ask(LIST)
        async with edge.session.get(edge.url + path) as reply:
            assert reply.status == 200
            assert "fwd=" in reply.headers["Cache-Status"]


async def test_a_head_goes_out_if_upstream_gave_the_list_just_now(
    upstream: Upstream, tmp_path: Path
) -> None:
    upstream.faults[SLICE] = Fault.SILENT
    async with (
        running_edge(tmp_path, upstream.url) as edge,
        edge.session.get(edge.url + SLICE) as reply,
    ):
        assert reply.status == 200


async def test_no_head_goes_out_before_upstream_has_begun(
    upstream: Upstream, tmp_path: Path
) -> None:
    async with running_edge(tmp_path, upstream.url) as edge:
        await edge.ask(LIST)
        upstream.gate.clear()
        asking = asyncio.create_task(edge.ask(SLICE))

        async def asked() -> bool:
            return upstream.asked[SLICE] == 1

        await eventually(asked)
        upstream.faults[SLICE] = Fault.BROKEN
        upstream.gate.set()
        assert (await asking).status == 502


async def test_without_room_for_slices_ahead_they_come_one_by_one(
    upstream: Upstream, tmp_path: Path
) -> None:
    async with running_edge(tmp_path, upstream.url, ahead_max=0) as edge:
        assert (await edge.ask(BUNDLE.path)).body == title.bundle


async def test_a_slow_client_holds_no_fills(tmp_path: Path) -> None:
    large = titles.some_title(seed=2, bundle_size=24 * SLICE_SIZE)
    upstream = Upstream()
    upstream.publish(large)
    path = large.bundle_address.path
    async with (
        upstream.running(),
        running_edge(tmp_path, upstream.url, fills_max=1) as edge,
        edge.session.get(edge.url + path) as slow,
    ):
        await slow.content.readexactly(10)  # and then takes no more
        quick = await edge.ask(large.bundle_address.slice(23).path)
        assert quick.body == large.slice(23)
        assert len(upstream.asked) < 24  # the slow one's were not fetched for nobody


async def test_a_client_that_takes_nothing_is_dropped(tmp_path: Path) -> None:
    large = titles.some_title(seed=2, bundle_size=24 * SLICE_SIZE)
    upstream = Upstream()
    upstream.publish(large)
    listen = ListenSettings(drop_stalled_after=Seconds(0.2))
    async with (
        upstream.running(),
        running_edge(tmp_path, upstream.url, listen=listen) as edge,
        edge.session.get(edge.url + large.bundle_address.path) as slow,
    ):
        await slow.content.readexactly(10)

        async def is_dropped() -> bool:
            return edge.binder.state.running == 0

        await eventually(is_dropped)
        with pytest.raises(aiohttp.ClientError):
            await slow.read()


async def test_only_as_many_requests_are_served_as_may_be(
    upstream: Upstream, tmp_path: Path
) -> None:
    upstream.gate.clear()
    listen = ListenSettings(requests_max=2)
    async with running_edge(tmp_path, upstream.url, listen=listen) as edge:
        asking = [asyncio.create_task(edge.ask(LIST)) for _ in range(2)]

        async def is_full() -> bool:
            return edge.binder.state.running == 2

        await eventually(is_full)
        refused = await edge.ask(LIST)
        assert (refused.status, refused.json()["code"]) == (503, "overloaded")
        assert refused.headers["Retry-After"] in ("1", "2")
        assert (await edge.ask("/healthz")).status == 200
        upstream.gate.set()
        assert [reply.status for reply in await asyncio.gather(*asking)] == [200, 200]


async def test_cache_status_tells_where_the_bytes_were(upstream: Upstream, tmp_path: Path) -> None:
    async with running_edge(tmp_path, upstream.url) as edge:
        said = [(await edge.ask(path)).headers["Cache-Status"] for path in (SLICE, SLICE)]
        assert said == ["playhead; fwd=miss", "playhead; hit; detail=memory"]
        partial = await edge.ask(BUNDLE.path)
        assert partial.headers["Cache-Status"] == "playhead; fwd=partial"
        await is_written(edge, 4, tmp_path)
    async with running_edge(tmp_path, upstream.url) as edge:
        reply = await edge.ask(SLICE)
        assert reply.headers["Cache-Status"] == "playhead; hit; detail=disk"
        assert edge.metric("playhead_edge_served_bytes_total", tier="disk") == SLICE_SIZE


async def test_a_full_disk_is_no_error_to_a_client(upstream: Upstream, small_disk: Path) -> None:
    async with running_edge(small_disk, upstream.url) as edge:
        for _ in range(2):
            assert (await edge.ask(BUNDLE.path)).body == title.bundle
            assert (await edge.ask(title.head_address.path)).body == title.head

        async def is_noticed() -> bool:
            return edge.metric("playhead_edge_not_cached_total", reason="disk") >= 3

        await eventually(is_noticed)
    assert upstream.asked[SLICE] == 2


async def test_a_cache_deleted_under_a_running_edge_is_no_error_to_a_client(
    upstream: Upstream, tmp_path: Path
) -> None:
    async with running_edge(tmp_path, upstream.url) as edge:
        assert (await edge.ask(BUNDLE.path)).body == title.bundle
        await is_written(edge, 4, tmp_path)
        await asyncio.to_thread(shutil.rmtree, tmp_path / "segments")
        for path, content in ((BUNDLE.path, title.bundle), OBJECTS["manifest"]):
            assert (await edge.ask(path)).body == content
        await is_written(edge, 1, tmp_path)  # it keeps on keeping
    async with running_edge(tmp_path, upstream.url) as edge:
        assert (await edge.ask(BUNDLE.path)).body == title.bundle
