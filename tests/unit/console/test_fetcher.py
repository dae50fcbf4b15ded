"""Edges that err, lie, stall and die, and the console that goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from console.edges import Edge, best_edge
from kit.errors import SettingsError, Unavailable
from tests.consoles import console_on, differences
from tests.faulty_edge import (
    Fault,
    FaultyEdge,
    after,
    cut_short,
    flipped,
    only_bundles,
    other_span,
    serving_faulty,
    stalled,
    status,
    whole_object,
)
from tests.folder_publisher import LIVE, TITLE, FolderPublisher
from tests.trees import write_tree

pytestmark = pytest.mark.may_block

FAULTS = {
    "error": status(500),
    "missing": status(404),
    "redirect": status(302),
    "flipped": flipped,
    "other span": other_span,
    "whole object": whole_object,
    "cut short": cut_short,
    "stalled": stalled,
}


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


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_next_edge_answers_for_a_bad_one(
    two_edges: tuple[FaultyEdge, FaultyEdge],
    published: tuple[Path, FolderPublisher],
    tmp_path: Path,
    fault: Fault,
) -> None:
    bad, good = two_edges
    bad.fault = only_bundles(fault)
    async with console_on(bad, good) as console:
        report = await console.install(TITLE, tmp_path / "game", channel=LIVE)
    assert report.failed_requests > 0
    assert await differences(published[0], tmp_path / "game") == []


@pytest.mark.parametrize("fault", [flipped, status(503), stalled])
async def test_manifest_comes_from_the_next_edge_too(
    two_edges: tuple[FaultyEdge, FaultyEdge],
    published: tuple[Path, FolderPublisher],
    tmp_path: Path,
    fault: Fault,
) -> None:
    bad, good = two_edges
    bad.fault = fault
    async with console_on(bad, good) as console:
        await console.install(TITLE, tmp_path / "game", channel=LIVE)
    assert await differences(published[0], tmp_path / "game") == []


async def test_edge_that_dies_midway_is_left(
    two_edges: tuple[FaultyEdge, FaultyEdge],
    published: tuple[Path, FolderPublisher],
    tmp_path: Path,
) -> None:
    dying, good = two_edges
    dying.fault = after(5, cut_short)
    async with console_on(dying, good) as console:
        await console.install(TITLE, tmp_path / "game", channel=LIVE)
    assert good.sent_bytes > 0
    assert await differences(published[0], tmp_path / "game") == []


async def test_edge_that_is_not_there_is_passed_over(
    two_edges: tuple[FaultyEdge, FaultyEdge],
    published: tuple[Path, FolderPublisher],
    tmp_path: Path,
) -> None:
    nobody = FaultyEdge({}, url="http://127.0.0.1:9")
    async with console_on(nobody, two_edges[0]) as console:
        await console.install(TITLE, tmp_path / "game", channel=LIVE)
    assert await differences(published[0], tmp_path / "game") == []


async def test_giving_up_names_every_edge_and_what_it_said(
    two_edges: tuple[FaultyEdge, FaultyEdge], tmp_path: Path
) -> None:
    first, second = two_edges
    first.fault, second.fault = only_bundles(status(503)), only_bundles(flipped)
    async with console_on(first, second) as console:
        with pytest.raises(Unavailable) as caught:
            await console.install(TITLE, tmp_path / "game", channel=LIVE)
    assert f"{first.url}: " in str(caught.value)
    assert "answered 503" in str(caught.value)
    assert "are not it" in str(caught.value)


async def test_after_giving_up_the_same_call_goes_on(
    two_edges: tuple[FaultyEdge, FaultyEdge],
    published: tuple[Path, FolderPublisher],
    tmp_path: Path,
) -> None:
    edge = two_edges[0]
    edge.fault = only_bundles(after(3, status(503)))
    async with console_on(edge) as console:
        with pytest.raises(Unavailable):
            await console.install(TITLE, tmp_path / "game", channel=LIVE)
        edge.fault = None
        sent_before = edge.sent_bytes
        report = await console.install(TITLE, tmp_path / "game", channel=LIVE)
    assert report.plan.kept_bytes > 0
    # Only the head is asked for again, and chunks that had not come.
    assert edge.sent_bytes - sent_before == report.plan.download_bytes + len(
        published[1].objects["t/a-title/h/live"]
    )
    assert await differences(published[0], tmp_path / "game") == []


async def test_one_spoilt_object_does_not_stop_a_single_edge_for_good(
    two_edges: tuple[FaultyEdge, FaultyEdge],
    published: tuple[Path, FolderPublisher],
    tmp_path: Path,
) -> None:
    edge, wrong_answers = two_edges[0], iter(range(3))

    async def flipped_thrice(request, asked, body):  # type: ignore[no-untyped-def]
        return (
            await flipped(request, asked, body) if next(wrong_answers, None) is not None else None
        )

    edge.fault = only_bundles(flipped_thrice)
    async with console_on(edge) as console:
        report = await console.install(TITLE, tmp_path / "game", channel=LIVE)
    assert report.failed_requests == 3
    assert await differences(published[0], tmp_path / "game") == []


async def test_without_any_edge_the_setting_is_named(tmp_path: Path) -> None:
    async with console_on() as console:
        with pytest.raises(SettingsError, match=r"console\.edges"):
            await console.install(TITLE, tmp_path / "game", channel=LIVE)


def test_penalty_doubles_with_each_failure_and_has_a_limit() -> None:
    edge, waits = Edge("a"), []
    for _ in range(5):
        now = edge.shunned_until if edge.failures else 0.0
        edge.failed(now, Unavailable("down"), 1.0, 6.0)
        waits.append(edge.shunned_until - now)
    assert waits == [1.0, 2.0, 4.0, 6.0, 6.0]


def test_failures_at_the_same_time_count_as_one() -> None:
    edge = Edge("a")
    for _ in range(8):
        edge.failed(100.0, Unavailable("down"), 1.0, 30.0)
    assert edge.shunned_until == 101.0


def test_an_edge_that_asks_for_time_gets_it_up_to_a_limit() -> None:
    edge = Edge("a")
    edge.failed(100.0, Unavailable("busy", retry_after_s=7.0), 1.0, 30.0)
    assert edge.shunned_until == 107.0
    edge.failed(101.0, Unavailable("busy", retry_after_s=9.0), 1.0, 30.0)
    assert edge.shunned_until == 110.0
    edge.failed(102.0, Unavailable("down"), 1.0, 30.0)
    assert edge.shunned_until == 110.0
    edge.failed(110.0, Unavailable("gone", retry_after_s=1e9), 1.0, 30.0)
    assert edge.shunned_until == 140.0


def test_success_ends_a_penalty() -> None:
    edge = Edge("a")
    edge.failed(0.0, Unavailable("down"), 1.0, 30.0)
    edge.succeeded()
    assert best_edge([edge], {}, 0.0) == (edge, 0.0)


def test_first_edge_in_order_is_asked() -> None:
    edges = [Edge("a"), Edge("b")]
    assert best_edge(edges, {}, 0.0) == (edges[0], 0.0)


def test_edge_that_lacks_one_object_is_not_asked_for_it_again_before_the_others() -> None:
    edges = [Edge("a"), Edge("b")]
    assert best_edge(edges, {"a": 1}, 0.0) == (edges[1], 0.0)


def test_when_all_are_shunned_the_soonest_is_waited_for() -> None:
    edges = [Edge("a", shunned_until=9.0), Edge("b", shunned_until=7.0)]
    assert best_edge(edges, {}, 5.0) == (edges[1], 2.0)
