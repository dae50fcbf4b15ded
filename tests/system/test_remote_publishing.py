"""Publishing through an origin: every party a process, each publisher a machine of its own."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from playhead.trees import differences
from tests.platform import Platform, running_platform
from tests.polling import eventually_sync
from tests.remote import Publisher, log_in
from tests.trees import write_tree

SEED = 20261

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


def test_a_client_killed_at_random_goes_on_where_it_was(platform: Platform, tmp_path: Path) -> None:
    acme = log_in(platform, tmp_path / "acme", "acme", "game")
    write_tree(tmp_path / "build", seed=3)
    chance = random.Random(SEED)
    words = acme.push_words(tmp_path / "build", "1", title="game")
    for attempt in range(4):
        pushing = acme.start(*words)
        with suppress(subprocess.TimeoutExpired):
            pushing.wait(chance.uniform(0.7, 1.6))
        pushing.kill()
        pushing.communicate()
        print(f"seed {SEED}, attempt {attempt}: exit code {pushing.returncode}")
    done = acme.type(*words).last_json()
    assert done["outcome"] in ("published", "pointed", "unchanged")
    platform.console("install", "game", tmp_path / "game").last_json()
    assert list(differences(tmp_path / "build", tmp_path / "game")) == []
    verdict = acme.type("verify", "--title", "game", "--json").last_json()
    assert verdict["problems"] == []


def test_an_origin_killed_amid_an_upload_leaves_nothing_half(
    platform: Platform, tmp_path: Path
) -> None:
    acme = log_in(platform, tmp_path / "acme", "acme", "game")
    write_tree(tmp_path / "build", seed=4)
    words = acme.push_words(tmp_path / "build", "1", title="game")
    pushing = acme.start(*words)
    eventually_sync(lambda: "/publish/v1/" in (tmp_path / "platform" / "origin.log").read_text())
    platform.origin.kill()
    pushing.communicate()
    platform.origin.start()
    assert acme.type(*words).last_json()["outcome"] in ("published", "pointed", "unchanged")
    verdict = acme.type("verify", "--title", "game", "--json").last_json()
    assert (verdict["release_count"], verdict["problems"]) == (1, [])
    platform.console("install", "game", tmp_path / "game").last_json()
    assert list(differences(tmp_path / "build", tmp_path / "game")) == []


def test_a_second_publisher_is_kept_to_its_own_titles(platform: Platform, tmp_path: Path) -> None:
    acme = log_in(platform, tmp_path / "acme", "acme", "game")
    rival = log_in(platform, tmp_path / "rival", "rival", "other")
    write_tree(tmp_path / "build", seed=5)
    acme.push(tmp_path / "build", "1", title="game").last_json()
    refused = rival.push(tmp_path / "build", "1", title="game")
    assert refused.exit_code == 5
    assert "title game is not in what publisher rival was granted here (other)" in refused.errors
    for words in (["releases", "game"], ["sweep", "game"], ["verify", "--title", "game"]):
        assert rival.type(*words).exit_code == 5
    assert rival.push(tmp_path / "build", "1", title="other").last_json()["outcome"] == "published"
    # Nor can an operator give away by mistake what is somebody else's.
    begun = rival.start("login", platform.origin.url)
    try:
        assert begun.stderr is not None
        code = begun.stderr.readline().split()[1]
        words = ["publishers", "approve", code, "--publisher", "rival", "--title", "game"]
        given = platform.type(*words, "--channel", "live")
        assert (given.exit_code, "enrolled for publisher acme" in given.errors) == (4, True)
    finally:
        begun.kill()
        begun.communicate()
    audited = platform.type("audit", "--publisher", "acme", "--json").output.splitlines()
    assert {json.loads(line)["what"] for line in audited} >= {"put", "vouch"}


def test_a_token_that_was_refused_is_renewed_and_a_revoked_login_is_over(
    platform: Platform, tmp_path: Path
) -> None:
    acme = log_in(platform, tmp_path / "acme", "acme", "game")
    kept = json.loads(acme.credentials_file.read_text())
    kept["access_token"] = "no.such.token"
    acme.credentials_file.write_text(json.dumps(kept))
    write_tree(tmp_path / "build", seed=6)
    assert acme.push(tmp_path / "build", "1", title="game").exit_code == 0
    renewed = json.loads(acme.credentials_file.read_text())
    assert renewed["refresh_token"] != kept["refresh_token"]

    platform.type("publishers", "revoke", "acme", "--json").last_json()
    refused = acme.push(tmp_path / "build", "2", title="game")
    assert (refused.exit_code, "`playhead login" in refused.errors) == (5, True)


def test_errors_say_what_to_do(platform: Platform, tmp_path: Path) -> None:
    write_tree(tmp_path / "build", seed=7)
    acme = log_in(platform, tmp_path / "acme", "acme", "game", approval=("--verb", "push"))
    scoped = acme.push(tmp_path / "build", "1", title="game")
    assert (scoped.exit_code, "may not release here, only push" in scoped.errors) == (5, True)
    stranger = Publisher("stranger", tmp_path / "acme", "http://127.0.0.1:9")
    unknown = stranger.push(tmp_path / "build", "1", "--origin", "http://127.0.0.1:9", title="game")
    assert "not logged in at http://127.0.0.1:9: `playhead login" in unknown.errors
    open_ = acme.type("login", "http://origin.example")
    assert (open_.exit_code, "in the open" in open_.errors) == (6, True)
    platform.origin.kill()
    down = acme.push(tmp_path / "build", "1", title="game")
    assert (down.exit_code, platform.origin.url in down.errors) == (8, True)
    assert acme.type("logout").exit_code == 0


def test_bundles_go_straight_into_a_bucket_if_there_is_one(
    platform: Platform, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    acme = log_in(platform, tmp_path / "acme", "acme", "game")
    write_tree(tmp_path / "build", seed=8)
    acme.push(tmp_path / "build", "1", title="game").last_json()
    lines = platform.type("audit", "--json").output.splitlines()
    committed = [json.loads(line) for line in lines if json.loads(line)["what"] == "commit"]
    is_s3 = request.node.callspec.params["platform"] == "s3"
    assert bool(committed) == is_s3
    assert all("/b/" in each["on"] and each["outcome"] == "ok" for each in committed)
