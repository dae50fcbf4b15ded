"""Any tree, edited in any way: what is installed is what was published, whatever stops it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from console.platform_api import Console
from kit.errors import PlayheadError
from playhead import trees
from tests.any_tree import build_tree, edit_tree, edits, groups_by_first_letter, scratch, steps
from tests.consoles import console_on
from tests.faulty_edge import FaultyEdge, after, serving_faulty, status
from tests.folder_publisher import LIVE, TITLE, FolderPublisher

pytestmark = pytest.mark.may_block


modes = st.sampled_from(["auto", "overlay", "clone", "in-place"])


@given(modes, steps, steps, edits)
@example(
    "auto", [("a/a", "f", 0, 0), ("a/b", "f", 1, 0)], [("a/a", "f", 1, 0), ("b", "f", 1, 0)], []
)
@settings(max_examples=60, deadline=None)
def test_update_leads_to_the_new_tree(
    mode: str,
    first: list[tuple[str, str, int, int]],
    second: list[tuple[str, str, int, int]],
    changed: list[tuple[str, int, bytes]],
) -> None:
    async def run(folder: Path, edge: FaultyEdge, publisher: FolderPublisher) -> None:
        old, new, game = folder / "old", folder / "new", folder / "game"
        async with serving_faulty(edge), console_on(edge, update_mode=mode) as console:
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


failures = st.lists(st.integers(0, 12), max_size=4)
"""After how many answers the edge fails, one number for each attempt."""


@given(modes, steps, steps, st.tuples(failures, failures), st.booleans())
@settings(max_examples=80, deadline=None)
def test_newest_tree_is_reached_however_often_edges_fail(
    mode: str,
    first: list[tuple[str, str, int, int]],
    second: list[tuple[str, str, int, int]],
    answers_until_failures: tuple[list[int], list[int]],
    is_first_finished: bool,
) -> None:
    async def attempt(console: Console, edge: FaultyEdge, game: Path, answers: int) -> None:
        edge.fault = after(answers, status(503))
        with contextlib.suppress(PlayheadError):
            await console.install(TITLE, game, channel=LIVE)
        edge.fault = None

    async def run(folder: Path, edge: FaultyEdge, publisher: FolderPublisher) -> None:
        first_failures, second_failures = answers_until_failures
        old, new, game = folder / "old", folder / "new", folder / "game"
        build_tree(old, first)
        build_tree(new, second)
        patience = {"give_up_after": 0.02, "update_mode": mode}
        async with serving_faulty(edge), console_on(edge, **patience) as console:
            publisher.publish(old, group_of=groups_by_first_letter)
            for answers in first_failures:
                await attempt(console, edge, game, answers)
            if is_first_finished:
                await console.install(TITLE, game, channel=LIVE)
                assert list(trees.differences(old, game)) == []
            publisher.publish(new, group_of=groups_by_first_letter)
            for answers in second_failures:
                await attempt(console, edge, game, answers)
            await console.install(TITLE, game, channel=LIVE)
            assert list(trees.differences(new, game)) == []
            await console.uninstall(game)
            assert list(game.iterdir()) == []

    with scratch() as folder:
        publisher = FolderPublisher()
        asyncio.run(run(folder, FaultyEdge(publisher.objects), publisher))
