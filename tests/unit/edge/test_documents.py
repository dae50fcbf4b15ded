"""Heads and releases through an edge: how fresh, how stale, and what outlives the origin."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from edge.crew import Crew
from kit.clock import ManualClock
from kit.units import ByteSize, Seconds
from manifests.addresses import TrustBundleAddress
from tests import titles
from tests.polling import eventually
from tests.servers.upstream import Fault, Upstream
from tests.serving import Node, running_edge

old, new = titles.some_title(seed=1), titles.some_title(seed=2)
HEAD = old.head_address.path
RELEASE = old.release_address.path
BUNDLE = TrustBundleAddress(titles.TITLE, titles.LIVE).path
DAY_S = 24 * 3600
ASKED = "playhead_edge_upstream_attempts_total"
AVOIDED = "playhead_edge_upstreams_avoided"


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    upstream.publish(old)
    async with upstream.running():
        yield upstream


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start=1_000_000_000)


@pytest.fixture
async def edge(upstream: Upstream, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Node]:
    async with running_edge(tmp_path, upstream.url, clock=clock) as edge:
        yield edge


async def status_of(edge: Node, path: str = HEAD) -> tuple[bytes, str, str]:
    reply = await edge.ask(path)
    assert reply.status == 200
    return (
        reply.body,
        reply.headers["Cache-Status"].removeprefix("playhead; "),
        reply.headers["Age"],
    )


async def test_a_head_is_fresh_for_30_seconds(
    edge: Node, upstream: Upstream, clock: ManualClock
) -> None:
    assert await status_of(edge) == (old.head, "fwd=miss", "0")
    upstream.publish(new)
    clock.advance(29)
    assert await status_of(edge) == (old.head, "hit", "29")
    assert upstream.asked[HEAD] == 1


async def test_then_it_is_refreshed_behind_the_clients_back(
    edge: Node, upstream: Upstream, clock: ManualClock
) -> None:
    await edge.ask(HEAD)
    upstream.publish(new)
    upstream.gate.clear()
    clock.advance(31)
    for _ in range(3):
        assert await status_of(edge) == (old.head, "hit; detail=stale", "31")
    upstream.gate.set()

    async def is_new() -> bool:
        return await status_of(edge) == (new.head, "hit", "0")

    await eventually(is_new)
    assert upstream.asked[HEAD] == 2


async def test_after_a_minute_it_is_refreshed_first(
    edge: Node, upstream: Upstream, clock: ManualClock
) -> None:
    await edge.ask(HEAD)
    upstream.publish(new)
    clock.advance(61)
    assert await status_of(edge) == (new.head, "fwd=stale", "0")


async def test_for_a_day_it_is_served_stale_when_the_upstream_fails(
    edge: Node, upstream: Upstream, clock: ManualClock
) -> None:
    await edge.ask(HEAD)
    upstream.spoil(Fault.BROKEN)
    clock.advance(DAY_S)
    assert await status_of(edge) == (old.head, "hit; detail=stale", str(DAY_S))
    clock.advance(60)
    assert (await edge.ask(HEAD)).status == 502


async def test_a_failing_upstream_is_not_waited_for_each_time(
    edge: Node, upstream: Upstream, clock: ManualClock
) -> None:
    await edge.ask(HEAD)
    upstream.spoil(Fault.BROKEN)
    clock.advance(61)
    await edge.ask(HEAD)
    upstream.gate.clear()  # whoever asks upstream now waits for ever
    assert (await status_of(edge))[1] == "hit; detail=stale"
    upstream.gate.set()


async def test_a_head_that_is_gone_is_gone(
    edge: Node, upstream: Upstream, clock: ManualClock, tmp_path: Path
) -> None:
    await edge.ask(HEAD)

    async def is_saved() -> bool:
        return bool(list(tmp_path.glob("documents/*.json")))

    await eventually(is_saved)
    del upstream.objects[HEAD]
    clock.advance(61)
    assert (await edge.ask(HEAD)).status == 404

    async def is_deleted() -> bool:
        return not list(tmp_path.glob("documents/*"))

    await eventually(is_deleted)


async def test_a_head_published_a_moment_later_is_found(edge: Node, upstream: Upstream) -> None:
    del upstream.objects[HEAD]
    assert (await edge.ask(HEAD)).status == 404
    upstream.publish(old)
    assert (await edge.ask(HEAD)).status == 200


async def test_a_release_is_fresh_for_a_week(
    edge: Node, upstream: Upstream, clock: ManualClock
) -> None:
    await edge.ask(RELEASE)
    clock.advance(7 * DAY_S - 1)
    assert (await status_of(edge, RELEASE))[1] == "hit"
    assert upstream.asked[RELEASE] == 1


async def test_with_no_freshness_every_request_sees_the_newest(
    upstream: Upstream, tmp_path: Path, clock: ManualClock
) -> None:
    async with running_edge(tmp_path, upstream.url, clock=clock, head_fresh_for=Seconds(0)) as edge:
        assert (await edge.ask(HEAD)).body == old.head
        upstream.publish(new)
        assert (await edge.ask(HEAD)).body == new.head


async def test_a_bundle_is_asked_for_again_once_its_head_has_moved(
    edge: Node, upstream: Upstream, clock: ManualClock
) -> None:
    upstream.objects[BUNDLE] = b"vouches for the old one"
    assert (await status_of(edge, BUNDLE))[1] == "fwd=miss"
    clock.advance(10)
    assert (await status_of(edge, HEAD))[1] == "fwd=miss"
    assert (await status_of(edge, BUNDLE))[1] == "fwd=stale"
    clock.advance(61)
    assert (await status_of(edge, HEAD))[1] == "fwd=stale"
    assert (await status_of(edge, BUNDLE))[1] == "fwd=stale"
    clock.advance(10)
    assert (await status_of(edge, BUNDLE))[1] == "hit"
    upstream.publish(new)
    upstream.objects[BUNDLE] = b"vouches for the new one"
    clock.advance(25)
    assert (await status_of(edge, HEAD))[1] == "hit; detail=stale"

    async def is_new() -> bool:
        return (await status_of(edge, HEAD))[0] == new.head

    await eventually(is_new)
    upstream.faults[BUNDLE] = Fault.BROKEN
    assert (await status_of(edge, BUNDLE))[0] == b"vouches for the old one"
    del upstream.faults[BUNDLE]
    clock.advance(6)
    assert (await status_of(edge, BUNDLE))[0] == b"vouches for the new one"


async def test_an_edge_behind_an_edge_adds_up_the_age(
    edge: Node, tmp_path: Path, clock: ManualClock
) -> None:
    await edge.ask(HEAD)
    clock.advance(20)
    async with running_edge(tmp_path / "far", edge.url, clock=clock) as far:
        assert await status_of(far) == (old.head, "fwd=miss", "20")
        clock.advance(15)  # 35 s after the origin gave it
        assert (await status_of(far))[1:] == ("hit; detail=stale", "35")


async def test_a_restarted_edge_serves_all_it_has_without_an_origin(
    upstream: Upstream, tmp_path: Path, clock: ManualClock
) -> None:
    paths = {
        HEAD: old.head,
        RELEASE: old.release,
        old.manifest_address.path: old.manifest,
        old.bundle_address.path: old.bundle,
    }
    async with running_edge(tmp_path, upstream.url, clock=clock) as edge:
        for path in paths:
            await edge.ask(path)
    clock.advance(3600)
    async with running_edge(tmp_path, "http://127.0.0.1:9", clock=clock) as edge:
        for path, content in paths.items():
            reply = await edge.ask(path)
            assert (reply.status, reply.body) == (200, content), path


@pytest.mark.parametrize("damage", [b"", b"{}", b"not json", b"x" * 100_000])
async def test_a_damaged_file_is_as_good_as_none(
    upstream: Upstream, tmp_path: Path, damage: bytes
) -> None:
    async with running_edge(tmp_path, upstream.url) as edge:
        await edge.ask(HEAD)
    [file] = (tmp_path / "documents").iterdir()
    file.write_bytes(damage)
    async with running_edge(tmp_path, upstream.url) as edge:
        assert (await edge.ask(HEAD)).body == old.head
        assert upstream.asked[HEAD] == 2


async def test_a_document_whose_bytes_changed_on_disk_is_dropped(
    upstream: Upstream, tmp_path: Path
) -> None:
    async with running_edge(tmp_path, upstream.url) as edge:
        await edge.ask(HEAD)
    [file] = (tmp_path / "documents").iterdir()
    file.write_bytes(file.read_bytes().replace(b'"content":"e', b'"content":"f'))
    async with running_edge(tmp_path, upstream.url) as edge:
        assert (await edge.ask(HEAD)).body == old.head
        assert upstream.asked[HEAD] == 2


async def test_only_so_many_documents_are_kept(upstream: Upstream, tmp_path: Path) -> None:
    heads = [f"/t/title-{index}/h/live" for index in range(5)]
    for index, path in enumerate(heads):
        upstream.objects[path] = b'{"format":%d}' % index
    async with running_edge(tmp_path, upstream.url, documents_max=3) as edge:
        for path in heads:
            await edge.ask(path)

        async def are_three() -> bool:
            return len(list((tmp_path / "documents").glob("*.json"))) == 3

        await eventually(are_three)
        await edge.ask(heads[4])
        assert upstream.asked[heads[4]] == 1
        await edge.ask(heads[0])
        assert upstream.asked[heads[0]] == 2


async def test_documents_take_only_so_many_bytes(upstream: Upstream, tmp_path: Path) -> None:
    roots = [f"/trust/{version}.root.json" for version in range(1, 6)]
    for version, path in enumerate(roots):
        upstream.objects[path] = b"%d" % version + b" " * 400_000
    async with running_edge(tmp_path, upstream.url, documents_max_bytes=ByteSize(1 << 20)) as edge:
        for path in roots:
            assert (await edge.ask(path)).body == upstream.objects[path]

        async def are_two() -> bool:
            return len(list((tmp_path / "documents").glob("*.json"))) == 2

        await eventually(are_two)
        await edge.ask(roots[4])
        assert upstream.asked[roots[4]] == 1
        await edge.ask(roots[0])
        assert upstream.asked[roots[0]] == 2


async def test_a_restarted_edge_serves_metadata_of_trust_without_an_origin(
    upstream: Upstream, tmp_path: Path
) -> None:
    bundle = f"{HEAD}/trust"
    content = {bundle: b"b" * 100_000, "/trust/timestamp.json": b"t", "/trust/7.root.json": b"r"}
    upstream.objects |= content
    async with running_edge(tmp_path, upstream.url) as edge:
        for path in content:
            await edge.ask(path)
    upstream.spoil(Fault.RESET)
    async with running_edge(tmp_path, upstream.url) as edge:
        for path, expected in content.items():
            assert (await edge.ask(path)).body == expected


@pytest.mark.parametrize(
    ("path", "size_max"),
    [
        (HEAD, 16 << 10),
        ("/trust/timestamp.json", 16 << 10),
        (f"{HEAD}/trust", 256 << 10),
        ("/trust/1.root.json", 5_000_000),
    ],
)
async def test_each_kind_of_document_has_a_limit(
    upstream: Upstream, tmp_path: Path, path: str, size_max: int
) -> None:
    upstream.objects[path] = b" " * (size_max + 1)
    async with running_edge(tmp_path, upstream.url) as edge:
        assert (await edge.ask(path)).status == 502
        upstream.objects[path] = b" " * size_max
        assert (await edge.ask(path)).status == 200


async def test_without_upstreams_a_worker_still_asks_the_one_that_fetches_for_all(
    clock: ManualClock, tmp_path: Path
) -> None:
    """What that one renewed just before they went, by a warm perhaps, is there for all players."""
    upstream = Upstream()
    upstream.publish(old)
    async with AsyncExitStack() as stack:
        origin = await stack.enter_async_context(upstream.running())
        workers = [
            await stack.enter_async_context(
                running_edge(tmp_path, origin.url, clock=clock, crew=Crew(index, 2))
            )
            for index in (0, 1)
        ]
        for worker in workers:
            assert (await status_of(worker))[0] == old.head
        [other] = [worker for worker in workers if worker.metric(ASKED, upstream=origin.url) == 0]
        [owner] = [worker for worker in workers if worker is not other]
        upstream.publish(new)
        clock.advance(61)
        assert (await status_of(owner))[0] == new.head
        upstream.spoil(Fault.BROKEN)
        for path in upstream.objects:  # until one fails that this worker fetches itself
            if path != HEAD and not other.metric(AVOIDED):
                await other.ask(path)
        assert other.metric(AVOIDED) == 1
        assert (await status_of(other))[0] == new.head


async def test_what_has_not_changed_does_not_come_again(
    edge: Node, upstream: Upstream, clock: ManualClock
) -> None:
    await edge.ask(HEAD)
    clock.advance(61)
    assert await status_of(edge) == (old.head, "fwd=stale", "0")
    assert (upstream.asked[HEAD], upstream.confirmed[HEAD]) == (2, 1)
    clock.advance(20)
    assert (await status_of(edge))[1:] == ("hit", "20")
    upstream.publish(new)
    clock.advance(61)
    assert await status_of(edge) == (new.head, "fwd=stale", "0")
    assert (upstream.asked[HEAD], upstream.confirmed[HEAD]) == (3, 1)


async def test_what_confirms_something_else_is_asked_again_without_a_tag(
    edge: Node, upstream: Upstream, clock: ManualClock
) -> None:
    await edge.ask(HEAD)
    upstream.publish(new)
    upstream.confirms[HEAD] = '"0123"'
    clock.advance(61)
    assert (await status_of(edge))[:2] == (new.head, "fwd=stale")
    assert (upstream.asked[HEAD], upstream.confirmed[HEAD]) == (3, 1)


async def test_an_edge_that_confirms_what_is_old_says_how_old(
    edge: Node, tmp_path: Path, upstream: Upstream, clock: ManualClock
) -> None:
    async with running_edge(tmp_path / "far", edge.url, clock=clock) as far:
        await far.ask(HEAD)
        clock.advance(40)
        await edge.ask(HEAD)  # refreshed behind

        async def is_young() -> bool:
            return (await status_of(edge))[2] == "0"

        await eventually(is_young)
        clock.advance(25)
        assert (await status_of(far))[1:] == ("fwd=stale", "25")
        assert upstream.asked[HEAD] == 2
