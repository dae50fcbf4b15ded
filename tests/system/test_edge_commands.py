"""An operator's commands against real processes: warmed, killed, and players none the wiser."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.errors import InvalidInput, NotFound, PlayheadError, Unauthenticated, Unavailable
from playhead.roles import Finished, command, run
from playhead.trees import differences
from tests.platform import Platform, running_platform
from tests.polling import eventually_sync
from tests.trees import write_tree

pytestmark = [pytest.mark.slow, pytest.mark.may_block]


@pytest.fixture(params=[0])
def platform(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Platform]:
    with running_platform(tmp_path, None, f"edge.workers={request.param}") as platform:
        yield platform


with_and_without_workers = pytest.mark.parametrize("platform", [0, 3], indirect=True)


def edge(platform: Platform, *words: str | Path) -> Finished:
    return platform.type("edge", *words, "--edge", platform.edge.url)


def published(platform: Platform, folder: Path, **changes: int) -> Path:
    build = folder / f"build {len(list(folder.glob('build *')))}"
    write_tree(build, seed=8, **changes)
    version = build.name.split()[1]
    platform.push(build, f"v{version}").last_json()
    return build


@with_and_without_workers
def test_after_a_warm_a_cold_console_installs_and_updates_with_the_origin_gone(
    platform: Platform, tmp_path: Path
) -> None:
    old, kept = published(platform, tmp_path), tmp_path / "kept"
    platform.console("install", "game", kept).last_json()
    new = published(platform, tmp_path, changes=3)
    warm = edge(platform, "warm", "game", "--deltas", "--json").last_json()
    assert (warm["phase"], warm["failed_count"], warm["release"]["counter"]) == ("done", 0, 2)
    assert warm["fetched"]["delta"]["count"] >= 1
    platform.origin.kill()

    cold = tmp_path / "cold"
    platform.console("install", "game", cold).last_json()
    assert list(differences(new, cold)) == []
    assert list(differences(old, kept)) == []
    updated = platform.console("update", kept).last_json()
    assert list(differences(new, kept)) == []
    assert updated["failed_requests"] == 0
    status = edge(platform, "status", "--json").last_json()
    assert status["fills_running"] == 0


@with_and_without_workers
def test_a_warm_outlives_kill_9_of_its_edge_and_fetches_nothing_twice(
    platform: Platform, tmp_path: Path
) -> None:
    published(platform, tmp_path)
    begun = edge(platform, "warm", "game", "--max-rate", "400KiB", "--detach", "--json").last_json()

    def fetched() -> int:
        [warm] = [json.loads(file.read_text()) for file in _files(tmp_path)]
        return int(warm["fetched"].get("slice", {"count": 0})["count"])

    eventually_sync(lambda: fetched() >= 2, within_s=30)
    platform.edge.kill()
    before = _origin_bytes(platform)
    platform.edge.start()
    again = edge(platform, "warm", "game", "--json").last_json()
    assert again["warm_id"] == begun["warm_id"]
    assert (again["phase"], again["runs"]) == ("done", 2)
    assert again["present"]["slice"]["count"] >= 2
    fetched_again = sum(amount["size"] for amount in again["fetched"].values())
    # Whoever was killed may have had a few slices under way that were not on disk yet.
    assert _origin_bytes(platform) - before <= fetched_again + (64 << 10)
    platform.origin.kill()
    platform.console("install", "game", tmp_path / "game").last_json()


@with_and_without_workers
def test_stopping_the_command_leaves_the_warm_to_the_edge(
    platform: Platform, tmp_path: Path
) -> None:
    published(platform, tmp_path)
    words = [*platform.storage, "edge", "warm", "game", "--max-rate", "300KiB"]
    child = subprocess.Popen(
        command([*words, "--edge", platform.edge.url], tmp_path / "child.peak"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    eventually_sync(lambda: bool(_files(tmp_path)), within_s=30)
    os.kill(child.pid, signal.SIGINT)
    _, errors = child.communicate(timeout=30)
    assert child.returncode == 130
    assert "the edge goes on" in errors
    [warm] = json.loads(edge(platform, "warms", "--json").output)
    assert warm["phase"] in ("planning", "running")
    cancelled = edge(platform, "cancel", warm["warm_id"], "--json").last_json()
    assert cancelled["phase"] == "cancelled"
    assert warm["warm_id"] in edge(platform, "warms").output


@with_and_without_workers
def test_a_purge_shows_what_it_would_do_asks_first_and_does_it(
    platform: Platform, tmp_path: Path
) -> None:
    published(platform, tmp_path)
    warm = edge(platform, "warm", "game", "--json").last_json()
    content = sum(warm["fetched"][kind]["size"] for kind in ("manifest", "slice-list", "slice"))
    plan = edge(platform, "purge", "game@live", "--hard", "--dry-run", "--json").last_json()
    assert plan["blobs"]["size"] == content
    refused = edge(platform, "purge", "game@live", "--hard")
    assert refused.exit_code == InvalidInput.exit_code
    assert "would drop" in refused.errors
    assert edge(platform, "status", "--json").last_json()["cache"]["size"] >= content
    done = edge(platform, "purge", "game@live", "--hard", "--yes", "--json").last_json()
    assert done["blobs"] == plan["blobs"]
    assert edge(platform, "status", "--json").last_json()["cache"]["size"] == 0
    platform.console("install", "game", tmp_path / "game").last_json()


@with_and_without_workers
def test_a_drained_edge_is_not_ready_until_that_is_undone(
    platform: Platform, tmp_path: Path
) -> None:
    assert edge(platform, "drain", "--wait").exit_code == 0
    status = edge(platform, "status", "--json").last_json()
    assert status["draining"] is True
    assert edge(platform, "drain", "--undo").exit_code == 0
    assert edge(platform, "status", "--json").last_json()["draining"] is False


def test_errors_have_their_exit_codes_and_the_audit_log_its_lines(
    platform: Platform, tmp_path: Path
) -> None:
    published(platform, tmp_path)
    cases: list[tuple[tuple[str, ...], type[PlayheadError]]] = [
        (("warm", "No Title"), InvalidInput),
        (("warm", "game", "--deadline", "never"), InvalidInput),
        (("warm", "game", "--max-rate", "fast"), InvalidInput),
        (("warm", "no-such-title"), Unavailable),
        (("cancel", "20260101t000000-00000000"), NotFound),
        (("purge", "game@99", "--dry-run"), NotFound),
        (("explain", "game"), InvalidInput),
    ]
    for words, error in cases:
        done = edge(platform, *words)
        assert done.exit_code == error.exit_code, (words, done)
        assert done.errors.splitlines()[-1].startswith("playhead: "), done.errors
    gone = platform.type("edge", "status", "--edge", "http://127.0.0.1:9")
    assert gone.exit_code == Unavailable.exit_code
    stranger = [f"--set=data={tmp_path / 'elsewhere'}", "edge", "status"]
    refused = run([*stranger, "--edge", platform.edge.url], scratch=tmp_path)
    assert refused.exit_code == Unauthenticated.exit_code
    lines = [
        json.loads(line) for line in platform.type("audit", "--json").output.splitlines() if line
    ]
    told = {(line["what"], line["on"], line["outcome"]) for line in lines if "what" in line}
    assert ("warm", "no-such-title", "ok") in told
    assert ("dry purge", "game@99", "not-found") in told
    assert ("ask", "/edge/v1/status", "unauthenticated") in told


def test_an_edge_explains_where_an_object_is(platform: Platform, tmp_path: Path) -> None:
    published(platform, tmp_path)
    edge(platform, "warm", "game", "--json").last_json()
    found = edge(platform, "explain", f"{platform.edge.url}/t/game/h/live")
    assert "cached since" in found.output
    again = edge(platform, "explain", "/t/game/r/0000000001", "--json").last_json()
    assert again["cached"] is True


def _files(folder: Path) -> list[Path]:
    return list((folder / "data" / "edge" / "warms").glob("*.json"))


def _origin_bytes(platform: Platform) -> int:
    lines = (platform.folder / "origin.log").read_text().splitlines()
    events = [json.loads(line) for line in lines if line.startswith("{")]
    return sum(e["sent_bytes"] for e in events if e.get("event") == "request.served")
