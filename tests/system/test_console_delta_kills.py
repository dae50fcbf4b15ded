"""A console killed again and again while it applies deltas gets there, and makes no step twice."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from console.platform_api import Console
from tests.consoles import console_on, differences
from tests.delta_publisher import DeltaPublisher, write_version
from tests.faulty_edge import serving_faulty
from tests.pushes import LIVE, TITLE
from tests.seeds import run_seed

pytestmark = [pytest.mark.may_block, pytest.mark.slow]

KILLS_MAX = 12


@pytest.fixture
async def publisher(tmp_path: Path) -> AsyncIterator[DeltaPublisher]:
    publisher = DeltaPublisher(tmp_path)
    async with serving_faulty(publisher.edge):
        yield publisher


@pytest.fixture
async def console(publisher: DeltaPublisher) -> AsyncIterator[Console]:
    async with console_on(publisher.edge) as console:
        yield console


async def run_killing(url: str, game: Path, rng: random.Random) -> int:
    """Run the child until it ends by itself; return how often it was killed before."""
    for kills in range(KILLS_MAX + 1):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.console_child", url, game
        )
        patience_s = rng.uniform(0.3, 0.8) if kills < KILLS_MAX else 60
        try:
            async with asyncio.timeout(patience_s):
                assert await child.wait() == 0
        except TimeoutError:
            assert patience_s < 60, "the child hangs"
            child.send_signal(signal.SIGKILL)
            await child.wait()
        else:
            return kills
    raise AssertionError("unreachable: the last run is not killed")


@pytest.mark.parametrize("seed", [run_seed()])
async def test_update_in_steps_survives_kills_at_any_moment(
    publisher: DeltaPublisher, console: Console, tmp_path: Path, seed: int
) -> None:
    print(f"seed {seed}")
    game, trees = tmp_path / "game", [tmp_path / f"v{number}" for number in (1, 2, 3)]
    for number, tree in enumerate(trees, start=1):
        # Some 20 MB: reading bases and making targets takes longer than a child is let live.
        write_version(tree, number, noise_size=20_000_000)
        await publisher.publish(tree, with_deltas=True)
        if number == 1:
            await console.install(TITLE, game, channel=LIVE)
    plan = await console.plan(TITLE, game, channel=LIVE)
    assert plan.deltas > 6
    kills = await run_killing(publisher.edge.url, game, random.Random(seed))
    print(f"{kills} kills")
    assert kills
    assert await differences(trees[-1], game) == []
    assert (await console.verify(game)).is_sound
    assert not any((game / ".playhead" / "staging").iterdir())
