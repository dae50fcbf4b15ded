"""A publisher's day at the command line, on a directory: layout, promote, roll back, sweep."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from playhead.trees import differences
from tests.platform import Platform, running_platform
from tests.trees import write_tree

pytestmark = [pytest.mark.slow, pytest.mark.may_block]

LAYOUT = """\
[[group]]
name = "launch"
files = ["run", "text/"]

[[group]]
name = "world"
files = ["*.pak"]
"""


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    with running_platform(tmp_path) as platform:
        yield platform


def test_from_beta_to_live_and_back(platform: Platform, tmp_path: Path) -> None:
    layout = tmp_path / "layout.toml"
    layout.write_text(LAYOUT)
    for version, changes in (("1", 0), ("2", 3)):
        write_tree(tmp_path / version, seed=1, changes=changes)
        words = ["--title", "game", "--version", version, "--channel", "beta", "--json"]
        pushed = platform.type("push", tmp_path / version, "--layout", layout, *words).last_json()
        assert pushed["outcome"] == "published"
        idle = platform.type(
            "push", tmp_path / version, "--layout", layout, "--if-changed", *words
        ).last_json()
        assert idle["outcome"] == "unchanged"

    assert platform.type("promote", "game", "1", "--to", "live", "--json").last_json()["is_new"]
    game = tmp_path / "game"
    installed = platform.console("install", "game", game).last_json()
    assert list(differences(tmp_path / "1", game)) == []
    assert installed["first_chunk_s"] <= installed["playable_s"] <= installed["complete_s"]

    assert platform.type("promote", "game", "@2", "--to", "live", "--json").last_json()["is_new"]
    assert not platform.type("promote", "game", "2", "--to", "live", "--json").last_json()["is_new"]
    assert platform.type("promote", "game", "1", "--to", "live").exit_code == 4
    platform.console("update", game).last_json()
    assert list(differences(tmp_path / "2", game)) == []

    back = platform.type("rollback", "game", "--channel", "live", "--json").last_json()
    assert back["head"]["release"]["counter"] == 3
    platform.console("update", game).last_json()
    assert list(differences(tmp_path / "1", game)) == []


def test_sweep_frees_what_nobody_needs_and_nothing_else(platform: Platform, tmp_path: Path) -> None:
    for version in ("1", "2", "3"):
        write_tree(tmp_path / version, seed=int(version))
        platform.push(tmp_path / version, version).last_json()
    words = ["sweep", "game", "--keep", "1", "--grace", "0s", "--json"]
    planned = platform.type(*words, "--dry-run").last_json()
    assert planned["deleted_count"] == 0
    swept = platform.type(*words).last_json()
    assert swept["deleted_bytes"] > 5_000_000
    assert platform.type(*words).last_json()["deleted_count"] == 0

    verdict = platform.type("verify", "--title", "game", "--json").last_json()
    assert (verdict["release_count"], verdict["problems"]) == (1, [])
    platform.console("install", "game", tmp_path / "game").last_json()
    assert list(differences(tmp_path / "3", tmp_path / "game")) == []


def test_damaged_bundle_is_found_and_named(platform: Platform, tmp_path: Path) -> None:
    write_tree(tmp_path / "build", seed=4)
    platform.push(tmp_path / "build", "1").last_json()
    bundle = next((tmp_path / "data" / "objects" / "t" / "game" / "b").iterdir())
    data = bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 1
    bundle.write_bytes(data)
    found = platform.type("verify", "--title", "game")
    assert found.exit_code == 9
    assert bundle.name in found.errors


def test_delta_sets_are_made_listed_and_judged(platform: Platform, tmp_path: Path) -> None:
    for version, changes in (("1", 0), ("2", 3), ("3", 5)):
        write_tree(tmp_path / version, seed=1, changes=changes)
        words = ["--title", "game", "--version", version, "--channel", "live", "--json"]
        pushed = platform.type("push", tmp_path / version, "--no-deltas", *words).last_json()
        assert pushed["deltas"] is None
    for base, target in (("1", "2"), ("2", "3")):
        words = ["--from", base, "--to", target, "--json"]
        made: Any = platform.type("deltas", "add", "game", *words).last_json()
        assert [each["count"] > 0 for each in made] == [True]
    again: Any = platform.type("deltas", "add", "game", "--json").last_json()
    assert [(each["base"], each["was_there"]) for each in again] == [(2, True), (1, False)]
    assert again[1]["omitted"]["reason"] == "few-stones"
    sets: Any = platform.type("deltas", "list", "game", "--json").last_json()
    assert [(each["base"], each["target"]) for each in sets] == [(2, 3), (1, 2)]
    ways: Any = platform.type("deltas", "report", "game", "--json").last_json()
    assert [(way["base"], way["depth"]) for way in ways] == [(2, 1), (1, 2)]
    assert all(way["size"] < way["plain_size"] for way in ways)
    said = platform.type("explain", "1", "3", "--title", "game", "--json").last_json()
    assert said["delta_size"] == ways[1]["size"]
