"""Any three trees pushed with deltas: whichever release a console has, it gets to the newest."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.clock import ManualClock
from kit.object_storage.testing import MemoryStorage
from packager.deltas import add_deltas
from packager.patches import DeltaSettings
from packager.title_store import TitleStore
from playhead import trees
from tests.any_tree import build_tree, edit_tree, edits, scratch, steps
from tests.consoles import console_on
from tests.faulty_edge import FaultyEdge, serving_faulty
from tests.pushes import IN_AN_HOUR_S, LIVE, TITLE, FreeLock, push_folder, stored_objects

pytestmark = pytest.mark.may_block

Edits = list[tuple[str, int, bytes]]


@given(steps, edits, edits, st.integers(0, 2))
@settings(max_examples=15, deadline=None)
def test_console_at_any_release_gets_to_the_newest(
    first: list[tuple[str, str, int, int]], second: Edits, third: Edits, start: int
) -> None:
    async def run(folder: Path) -> None:
        storage, edge, game = MemoryStorage(), FaultyEdge({}), folder / "game"
        tree = folder / "v0"
        build_tree(tree, first)
        async with serving_faulty(edge), console_on(edge) as console:
            for number, changed in enumerate(([], second, third)):
                if number:
                    before, tree = tree, folder / f"v{number}"
                    shutil.copytree(before, tree, symlinks=True)
                    edit_tree(tree, changed)
                (tree / "version").write_text(str(number))
                await push_folder(storage, tree, f"{number}.0")
                if number:
                    await add_deltas(
                        TitleStore(storage, TITLE),
                        FreeLock(),
                        None,
                        None,
                        settings=DeltaSettings(),
                        cache_folder=folder / "cache",
                        clock=ManualClock(IN_AN_HOUR_S),
                    )
                edge.objects = await stored_objects(storage)
                if number == start:
                    await console.install(TITLE, game, channel=LIVE)
            report = await console.update(game)
            assert report.failed_deltas == 0
            assert report.written_bytes <= report.plan.write_bytes
            assert list(trees.differences(tree, game)) == []

    with scratch() as folder:
        asyncio.run(run(folder))
