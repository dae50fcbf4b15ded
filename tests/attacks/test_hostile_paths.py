"""A build that leaves its folder, by a path or a link; and a link that waits in the folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from manifests.documents import ObjectRef
from manifests.model import Entry, EntryKind
from manifests.names import TitleId
from playhead.publishing import Desk
from tests.attacks.hostile_builds import store_entries
from tests.attacks.stage import (
    NEW,
    OLD,
    Game,
    Stage,
    assert_refused,
    content_of,
    game_that_stands,
)
from tests.builds import file

pytestmark = [pytest.mark.slow, pytest.mark.may_block]


def link(path: str, target: str) -> Entry:
    return Entry(path, EntryKind.LINK, 0, target)


BUILDS: dict[str, list[Entry]] = {
    "the folder above": [file("../outside.bin", 9)],
    "the folder above, from inside": [file("data/../../outside.bin", 9)],
    "from the top": [file("/tmp/outside.bin", 9)],
    "a drive": [file("C:/outside.bin", 9)],
    "a folder above as other systems write it": [file("..\\outside.bin", 9)],
    "a stream of a file": [file("game.bin:hidden", 9)],
    "a device": [file("data/con.txt", 9)],
    "a dot": [file("./game.bin", 9)],
    "a name that is cut elsewhere": [file("readme.txt ", 9)],
    "the console's own state": [file(".playhead/installed.json", 9)],
    "one path twice": [file("a", 9), file("a", 9)],
    "two spellings of one path": [file("A.bin", 9), file("a.bin", 9)],
    "a file that is a folder": [file("a", 9), file("a/b", 9)],
    "a link out": [link("out", "../outside")],
    "a link to the top": [link("out", "/etc")],
    "a link out by the way of a folder": [link("data/out", "../../outside")],
    "a file through a link": [link("data", "elsewhere"), file("data/a.pak", 9)],
    "a link through a link": [link("a", "b"), link("b", "..")],
    "a link to nothing": [link("a", "")],
}


@pytest.fixture(scope="module")
def game(shared_stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Game]:
    folder = tmp_path_factory.mktemp("around") / "in" / "game"
    with game_that_stands(shared_stage, folder) as game:
        yield game


@pytest.mark.parametrize("build", BUILDS)
def test_a_build_that_leaves_its_folder_is_refused_whole(
    stage: Stage, game: Game, build: str
) -> None:
    around = game.folder.parent.parent
    before = set(around.rglob("*"))

    async def store(desk: Desk) -> ObjectRef:
        return await store_entries(desk, BUILDS[build])

    done = game.refuses(stage.at_desk(game.title, store), exit_code=6)
    assert any(repr(entry.path)[1:-1] in done.errors for entry in BUILDS[build]), done.errors
    appeared = {path.name for path in set(around.rglob("*")) - before}
    assert not appeared & {"outside.bin", "share", "out", "hidden", "con.txt"}


def test_an_install_through_a_planted_link_writes_nothing_behind_it(
    stage: Stage, title: TitleId, tmp_path: Path
) -> None:
    elsewhere, game = tmp_path / "elsewhere", tmp_path / "game"
    elsewhere.mkdir()
    game.mkdir()
    (elsewhere / "a.pak").write_bytes(b"somebody's own")
    (game / "data").symlink_to(elsewhere)
    stage.publish(title, OLD)
    done = stage.console("install", title, game)
    assert_refused(done, "data", exit_code=4)
    assert [path.read_bytes() for path in elsewhere.iterdir()] == [b"somebody's own"]
    (game / "data").unlink()
    stage.console("install", title, game).last_json()
    assert content_of(game) == OLD


@pytest.mark.parametrize("verb", ["update", "repair", "uninstall"])
def test_what_was_installed_is_not_touched_through_a_link_planted_later(
    stage: Stage, title: TitleId, tmp_path: Path, verb: str
) -> None:
    """Another program replaces a folder of the game by a link to its own files."""
    game = stage.installed(title, tmp_path / "game")
    elsewhere = tmp_path / "elsewhere"
    (game / "data").rename(elsewhere)
    (elsewhere / "a.pak").write_bytes(b"somebody's own")
    (game / "data").symlink_to(elsewhere)
    stage.publish(title, {**NEW, "data/a.pak": b"new"})
    done = stage.type(verb, game, "--json") if verb == "uninstall" else stage.console(verb, game)
    assert "Traceback" not in done.errors
    assert [path.read_bytes() for path in elsewhere.iterdir()] == [b"somebody's own"]
    assert done.exit_code in {0, 4}
    (game / "data").unlink(missing_ok=True)
    stage.console("install", title, game).last_json()
    assert content_of(game)["data/a.pak"] == b"new"
