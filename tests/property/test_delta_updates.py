"""Any tree, edited in any way and pushed with deltas: every console gets to the newest."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from console.platform_api import Console
from console.reports import Report
from playhead import trees
from tests.any_tree import build_tree, edit_tree, edits, scratch, steps
from tests.consoles import console_on
from tests.delta_publisher import BEST, DeltaPublisher
from tests.faulty_edge import Asked, Fault, flipped, serving_faulty
from tests.pushes import LIVE, TITLE

pytestmark = pytest.mark.may_block

Steps = list[tuple[str, str, int, int]]
Edits = list[tuple[str, int, bytes]]

LARGE: Steps = [("large", "f", 300_000, 0), ("folder/large", "x", 300_000, 1)]
"""Files that deltas pay for."""

large_edits = st.lists(
    st.tuples(
        st.sampled_from([path for path, *_ in LARGE]), st.integers(0, 10**6), st.binary(max_size=40)
    ),
    min_size=1,
    max_size=3,
)
changes = st.tuples(st.one_of(large_edits, edits), steps.map(lambda made: made[:3]))
histories = st.tuples(steps.map(lambda made: made[:6]), st.lists(changes, min_size=1, max_size=2))
"""A first tree, and what is done to make the second and the third of it."""


def write_history(folder: Path, first: Steps, changes: Sequence[tuple[Edits, Steps]]) -> list[Path]:
    """Write every version of a tree."""
    versions = [folder / "v1"]
    build_tree(versions[0], [*LARGE, *first])
    for number, (edited, made) in enumerate(changes, start=2):
        versions.append(folder / f"v{number}")
        shutil.copytree(versions[-2], versions[-1], symlinks=True)
        edit_tree(versions[-1], edited)
        build_tree(versions[-1], made)
    return versions


def only(bundles: set[str], numbers: set[int]) -> Fault:
    """Spoil some answers that bring deltas: those of these numbers."""
    seen = 0

    async def answer(request: web.Request, asked: Asked, body: bytes) -> web.StreamResponse | None:
        nonlocal seen
        if asked.path not in bundles:
            return None
        seen += 1
        return await flipped(request, asked, body) if seen - 1 in numbers else None

    return answer


async def update(console: Console, game: Path, tree: Path) -> Report:
    plan = await console.plan(TITLE, game, channel=LIVE)
    report = await console.update(game)
    assert report.plan == plan
    assert list(trees.differences(tree, game)) == []
    assert (await console.verify(game)).is_sound
    return report


@given(histories, st.integers(0, 1), st.sets(st.integers(0, 5)))
@settings(max_examples=30, deadline=None)
def test_console_at_any_version_gets_to_the_newest(
    history: tuple[Steps, list[tuple[Edits, Steps]]], start: int, spoiled: set[int]
) -> None:
    """Also if some of the deltas it is sent are spoiled; if none is, none fails."""

    async def run(folder: Path) -> None:
        versions = write_history(folder, *history)
        game, publisher = folder / "game", DeltaPublisher(folder)
        async with serving_faulty(publisher.edge), console_on(publisher.edge) as console:
            for number, tree in enumerate(versions):
                await publisher.publish(tree, with_deltas=True)
                if number == min(start, len(versions) - 2):
                    await console.install(TITLE, game, channel=LIVE)
            publisher.edge.fault = only(publisher.delta_bundles(), spoiled)
            report = await update(console, game, versions[-1])
            assert spoiled or report.failed_deltas == 0

    with scratch() as folder:
        asyncio.run(run(folder))


@given(steps.map(lambda made: made[:3]), large_edits, large_edits)
@settings(max_examples=15, deadline=None)
def test_every_version_leads_to_the_newest_with_nothing_spoiled(
    first: Steps, second: Edits, third: Edits
) -> None:
    async def run(folder: Path) -> None:
        versions = write_history(folder, first, [(second, []), (third, [])])
        publisher = DeltaPublisher(folder)
        async with serving_faulty(publisher.edge), console_on(publisher.edge) as console:
            for number, tree in enumerate(versions):
                await publisher.publish(tree, with_deltas=True)
                await console.install(TITLE, folder / f"game{number}", channel=LIVE)
            for number in range(len(versions)):
                report = await update(console, folder / f"game{number}", versions[-1])
                assert report.failed_deltas == 0

    with scratch() as folder:
        asyncio.run(run(folder))


@given(steps.map(lambda made: made[:3]), large_edits, large_edits)
@settings(max_examples=8, deadline=None)
def test_by_own_sets_the_oldest_version_gets_to_the_newest_for_no_more_than_in_steps(
    first: Steps, second: Edits, third: Edits
) -> None:
    async def run(folder: Path) -> None:
        versions = write_history(folder, first, [(second, []), (third, [])])
        publisher = DeltaPublisher(folder, settings=BEST)
        async with serving_faulty(publisher.edge), console_on(publisher.edge) as console:
            for number, tree in enumerate(versions):
                await publisher.publish(tree, with_deltas=True)
                await console.install(TITLE, folder / f"game{number}", channel=LIVE)
            counters = [release.counter for release in publisher.releases]
            in_steps = await console.plan(TITLE, folder / "game0", channel=LIVE)
            if len({release.root for release in publisher.releases}) == 3:
                await publisher.add_sets(counters[1], counters[2])
            report = await update(console, folder / "game0", versions[-1])
            assert report.failed_deltas == 0
            assert report.plan.download_bytes <= in_steps.download_bytes

    with scratch() as folder:
        asyncio.run(run(folder))
