"""A disk that fills up while deltas are applied, or has no room for them. Needs root, to mount."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from console.platform_api import Console
from console.progress import Event, Planned
from kit.errors import OutOfSpace, Unavailable
from manifests import locations
from tests.consoles import console_on, differences
from tests.delta_publisher import DeltaPublisher, write_version
from tests.disks import memory_disk
from tests.faulty_edge import Asked, Fault, after, serving_faulty, status
from tests.pushes import LIVE, TITLE

Trees = list[Path]

pytestmark = [pytest.mark.may_block, pytest.mark.slow]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """64 MiB of memory, mounted as a disk."""
    with memory_disk(tmp_path / "disk", 64) as disk:
        yield disk


@pytest.fixture
async def publisher(tmp_path: Path) -> AsyncIterator[DeltaPublisher]:
    publisher = DeltaPublisher(tmp_path)
    async with serving_faulty(publisher.edge):
        yield publisher


@pytest.fixture
async def console(publisher: DeltaPublisher) -> AsyncIterator[Console]:
    async with console_on(publisher.edge) as console:
        yield console


@pytest.fixture
async def trees(publisher: DeltaPublisher, console: Console, disk: Path, tmp_path: Path) -> Trees:
    """Three versions are published, with deltas from one to the next; the first is installed."""
    trees = [tmp_path / f"v{number}" for number in (1, 2, 3)]
    for number, tree in enumerate(trees, start=1):
        write_version(tree, number, noise_size=10_000_000)
        await publisher.publish(tree, with_deltas=True)
        if number == 1:
            await console.install(TITLE, disk / "game", channel=LIVE)
    return trees


@pytest.mark.parametrize("leave", [0, 100_000, 1_000_000, 2_500_000, 4_000_000])
async def test_old_build_stays_intact_and_the_same_command_finishes(
    console: Console, disk: Path, trees: Trees, leave: int
) -> None:
    """Between the first stepping stone and the last file."""
    game = disk / "game"
    ballast = disk / "ballast"

    def fill_once_planned(event: Event) -> None:
        if isinstance(event, Planned):
            assert event.plan.deltas > 2
            found = os.statvfs(disk)
            ballast.write_bytes(bytes(found.f_bavail * found.f_frsize - leave))

    with pytest.raises(OutOfSpace, match=r"No space left.*; \d+ bytes are still"):
        await console.update(game, observer=fill_once_planned)
    assert await differences(trees[0], game) == []
    ballast.unlink()
    report = await console.update(game)
    assert report.was_resumed or leave == 0
    assert report.failed_deltas == 0
    assert await differences(trees[-1], game) == []


async def test_where_some_stepping_stones_fit_some_are_used(
    console: Console, disk: Path, trees: Trees
) -> None:
    """Their deltas are fetched; for the others plain chunks are."""
    game = disk / "game"
    ample = await console.plan(TITLE, game, channel=LIVE)
    fill(disk, ample.peak_extra_bytes - 1)
    plan = await console.plan(TITLE, game, channel=LIVE)
    assert 0 < plan.delta_step_bytes < ample.delta_step_bytes
    assert 0 < plan.deltas < ample.deltas
    assert ample.download_bytes < plan.download_bytes < 10_000_000
    report = await console.update(game)
    assert report.plan == plan
    assert report.written_bytes == plan.write_bytes
    assert await differences(trees[-1], game) == []


async def test_where_no_stepping_stone_fits_plain_chunks_are_fetched(
    console: Console, disk: Path, trees: Trees
) -> None:
    game = disk / "game"
    ample = await console.plan(TITLE, game, channel=LIVE)
    fill(disk, ample.peak_extra_bytes - ample.delta_step_bytes)
    plan = await console.plan(TITLE, game, channel=LIVE)
    assert (plan.deltas, plan.delta_step_bytes) == (0, 0)
    report = await console.update(game)
    assert report.plan == plan
    assert await differences(trees[-1], game) == []


async def test_stepping_stones_of_an_earlier_attempt_give_way(
    publisher: DeltaPublisher, console: Console, disk: Path, trees: Trees
) -> None:
    """The disk has become so full that nothing but plain chunks fits, and these without them."""
    game = disk / "game"
    publisher.edge.fault = last_step_fails(publisher)
    with pytest.raises(Unavailable):
        await console.update(game)
    publisher.edge.fault = None
    [staging] = (game / ".playhead" / "staging").iterdir()
    assert len(list(staging.glob("stone.*"))) > 1
    easy = await console.plan(TITLE, game, channel=LIVE)
    fill(disk, easy.peak_extra_bytes - 500_000)
    report = await console.update(game)
    assert report.plan.deltas == 0
    assert await differences(trees[-1], game) == []


async def test_disk_that_is_too_small_for_plain_chunks_is_refused(
    console: Console, disk: Path, trees: Trees
) -> None:
    game = disk / "game"
    fill(disk, 100_000)
    with pytest.raises(OutOfSpace, match=r"\d+ bytes are needed.* \d+ are free; nothing was"):
        await console.update(game)
    assert await differences(trees[0], game) == []


def fill(disk: Path, leave: int) -> None:
    """Put a file on the disk that leaves so many bytes free, and up to a block more."""
    found = os.statvfs(disk)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(found.f_bavail * found.f_frsize - leave))


def last_step_fails(publisher: DeltaPublisher) -> Fault:
    """Let the deltas through that make stepping stones, and what no delta brings; nothing else."""
    [last, _] = [publisher.index(ref) for ref in publisher.head.deltas]
    last_bundles = {locations.bundle_key(TITLE, bundle.bundle_id) for bundle in last.bundles}
    deltas, fails = publisher.delta_bundles(), status(503)
    later_fail = after(1, fails)

    async def answer(request: web.Request, asked: Asked, body: bytes) -> web.StreamResponse | None:
        if asked.path in last_bundles:
            return await fails(request, asked, body)
        if asked.is_bundle and asked.path not in deltas:
            return await later_fail(request, asked, body)
        return None

    return answer
