"""An update in place that is killed, or finds the disk full, at anything it does to the disk."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from console.placement import Mode
from console.platform_api import Console
from kit.errors import OutOfSpace
from tests.consoles import console_on, differences
from tests.disks import fill, memory_disk
from tests.dying_child import Effects
from tests.faulty_edge import FaultyEdge, serving_faulty
from tests.folder_publisher import LIVE, TITLE, FolderPublisher

pytestmark = [pytest.mark.may_block, pytest.mark.slow, pytest.mark.timeout(600)]

MIB = 1 << 20


@dataclass
class World:
    """Old and new build, and a folder on a small disk to which the old one can be put again."""

    edge: FaultyEdge
    console: Console
    old: Path
    new: Path
    installed: Path
    disk: Path

    @property
    def game(self) -> Path:
        return self.disk / "game"

    def put_old(self) -> None:
        shutil.rmtree(self.game, ignore_errors=True)
        (self.disk / "ballast").unlink(missing_ok=True)
        shutil.copytree(self.installed, self.game, symlinks=True)
        fill(self.disk, 8 * MIB)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with memory_disk(tmp_path / "disk", 64) as disk:
        yield disk


@pytest.fixture
async def world(tmp_path: Path, disk: Path) -> AsyncIterator[World]:
    """A pak that is shifted and grown, one that takes bytes from it, one that is renamed."""
    old, new, installed = (tmp_path / name for name in ("old", "new", "installed"))
    rng = random.Random(9)
    first, second, third = (rng.randbytes(size * MIB) for size in (6, 4, 2))
    old.mkdir()
    for name, content in {"first": first, "second": second, "third": third}.items():
        (old / f"{name}.pak").write_bytes(content)
    (old / "notes.txt").write_bytes(b"old")
    new.mkdir()
    (new / "first.pak").write_bytes(rng.randbytes(600_000) + first)
    (new / "second.pak").write_bytes(second[2 * MIB :] + first[4 * MIB :] + second[: 2 * MIB])
    (new / "moved").mkdir()
    (new / "moved" / "third.pak").write_bytes(third)
    (new / "notes.txt").write_bytes(b"new")
    publisher = FolderPublisher()
    edge = FaultyEdge(publisher.objects)
    publisher.publish(old)
    async with serving_faulty(edge), console_on(edge) as console:
        await console.install(TITLE, installed, channel=LIVE)
        publisher.publish(new)
        yield World(edge, console, old, new, installed, disk)


async def assert_finished(world: World) -> None:
    """Whatever is called next finishes the update; a second one finds nothing to do."""
    world.edge.asked.clear()
    assert (await world.console.verify(world.game)).is_sound
    assert not [asked for asked in world.edge.asked if asked.is_bundle], "the network was needed"
    assert await differences(world.new, world.game) == []
    (world.disk / "ballast").unlink()
    report = await world.console.update(world.game)
    assert (report.plan.download_bytes, report.written_bytes) == (0, 0)
    assert not any((world.game / ".playhead" / "staging").iterdir())


async def test_update_in_place_is_what_is_tested_here(world: World) -> None:
    world.put_old()
    report = await world.console.update(world.game)
    assert report.plan.mode is Mode.IN_PLACE
    assert report.plan.files_changed == 3
    assert await differences(world.new, world.game) == []


async def test_killed_before_anything_it_does_it_is_finished_by_the_next_call(
    world: World,
) -> None:
    effects, seen_in_place, seen_before = 0, 0, 0
    while True:
        world.put_old()
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.dying_child", world.edge.url, world.game, str(effects)
        )
        code = await child.wait()
        if code == 0:
            break
        assert code == -signal.SIGKILL
        status = await world.console.status(world.game)
        if status.under_way is not None and status.under_way.is_in_place:
            seen_in_place += 1
            await assert_finished(world)
        elif status.version == "1.1":
            # Killed before the intent: nothing was changed.
            seen_before += 1
            assert await differences(world.old, world.game) == []
            await world.console.update(world.game)
            assert await differences(world.new, world.game) == []
        else:
            assert await differences(world.new, world.game) == []
        # Every effect at first and then, as batches are all alike, every third.
        effects += 1 if effects < 40 else 3
    print(f"{effects} effects; {seen_before} before the intent, {seen_in_place} in place")
    assert seen_in_place > 20
    assert await differences(world.new, world.game) == []


async def test_disk_that_is_full_at_any_write_costs_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    effects = 0
    while True:
        world.put_old()
        with monkeypatch.context() as patch:
            Effects(effects, full).install(lambda name, effect: patch.setattr(os, name, effect))
            try:
                await world.console.update(world.game)
            except OutOfSpace:
                pass
            else:
                break
        await world.console.update(world.game)
        assert await differences(world.new, world.game) == []
        assert (await world.console.verify(world.game)).is_sound
        effects += 1 if effects < 60 else 3
    assert effects > 60
