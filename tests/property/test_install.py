"""Any tree, edited in any way: what is installed is what was published, whatever stops it."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.platform_api import Console
from kit.errors import PlayheadError
from playhead import trees
from tests.any_tree import build_tree, edit_tree, edits, groups_by_first_letter, scratch, steps
from tests.consoles import console_on
from tests.faulty_edge import FaultyEdge, after, serving_faulty, status
from tests.folder_publisher import LIVE, TITLE, FolderPublisher

pytestmark = pytest.mark.may_block


@given(steps, steps, edits)
@settings(max_examples=40, deadline=None)
def test_update_leads_to_the_new_tree(
    first: list[tuple[str, str, int, int]],
    second: list[tuple[str, str, int, int]],
    changed: list[tuple[str, int, bytes]],
) -> None:
    async def run(folder: Path, edge: FaultyEdge, publisher: FolderPublisher) -> None:
        old, new, game = folder / "old", folder / "new", folder / "game"
        async with serving_faulty(edge), console_on(edge) as console:
            build_tree(old, first)
            publisher.publish(old, group_of=groups_by_first_letter)
            await console.install(TITLE, game, channel=LIVE)
            assert list(trees.differences(old, game)) == []
            shutil.copytree(old, new, symlinks=True)
            build_tree(new, second)
            edit_tree(new, changed)
            publisher.publish(new, group_of=groups_by_first_letter)
            plan = await console.plan(TITLE, game, channel=LIVE)
            report = await console.update(game)
            assert report.plan == plan
            assert list(trees.differences(new, game)) == []
            assert (await console.verify(game)).is_sound
            await console.uninstall(game)
            assert list(game.iterdir()) == []

    with scratch() as folder:
        publisher = FolderPublisher()
        asyncio.run(run(folder, FaultyEdge(publisher.objects), publisher))


@given(steps, steps, st.lists(st.integers(0, 12), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_update_is_finished_however_often_edges_fail(
    first: list[tuple[str, str, int, int]],
    second: list[tuple[str, str, int, int]],
    answers_until_failure: list[int],
) -> None:
    async def until_done(console: Console, edge: FaultyEdge, game: Path) -> None:
        for count in answers_until_failure:
            edge.fault = after(count, status(503))
            try:
                await console.install(TITLE, game, channel=LIVE)
            except PlayheadError:
                continue
            break
        edge.fault = None
        await console.install(TITLE, game, channel=LIVE)

    async def run(folder: Path, edge: FaultyEdge, publisher: FolderPublisher) -> None:
        trees_ = [folder / "old", folder / "new"]
        build_tree(trees_[0], first)
        build_tree(trees_[1], second)
        async with serving_faulty(edge), console_on(edge, give_up_after=0.02) as console:
            for tree in trees_:
                publisher.publish(tree, group_of=groups_by_first_letter)
                await until_done(console, edge, folder / "game")
                assert list(trees.differences(tree, folder / "game")) == []

    with scratch() as folder:
        publisher = FolderPublisher()
        asyncio.run(run(folder, FaultyEdge(publisher.objects), publisher))
