"""A console that is killed again and again, at any moment, still gets there; and pays little."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from console.platform_api import Console
from tests.console_child import RANGE_SIZE_MAX, REQUESTS_AT_ONCE
from tests.consoles import console_on, differences
from tests.faulty_edge import FaultyEdge, serving_faulty
from tests.folder_publisher import LIVE, TITLE, FolderPublisher
from tests.seeds import run_seed
from tests.trees import write_tree

pytestmark = [pytest.mark.may_block, pytest.mark.slow]

KILLS_MAX = 12

IN_FLIGHT_SIZE_MAX = REQUESTS_AT_ONCE * RANGE_SIZE_MAX
GAPS_SIZE_MAX = 1 << 20
"""After a resume, what lies between two missing chunks may be fetched along with them."""


class Killer:
    """Runs the child until it ends by itself, killing it at random moments before."""

    def __init__(self, edge: FaultyEdge, game: Path, seed: int) -> None:
        self._edge = edge
        self._game = game
        self._random = random.Random(seed)
        self.kills = 0

    async def run(self) -> None:
        while True:
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.console_child", self._edge.url, self._game
            )
            patience_s = self._random.uniform(0.35, 0.9) if self.kills < KILLS_MAX else 60
            try:
                async with asyncio.timeout(patience_s):
                    assert await child.wait() == 0
            except TimeoutError:
                assert patience_s < 60, "the child hangs"
                child.send_signal(signal.SIGKILL)
                await child.wait()
                self.kills += 1
            else:
                return


@pytest.fixture
def game(tmp_path: Path) -> Path:
    return tmp_path / "game"


@pytest.fixture
async def edge() -> AsyncIterator[FaultyEdge]:
    edge = FaultyEdge({})
    async with serving_faulty(edge):
        yield edge


@pytest.fixture
async def console(edge: FaultyEdge) -> AsyncIterator[Console]:
    async with console_on(edge) as console:
        yield console


def big_tree(folder: Path, seed: int) -> None:
    """Some 18 MB that hardly compress, besides the usual small tree."""
    folder.mkdir()
    write_tree(folder, seed=seed)
    for index in range(3):
        noise = random.Random(seed + index).randbytes(6_000_000)
        (folder / f"level{index}.pak").write_bytes(noise)


@pytest.mark.parametrize("seed", [run_seed()])
async def test_install_and_update_survive_kills_at_any_moment(
    edge: FaultyEdge, console: Console, game: Path, tmp_path: Path, seed: int
) -> None:
    print(f"seed {seed}")
    old, new = tmp_path / "old", tmp_path / "new"
    big_tree(old, seed)
    shutil.copytree(old, new, symlinks=True)
    for index in range(3):
        with (new / f"level{index}.pak").open("r+b") as file:
            file.seek(2_000_000)
            file.write(os.urandom(2_500_000))
    (new / "text" / "line005.txt").unlink()
    publisher = FolderPublisher()
    edge.objects = publisher.objects

    for tree in (old, new):
        publisher.publish(tree, group_of=lambda p: "launch" if p < "level1" else "rest")
        needed = (await console.plan(TITLE, game, channel=LIVE)).download_bytes
        edge.asked.clear()
        killer = Killer(edge, game, seed)
        await killer.run()
        print(f"{killer.kills} kills; {edge.bundle_bytes_asked()} bytes asked for, {needed} needed")
        assert await differences(tree, game) == []
        assert (await console.verify(game)).is_sound
        assert not any((game / ".playhead" / "staging").iterdir())
        allowed = needed + killer.kills * (IN_FLIGHT_SIZE_MAX + GAPS_SIZE_MAX)
        assert edge.bundle_bytes_asked() <= allowed
