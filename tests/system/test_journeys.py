"""From a publisher's folder to a console's, every role a process: on a directory and on S3."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from playhead.trees import differences
from tests.platform import Platform, running_platform
from tests.servers.swift import Swift
from tests.trees import write_tree

pytestmark = [pytest.mark.slow, pytest.mark.may_block]


@pytest.fixture(params=["directory", "s3"])
def platform(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Platform]:
    s3 = None
    if request.param == "s3":
        swift: Swift = request.getfixturevalue("swift")
        s3 = swift.settings()
    with running_platform(tmp_path, s3) as platform:
        yield platform


def test_publish_install_update_and_go_on_without_an_origin(
    platform: Platform, tmp_path: Path
) -> None:
    old, new, game = tmp_path / "old", tmp_path / "new", tmp_path / "game"
    write_tree(old, seed=1)
    write_tree(new, seed=1, changes=3)

    first = platform.push(old, "1").last_json()
    installed = platform.console("install", "game", game).last_json()
    assert list(differences(old, game)) == []
    assert installed["received_bytes"] < first["build_size"]
    assert installed["plan"]["requests"] <= installed["requests"]

    second = platform.push(new, "2").last_json()
    assert second["uploaded_size"] < first["uploaded_size"]
    updated = platform.console("update", game).last_json()
    assert list(differences(new, game)) == []
    assert updated["received_bytes"] < installed["received_bytes"]

    again = platform.push(new, "2").last_json()
    assert (again["outcome"], again["uploaded_size"]) == ("unchanged", 0)
    assert platform.type("verify", "--title", "game").exit_code == 0

    # An update asks for no manifest but by a delta: the edge knows what a fresh install asked for.
    platform.console("install", "game", tmp_path / "another").last_json()
    platform.origin.kill()
    shutil.rmtree(game)
    platform.console("install", "game", game).last_json()
    assert list(differences(new, game)) == []


def test_edge_killed_without_warning_comes_back_with_its_cache(
    platform: Platform, tmp_path: Path
) -> None:
    build = tmp_path / "build"
    write_tree(build, seed=2)
    platform.push(build, "1").last_json()
    platform.console("install", "game", tmp_path / "one").last_json()
    platform.edge.kill()
    platform.origin.kill()
    platform.edge.start()
    platform.console("install", "game", tmp_path / "two").last_json()
    assert list(differences(build, tmp_path / "two")) == []


@pytest.mark.parametrize("platform", ["directory"], indirect=True)
def test_errors_have_their_exit_codes_and_say_so_in_json(
    platform: Platform, tmp_path: Path
) -> None:
    build = tmp_path / "build"
    write_tree(build, seed=3)
    platform.push(build, "1").last_json()
    (build / "engine.bin").write_bytes(b"other")
    cases = [
        (platform.push(build, "1"), 4, "conflict"),
        (platform.push(build, "bad version"), 6, "invalid-input"),
        (platform.console("install", "no-such-title", tmp_path / "a"), 3, "not-found"),
        (platform.console("install", "No Title", tmp_path / "a"), 6, "invalid-input"),
        (platform.console("update", tmp_path), 3, "not-found"),
        (platform.type("--set=edge.max_byte=1", "releases", "game"), 2, None),
        (platform.type("serve", "origin"), 2, None),  # its port is in use
    ]
    for done, exit_code, code in cases:
        assert done.exit_code == exit_code, done
        if code is not None:
            assert f'"code":"{code}"' in done.output.splitlines()[-1]
        assert done.errors.startswith("playhead: "), done.errors
