"""A disk that fills up while deltas are applied. Needs root, to mount one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from console.platform_api import Console
from console.progress import Event, Planned
from kit.errors import OutOfSpace
from tests.consoles import console_on, differences
from tests.delta_publisher import DeltaPublisher, write_version
from tests.faulty_edge import serving_faulty
from tests.pushes import LIVE, TITLE

pytestmark = [pytest.mark.may_block, pytest.mark.slow]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """24 MB of memory, mounted as a disk."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.fixture
async def publisher(tmp_path: Path) -> AsyncIterator[DeltaPublisher]:
    publisher = DeltaPublisher(tmp_path)
    async with serving_faulty(publisher.edge):
        yield publisher


@pytest.fixture
async def console(publisher: DeltaPublisher) -> AsyncIterator[Console]:
    async with console_on(publisher.edge) as console:
        yield console


@pytest.mark.parametrize("leave", [0, 100_000, 1_000_000, 2_500_000, 4_000_000])
async def test_old_build_stays_intact_and_the_same_command_finishes(
    publisher: DeltaPublisher, console: Console, disk: Path, tmp_path: Path, leave: int
) -> None:
    """Between the first stepping stone and the last file."""
    game, trees = disk / "game", [tmp_path / f"v{number}" for number in (1, 2, 3)]
    for number, tree in enumerate(trees, start=1):
        write_version(tree, number)
        await publisher.publish(tree, with_deltas=True)
        if number == 1:
            await console.install(TITLE, game, channel=LIVE)
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
