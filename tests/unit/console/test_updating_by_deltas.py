"""Updates by deltas: what they cost, how far they reach, and what becomes of one that is wrong."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from console.reports import Report
from kit.errors import Unavailable
from tests.consoles import console_on, differences
from tests.delta_titles import DeltaTitle
from tests.faulty_edge import FaultyEdge, after, only_bundles, serving_faulty, stalled, status
from tests.pushes import LIVE, TITLE

pytestmark = pytest.mark.may_block


@pytest.fixture
def title(tmp_path: Path) -> DeltaTitle:
    return DeltaTitle(tmp_path)


@pytest.fixture
async def edge(title: DeltaTitle) -> AsyncIterator[FaultyEdge]:
    edge = FaultyEdge(title.objects)
    async with serving_faulty(edge):
        yield edge


async def install(edge: FaultyEdge, game: Path) -> None:
    async with console_on(edge) as console:
        await console.install(TITLE, game, channel=LIVE)


async def updated(edge: FaultyEdge, game: Path, **settings: Any) -> Report:
    async with console_on(edge, **settings) as console:
        return await console.update(game)


async def test_plan_by_deltas_is_what_happens(
    title: DeltaTitle, edge: FaultyEdge, tmp_path: Path
) -> None:
    await title.push()
    await install(edge, tmp_path / "game")
    new = await title.push(1)
    async with console_on(edge) as console:
        said = await console.plan(TITLE, tmp_path / "game", channel=LIVE)
        edge.asked.clear()
        report = await console.update(tmp_path / "game")
    asked = [each for each in edge.asked if each.is_bundle]
    assert report.plan == said
    assert said.deltas > 0
    assert edge.bundle_bytes_asked() == said.download_bytes
    assert len(asked) == said.requests
    assert report.written_bytes == said.write_bytes
    assert report.delta_made_bytes == said.delta_made_bytes > 20 * said.delta_bytes
    assert report.failed_deltas == 0
    assert await differences(new, tmp_path / "game") == []


@pytest.mark.parametrize("steps", [2, 3])
async def test_console_a_few_releases_behind_goes_the_way_in_steps(
    title: DeltaTitle, edge: FaultyEdge, tmp_path: Path, steps: int
) -> None:
    new = await title.push()
    await install(edge, tmp_path / "game")
    for base in range(1, steps + 1):
        new = await title.push(base)
    report = await updated(edge, tmp_path / "game")
    assert report.plan.deltas > 1
    assert report.failed_deltas == 0
    assert report.written_bytes == report.plan.write_bytes > report.plan.delta_made_bytes
    assert await differences(new, tmp_path / "game") == []


async def test_console_too_far_behind_fetches_plain_chunks(
    title: DeltaTitle, edge: FaultyEdge, tmp_path: Path
) -> None:
    new = await title.push()
    await install(edge, tmp_path / "game")
    for base in range(1, 5):
        new = await title.push(base)
    report = await updated(edge, tmp_path / "game")
    assert report.plan.download_bytes > 1_000_000
    assert await differences(new, tmp_path / "game") == []


async def test_set_made_for_this_release_is_preferred(
    title: DeltaTitle, edge: FaultyEdge, tmp_path: Path
) -> None:
    await title.push()
    await install(edge, tmp_path / "game")
    await title.push(1)
    new = await title.push(2, 1)
    edge.asked.clear()
    report = await updated(edge, tmp_path / "game")
    assert sum(each.path in title.index_keys() for each in edge.asked) == 1
    assert report.plan.write_bytes < 4_200_000  # no stepping stones
    assert await differences(new, tmp_path / "game") == []


async def test_settings_can_forbid_deltas(
    title: DeltaTitle, edge: FaultyEdge, tmp_path: Path
) -> None:
    await title.push()
    await install(edge, tmp_path / "game")
    new = await title.push(1)
    report = await updated(edge, tmp_path / "game", use_deltas=False)
    assert report.plan.deltas == 0
    assert await differences(new, tmp_path / "game") == []


@pytest.mark.parametrize("what", ["bundle", "index"])
@pytest.mark.parametrize("is_missing", [True, False])
async def test_wrong_or_missing_deltas_give_way_to_plain_chunks(
    title: DeltaTitle, edge: FaultyEdge, tmp_path: Path, what: str, is_missing: bool
) -> None:
    await title.push()
    await install(edge, tmp_path / "game")
    new = await title.push(1)
    keys = title.delta_bundle_keys() if what == "bundle" else title.index_keys()
    assert keys
    for key in keys:
        if is_missing:
            del title.objects[key]
        else:
            wrong = bytearray(title.objects[key])
            wrong[40] ^= 1
            title.objects[key] = bytes(wrong)
    report = await updated(edge, tmp_path / "game")
    assert report.delta_made_bytes < report.plan.installed_bytes
    assert report.failed_deltas > 0 or report.plan.deltas == 0
    assert await differences(new, tmp_path / "game") == []


async def test_edge_that_stalls_on_deltas_gives_plain_chunks(
    title: DeltaTitle, edge: FaultyEdge, tmp_path: Path
) -> None:
    await title.push()
    await install(edge, tmp_path / "game")
    new = await title.push(1)
    keys = title.delta_bundle_keys()

    async def stall_on_deltas(request, asked, body):  # type: ignore[no-untyped-def]
        return await stalled(request, asked, body) if asked.path in keys else None

    edge.fault = stall_on_deltas
    report = await updated(edge, tmp_path / "game", delta_patience=0.1)
    assert report.failed_deltas == report.plan.deltas > 0
    assert report.complete_s < 10
    assert await differences(new, tmp_path / "game") == []


async def test_base_changed_behind_our_back_is_noticed_and_costs_plain_chunks(
    title: DeltaTitle, edge: FaultyEdge, tmp_path: Path
) -> None:
    await title.push()
    game = tmp_path / "game"
    await install(edge, game)
    new = await title.push(1)
    status = (game / "world.pak").stat()
    with (game / "world.pak").open("r+b") as file:
        for at in range(0, 4_000_000, 100_000):
            file.seek(at)
            file.write(b"changed")
    os.utime(game / "world.pak", ns=(status.st_atime_ns, status.st_mtime_ns))
    report = await updated(edge, game)
    assert report.failed_deltas > 0
    assert await differences(new, game) == []


async def test_stepping_stones_of_an_attempt_that_failed_serve_the_next(
    title: DeltaTitle, edge: FaultyEdge, tmp_path: Path
) -> None:
    await title.push()
    await install(edge, tmp_path / "game")
    await title.push(1)
    first_steps = title.delta_bundle_keys()
    new = await title.push(2)

    async def only_first_steps(request, asked, body):  # type: ignore[no-untyped-def]
        if not asked.is_bundle or asked.path in first_steps:
            return None
        return await status(503)(request, asked, body)

    async with console_on(edge, delta_patience=0.1) as console:
        planned = await console.plan(TITLE, tmp_path / "game", channel=LIVE)
        edge.fault = only_first_steps
        with pytest.raises(Unavailable):
            await console.update(tmp_path / "game")
        edge.fault = None
        edge.asked.clear()
        report = await console.update(tmp_path / "game")
    assert 0 < report.plan.deltas < planned.deltas
    assert report.failed_deltas == 0
    assert edge.bundle_bytes_asked() == report.plan.download_bytes
    assert not first_steps & {each.path for each in edge.asked}
    assert await differences(new, tmp_path / "game") == []


async def test_update_left_for_a_newer_one_still_gets_there(
    title: DeltaTitle, edge: FaultyEdge, tmp_path: Path
) -> None:
    await title.push()
    await install(edge, tmp_path / "game")
    await title.push(1)
    edge.fault = only_bundles(after(2, status(503)))
    with pytest.raises(Unavailable):
        await updated(edge, tmp_path / "game", use_deltas=False)
    edge.fault = None
    new = await title.push(2)
    await updated(edge, tmp_path / "game")
    assert await differences(new, tmp_path / "game") == []
