"""A console on a disk of its own that fills up, or cannot be written. Needs root, to mount it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from console.platform_api import Console
from console.progress import Event, Planned
from kit.errors import Denied, OutOfSpace
from tests.consoles import console_on, differences
from tests.faulty_edge import FaultyEdge, serving_faulty
from tests.folder_publisher import LIVE, TITLE, FolderPublisher
from tests.trees import write_tree

pytestmark = pytest.mark.may_block


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """16 MB of memory, mounted as a disk."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or not mount(disk, "size=16m"):
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def mount(disk: Path, options: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Some 6 MB."""
    tree = tmp_path / "tree"
    tree.mkdir()
    write_tree(tree, seed=3)
    return tree


@pytest.fixture
async def console(tree: Path) -> AsyncIterator[Console]:
    publisher = FolderPublisher()
    publisher.publish(tree)
    edge = FaultyEdge(publisher.objects)
    async with serving_faulty(edge), console_on(edge) as console:
        yield console


def fill(disk: Path, leave: int) -> Path:
    """Put a file on the disk that leaves so many bytes free."""
    found = os.statvfs(disk)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(found.f_bavail * found.f_frsize - leave))
    return ballast


async def test_too_small_a_disk_is_refused_before_anything_is_done(
    console: Console, disk: Path, tree: Path
) -> None:
    fill(disk, 4_000_000)
    with pytest.raises(OutOfSpace, match=r"\d+ bytes are needed and \d+ are free"):
        await console.install(TITLE, disk / "game", channel=LIVE)
    assert list((disk / "game").iterdir()) == []


@pytest.mark.parametrize("leave", [0, 100_000, 1_000_000, 4_000_000])
async def test_disk_that_fills_up_midway_costs_nothing(
    console: Console, disk: Path, tree: Path, leave: int
) -> None:
    ballast = disk / "ballast"

    def fill_once_planned(event: Event) -> None:
        if isinstance(event, Planned):
            fill(disk, leave)

    with pytest.raises(OutOfSpace, match=r"No space left.*; \d+ bytes are still"):
        await console.install(TITLE, disk / "game", channel=LIVE, observer=fill_once_planned)
    ballast.unlink()
    await console.install(TITLE, disk / "game", channel=LIVE)
    assert await differences(tree, disk / "game") == []


async def test_full_disk_leaves_the_old_version_playable(
    console: Console, disk: Path, tree: Path
) -> None:
    await console.install(TITLE, disk / "game", channel=LIVE)
    (disk / "game" / "engine.bin").write_bytes(b"modded")

    def fill_once_planned(event: Event) -> None:
        if isinstance(event, Planned):
            fill(disk, 100_000)

    with pytest.raises(OutOfSpace):
        await console.update(disk / "game", observer=fill_once_planned)
    assert (disk / "game" / "engine.bin").read_bytes() == b"modded"
    assert (disk / "game" / "world.pak").read_bytes() == (tree / "world.pak").read_bytes()


async def test_folder_that_cannot_be_written_is_named(console: Console, disk: Path) -> None:
    assert mount(disk, "remount,ro")
    with pytest.raises(Denied, match=r"disk/game.*must be able to write"):
        await console.install(TITLE, disk / "game", channel=LIVE)
