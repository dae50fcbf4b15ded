"""The platform's keys at the command line: made, shared between two machines, replaced, revoked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from playhead.roles import Finished, run
from tests.platform import Platform, running_platform
from tests.trees import write_tree

pytestmark = [pytest.mark.slow, pytest.mark.may_block]


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    with running_platform(tmp_path) as platform:
        yield platform


def done(finished: Finished) -> str:
    assert finished.exit_code == 0, finished.errors
    return finished.output


def push(platform: Platform, version: str, title: str = "game") -> Finished:
    build = platform.folder / version
    if not build.exists():
        write_tree(build, seed=int(version))
    words = ["--title", title, "--version", version, "--channel", "live", "--json", "--no-deltas"]
    return platform.type("push", build, *words)


def doubts(platform: Platform) -> list[str]:
    found = json.loads(platform.type("verify", "--title", "game", "--quick", "--json").output)
    return [problem["detail"] for problem in found["problems"]]


def test_two_holders_share_the_keys_of_a_running_platform(
    platform: Platform, tmp_path: Path
) -> None:
    done(push(platform, "1"))
    assert doubts(platform) == []
    healthy = platform.type("keys", "doctor", "--json").last_json()
    assert (healthy["publisher_count"], healthy["title_count"]) == (1, 1)
    assert healthy["ailments"] == []

    bob = [f"--set=data={tmp_path / 'bob'}"]
    public, change = tmp_path / "bob.json", tmp_path / "change.json"
    done(run([*bob, "keys", "init", "--holder", "bob", "--public", public], scratch=tmp_path))
    words: list[str | Path] = ["keys", "add-holder", "--public", public, "--threshold", "2"]
    planned = done(platform.type(*words, "--dry-run"))
    assert "root: 2 must sign, not 1" in planned
    assert not change.exists()
    assert "not in force yet" in done(platform.type(*words, "--yes", "--out", change))
    # Nobody answers the question: nothing is signed.
    assert platform.type("keys", "sign", change).exit_code == 1
    signed = done(run([*bob, "keys", "sign", change, "--yes"], scratch=tmp_path))
    assert "enough have signed" in signed
    assert "done" in done(platform.type("keys", "sign", change, "--yes"))

    # Titles there are go on; a new one needs both.
    done(push(platform, "2"))
    refused = push(platform, "3", "other")
    assert refused.exit_code == 5
    assert "playhead keys add-holder --publisher local --title other" in refused.errors
    words = ["keys", "add-holder", "--publisher", "local", "--title", "other", "--yes"]
    done(platform.type(*words, "--out", change))
    done(run([*bob, "keys", "sign", change, "--yes"], scratch=tmp_path))
    done(platform.type("keys", "sign", change, "--yes"))
    done(push(platform, "3", "other"))
    assert doubts(platform) == []


def test_every_key_is_replaced_while_the_origin_runs(platform: Platform) -> None:
    done(push(platform, "1"))
    for name in ("timestamp", "snapshot", "release", "root-1", "targets-1"):
        assert "in force" in done(platform.type("keys", "rotate", name, "--yes"))
        assert doubts(platform) == []
    assert "in force" in done(platform.type("keys", "rotate", "local", "--publisher", "--yes"))
    platform.console("install", "game", platform.folder / "game").last_json()
    done(push(platform, "2"))
    assert doubts(platform) == []
    platform.console("update", platform.folder / "game").last_json()
    assert platform.type("keys", "doctor", "--json").last_json()["ailments"] == []


def test_revoked_publisher_is_doubted_and_may_not_publish(platform: Platform) -> None:
    done(push(platform, "1"))
    words = ["keys", "revoke", "--publisher", "local", "--title", "game", "--yes"]
    assert "publisher local loses title game" in done(platform.type(*words))
    [doubt] = doubts(platform)
    assert "does not give the title to publisher local" in doubt
    refused = platform.console("install", "game", platform.folder / "game")
    assert refused.exit_code not in (0, 1)
    assert "publisher" in refused.errors
    assert not (platform.folder / "game" / "run").exists()


def test_doctor_exits_with_1_and_names_what_is_wrong(platform: Platform, tmp_path: Path) -> None:
    done(push(platform, "1"))
    keyring = tmp_path / "data" / "keys" / "keys.json"
    keyring.chmod(0o644)
    found = platform.type("keys", "doctor")
    assert found.exit_code == 1
    assert f"permissions: {keyring} may be read by others" in found.errors
    refused = push(platform, "2")
    assert refused.exit_code == 2
    assert "chmod 600" in refused.errors
    keyring.chmod(0o600)
    done(push(platform, "2"))


def test_storage_whose_keys_are_elsewhere_is_not_published_to(
    platform: Platform, tmp_path: Path
) -> None:
    done(push(platform, "1"))
    shutil.copytree(tmp_path / "data" / "objects", tmp_path / "copy" / "objects")
    write_tree(tmp_path / "2", seed=2)
    words = ["--title", "game", "--version", "2", "--channel", "live"]
    elsewhere = f"--set=data={tmp_path / 'copy'}"
    refused = run([elsewhere, "push", tmp_path / "2", *words], scratch=tmp_path)
    assert refused.exit_code == 2
    assert "vouched for by keys that are not in" in refused.errors
    assert not (tmp_path / "copy" / "keys").exists()
