"""How an edge treats upstreams that fail often, are slow, or come back; over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from edge.passage import NODES_MAX
from edge.upstream import upstreams
from kit.errors import SettingsError
from kit.http_settings import ClientSettings, ListenSettings
from kit.rendezvous import ranked
from kit.units import Seconds
from tests import titles
from tests.polling import eventually
from tests.servers.ports import free_ports
from tests.servers.upstream import Fault, Upstream
from tests.serving import Node, running_edge

title = titles.some_title()
BUNDLE = title.bundle_address
LIST = BUNDLE.slice_list.path
IMPATIENT = ClientSettings(connect_within=Seconds(0.5), stall_after=Seconds(0.2))
NEVER = Seconds(0)


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Upstream, Upstream]]:
    first, second = Upstream(), Upstream()
    first.publish(title)
    second.publish(title)
    async with first.running(), second.running():
        yield first, second


@pytest.fixture(autouse=True)
def _probes_are_frequent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstreams, "PROBE_EVERY_S", 0.05)


def publish_many(upstream: Upstream, count: int) -> list[str]:
    """Publish ``count`` heads; return their paths."""
    paths = [f"/t/a-title/h/channel-{index}" for index in range(count)]
    upstream.objects |= dict.fromkeys(paths, title.head)
    return paths


def attempts(edge: Node, upstream: Upstream) -> float:
    return edge.metric("playhead_edge_upstream_attempts_total", upstream=upstream.url)


def state(edge: Node, upstream: Upstream) -> float:
    return edge.metric("playhead_edge_upstream_state", upstream=upstream.url)


async def until_state(edge: Node, upstream: Upstream, wanted: float) -> None:
    async def is_so() -> bool:
        return state(edge, upstream) == wanted

    await eventually(is_so)


async def test_who_keeps_failing_is_asked_no_more_until_it_lives(
    pair: tuple[Upstream, Upstream], tmp_path: Path
) -> None:
    only, _ = pair
    paths = publish_many(only, 60)
    async with running_edge(tmp_path, only.url, cool_down_for=Seconds(60)) as edge:
        only.spoil(Fault.BROKEN)
        only.objects[upstreams.PROBE_PATH] = b""
        only.faults[upstreams.PROBE_PATH] = Fault.BROKEN
        for path in paths[:50]:
            assert (await edge.ask(path)).status == 502
        assert sum(only.asked[path] for path in paths) < 10
        assert state(edge, only) == 2
        refused = (await edge.ask(paths[0])).json()
        assert "keeps failing" in refused["detail"]
        only.faults.clear()
        await until_state(edge, only, 0)
        assert (await edge.ask(paths[0])).status == 200


async def test_one_trial_decides_whether_all_may_ask_again(
    pair: tuple[Upstream, Upstream], tmp_path: Path
) -> None:
    only, _ = pair
    paths = publish_many(only, 40)
    async with running_edge(tmp_path, only.url, hedge_after_max=NEVER) as edge:
        only.spoil(Fault.BROKEN)
        for path in paths[:5]:
            assert (await edge.ask(path)).status == 502
        only.faults.clear()  # it lives, but hangs
        await until_state(edge, only, 0)
        only.gate.clear()
        before = sum(only.asked[path] for path in paths)
        asking = [asyncio.create_task(edge.ask(path)) for path in paths[10:30]]
        done, _ = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        assert done.pop().result().status == 502

        async def are_refused() -> bool:
            return sum(task.done() for task in asking) == 19

        await eventually(are_refused)
        assert sum(only.asked[path] for path in paths) == before + 1
        only.gate.set()
        statuses = [reply.status for reply in await asyncio.gather(*asking)]
        assert sorted(statuses) == [200, *[502] * 19]
        assert (await edge.ask(paths[31])).status == 200


async def test_an_upstream_that_lied_is_not_forgiven_for_being_alive(
    pair: tuple[Upstream, Upstream], tmp_path: Path
) -> None:
    first, second = pair
    async with running_edge(tmp_path, first.url, second.url, cool_down_for=Seconds(60)) as edge:
        first.faults[LIST] = Fault.FLIPPED
        assert (await edge.ask(LIST)).status == 200

        async def was_probed() -> bool:
            return first.asked[upstreams.PROBE_PATH] >= 2

        await eventually(was_probed)
        assert state(edge, first) == 1
        assert (await edge.ask(BUNDLE.path)).body == title.bundle
        assert second.asked[BUNDLE.slice(0).path] == 1


async def test_who_failed_once_and_lives_is_preferred_again(
    pair: tuple[Upstream, Upstream], tmp_path: Path
) -> None:
    first, second = pair
    async with running_edge(tmp_path, first.url, second.url, cool_down_for=Seconds(60)) as edge:
        first.faults[LIST] = Fault.RESET
        assert (await edge.ask(LIST)).status == 200
        await until_state(edge, first, 0)
        assert (await edge.ask(BUNDLE.slice(0).path)).status == 200
        assert second.asked[BUNDLE.slice(0).path] == 0


async def test_an_upstream_that_is_slow_to_begin_is_overtaken(
    pair: tuple[Upstream, Upstream], tmp_path: Path
) -> None:
    first, second = pair
    first.gate.clear()
    async with running_edge(tmp_path, first.url, second.url, hedge_after_max=Seconds(0.05)) as edge:
        assert (await edge.ask(LIST)).status == 200
        assert (first.asked[LIST], second.asked[LIST]) == (1, 1)
        assert edge.metric("playhead_edge_upstream_retries_total", why="slow") == 1
        assert edge.metric("playhead_edge_fills_total") == 1


async def test_an_answer_that_has_begun_is_not_overtaken(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        first, second = Upstream(), Upstream()
        for upstream in (first, second):
            upstream.publish(title)
            await stack.enter_async_context(upstream.running())
        first.faults[LIST] = Fault.STALLED
        patient = ClientSettings(stall_after=Seconds(0.5))
        edge = await stack.enter_async_context(
            running_edge(
                tmp_path, first.url, second.url, client=patient, hedge_after_max=Seconds(0.1)
            )
        )
        assert (await edge.ask(LIST)).status == 200
        assert edge.metric("playhead_edge_upstream_retries_total", why="slow") == 0
        assert edge.metric("playhead_edge_upstream_retries_total", why="failed") == 1


async def test_attempts_stay_within_the_budget(
    pair: tuple[Upstream, Upstream], tmp_path: Path
) -> None:
    """The first fails every third request: never so often that it is asked no more."""
    first, second = pair
    offered, reserve = 300, 4
    paths = publish_many(first, offered)
    publish_many(second, offered)
    first.faults = dict.fromkeys(paths[::3], Fault.BROKEN)
    async with running_edge(
        tmp_path,
        first.url,
        second.url,
        fills_max=reserve,
        hedge_after_max=NEVER,
        cool_down_for=Seconds(0),
    ) as edge:
        statuses = [(await edge.ask(path)).status for path in paths]
        made = attempts(edge, first) + attempts(edge, second)
        assert 1.19 * offered <= made <= 1.2 * offered + reserve
        refused = edge.metric("playhead_edge_upstream_retries_total", why="refused")
        assert refused == statuses.count(502) > 0
        assert set(statuses) == {200, 502}


async def test_an_upstream_that_dies_with_every_fill_under_way_costs_no_answer(
    pair: tuple[Upstream, Upstream], tmp_path: Path
) -> None:
    first, second = pair
    paths = publish_many(first, 32)
    publish_many(second, 32)
    first.faults = dict.fromkeys(paths, Fault.CUT)
    first.gate.clear()
    async with running_edge(tmp_path, first.url, second.url, hedge_after_max=NEVER) as edge:
        asking = [asyncio.create_task(edge.ask(path)) for path in paths]

        async def all_asked() -> bool:
            return sum(first.asked[path] for path in paths) == 32

        await eventually(all_asked)
        first.gate.set()
        assert {reply.status for reply in await asyncio.gather(*asking)} == {200}


async def test_for_each_object_one_shield_is_asked(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        shields, origin = [Upstream() for _ in range(3)], Upstream()
        for upstream in (*shields, origin):
            await stack.enter_async_context(upstream.running())
        urls = [shield.url for shield in shields]
        by_url = {shield.url: shield for shield in shields}
        paths = [f"/t/a-title/h/channel-{index}" for index in range(30)]
        for shield in shields:
            publish_many(shield, 30)
        edge = await stack.enter_async_context(
            running_edge(tmp_path, origin.url, shields=tuple(urls))
        )
        for path in paths:
            assert (await edge.ask(path)).status == 200
        for path in paths:
            asked = [url for url in urls if by_url[url].asked[path]]
            assert asked == ranked(urls, path.encode())[:1]
        assert not origin.asked


async def test_what_a_shield_does_not_find_is_not_there(
    pair: tuple[Upstream, Upstream], tmp_path: Path
) -> None:
    shield, origin = pair
    shield.objects.clear()
    async with running_edge(tmp_path, origin.url, shields=(shield.url,)) as edge:
        assert (await edge.ask(LIST)).status == 404
        assert not origin.asked


async def test_a_shield_that_fails_is_left_for_the_next_and_the_origin(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        shields, origin = [Upstream() for _ in range(2)], Upstream()
        for upstream in (*shields, origin):
            upstream.publish(title)
            await stack.enter_async_context(upstream.running())
        urls = tuple(shield.url for shield in shields)
        first, second = (
            next(shield for shield in shields if shield.url == url)
            for url in ranked(urls, LIST.encode())
        )
        first.faults[LIST] = Fault.RESET
        edge = await stack.enter_async_context(
            running_edge(tmp_path / "a", origin.url, shields=urls)
        )
        assert (await edge.ask(LIST)).status == 200
        assert (first.asked[LIST], second.asked[LIST], origin.asked[LIST]) == (1, 1, 0)
        second.faults[LIST] = Fault.RESET
        edge = await stack.enter_async_context(
            running_edge(tmp_path / "b", origin.url, shields=urls)
        )
        assert (await edge.ask(LIST)).status == 200
        assert (first.asked[LIST], second.asked[LIST], origin.asked[LIST]) == (2, 2, 1)


async def test_who_is_asked_by_a_node_asks_no_shield(
    pair: tuple[Upstream, Upstream], tmp_path: Path
) -> None:
    shield, origin = pair
    async with running_edge(tmp_path, origin.url, shields=(shield.url,)) as edge:
        assert (await edge.ask(LIST, CDN_Loop="playhead; node=another")).status == 200
        assert (shield.asked[LIST], origin.asked[LIST]) == (0, 1)


async def test_two_edges_that_name_each_other_answer_at_once(tmp_path: Path) -> None:
    [port] = free_ports(1)
    async with (
        running_edge(tmp_path / "a", f"http://127.0.0.1:{port}", hedge_after_max=NEVER) as first,
        running_edge(tmp_path / "b", first.url, listen=ListenSettings(port=port)),
    ):
        async with asyncio.timeout(5):
            reply = await first.ask(LIST)
        assert reply.status == 502


async def test_two_edges_that_take_each_other_for_a_shield_ask_the_origin(
    pair: tuple[Upstream, Upstream], tmp_path: Path
) -> None:
    """Both miss at once, so that each waits for the other, were it not for what they say."""
    origin, _ = pair
    [port] = free_ports(1)
    shields = (f"http://127.0.0.1:{port}",)
    async with (
        running_edge(tmp_path / "a", origin.url, shields=shields, hedge_after_max=NEVER) as first,
        running_edge(
            tmp_path / "b",
            origin.url,
            listen=ListenSettings(port=port),
            shields=(first.url,),
            hedge_after_max=NEVER,
        ) as second,
    ):
        async with asyncio.timeout(5):
            replies = await asyncio.gather(first.ask(LIST), second.ask(LIST))
        assert [reply.status for reply in replies] == [200, 200]


async def test_a_request_that_passed_many_nodes_is_refused(
    pair: tuple[Upstream, Upstream], tmp_path: Path
) -> None:
    async with running_edge(tmp_path, pair[0].url) as edge:
        nodes = [f"playhead; node=n{index}" for index in range(NODES_MAX)]
        passed = ", ".join(["another-cdn", *nodes[1:]])
        # In this order: what is cached is for anyone, since it goes no further.
        assert (await edge.ask(LIST, CDN_Loop=", ".join(nodes))).status == 508
        assert (await edge.ask(LIST, CDN_Loop=passed)).status == 200


async def test_an_own_url_must_be_one_of_the_shields(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"edge\.own_url"):
        async with running_edge(
            tmp_path, "http://127.0.0.1:9", shields=("http://a:1",), own_url="http://b:1"
        ):
            pass
