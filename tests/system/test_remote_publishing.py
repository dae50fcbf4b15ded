"""Publishing through an origin: every party a process, each publisher a machine of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from playhead.trees import differences
from tests.platform import Platform, running_platform
from tests.remote import log_in
from tests.trees import write_tree

pytestmark = [pytest.mark.slow, pytest.mark.may_block]


@pytest.fixture(params=["directory", "s3"])
def platform(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Platform]:
    s3 = request.getfixturevalue("swift").settings() if request.param == "s3" else None
    with running_platform(tmp_path / "platform", s3) as platform:
        yield platform


def test_login_push_install_and_every_other_command(platform: Platform, tmp_path: Path) -> None:
    acme = log_in(platform, tmp_path / "acme", "acme", "game")
    write_tree(tmp_path / "1", seed=1)
    assert acme.push(tmp_path / "1", "1", title="game").last_json()["outcome"] == "published"
    write_tree(tmp_path / "2", seed=1, changes=3)
    pushed = acme.push(tmp_path / "2", "2", title="game").last_json()
    assert (pushed["outcome"], pushed["deltas"][0]["count"] > 0) == ("published", True)

    platform.console("install", "game", tmp_path / "game").last_json()
    assert list(differences(tmp_path / "2", tmp_path / "game")) == []

    verdict = acme.type("verify", "--title", "game", "--json").last_json()
    assert (verdict["release_count"], verdict["problems"]) == (2, [])
    assert len(acme.type("releases", "game", "--json").last_json()) == 2
    back = acme.type("rollback", "game", "--channel", "live", "--json").last_json()
    assert back["head"]["release"]["counter"] == 3
    assert acme.type("deltas", "list", "game", "--json").exit_code == 0
    words = ["sweep", "game", "--keep", "1", "--grace", "0s", "--json"]
    assert acme.type(*words).last_json()["deleted_count"] > 0
    platform.console("update", tmp_path / "game").last_json()
    assert list(differences(tmp_path / "1", tmp_path / "game")) == []
