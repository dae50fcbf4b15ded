"""Leases between real processes: minted, renewed, revoked in mid-download, and given back."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit.errors import Denied, SettingsError
from playhead.roles import run
from playhead.trees import differences
from tests.leased_platform import TITLE, running_leased_platform
from tests.platform import running_platform
from tests.polling import eventually_sync
from tests.trees import write_tree

pytestmark = [pytest.mark.slow, pytest.mark.may_block]

BUILD_SIZE = 6 << 20


def test_a_revoked_download_ends_clearly_and_goes_on_once_it_is_granted_again(
    tmp_path: Path,
) -> None:
    with running_leased_platform(tmp_path) as platform:
        build, game = platform.publish(BUILD_SIZE), tmp_path / "game"
        platform.wait_until_heard()
        with platform.downloading(game, "--limit-rate", "1MiB") as child:
            eventually_sync(lambda: platform.has_content(game), within_s=30)
            whose = {"subject": "local", "title": TITLE}
            status, _ = platform.post("/api/v1/revocations", "operator", **whose)
            assert status == 200
            _, errors = child.communicate(timeout=30)
        assert child.returncode == Denied.exit_code
        # Whichever knows it first says so: the service, or the edges.
        assert "does not own it" in errors or "was taken back" in errors
        assert TITLE in errors

        refused = platform.type(*platform.install_words(game)[len(platform.flags) :])
        assert refused.exit_code == Denied.exit_code
        status, _ = platform.post("/api/v1/grants", "operator", **whose)
        assert status == 200
        done = platform.type(*platform.install_words(game)[len(platform.flags) :]).last_json()
        assert list(differences(build, game)) == []
        assert done["received_bytes"] < BUILD_SIZE  # what was there is not fetched again


def test_a_long_download_renews_its_lease_and_feels_nothing(tmp_path: Path) -> None:
    with running_leased_platform(tmp_path, "entitlement.lease_for=1s") as platform:
        build, game = platform.publish(BUILD_SIZE), tmp_path / "game"
        with platform.downloading(game, "--limit-rate", "2MiB") as child:
            output, errors = child.communicate(timeout=60)
        assert child.returncode == 0, errors
        assert '"failed_requests":0' in output.replace(" ", "")
        minted = 'playhead_entitlement_leases_total{outcome="minted"}'
        assert platform.metric(platform.entitlement, minted) >= 3
        assert list(differences(build, game)) == []


def test_a_revocation_outlives_the_service_and_reaches_nodes_that_were_down(
    tmp_path: Path,
) -> None:
    with running_leased_platform(tmp_path) as platform:
        platform.publish(1 << 20)
        platform.wait_until_heard()
        whose = {"subject": "local", "title": TITLE}
        status, minted = platform.post("/api/v1/leases", "player", title=TITLE)
        assert status == 200
        platform.edges[0].kill()
        assert platform.post("/api/v1/revocations", "operator", **whose)[0] == 200
        platform.entitlement.kill()
        platform.entitlement.start()
        platform.edges[0].start()
        platform.wait_until_heard()
        status, answer = platform.post("/api/v1/leases", "player", title=TITLE)
        assert (status, answer["code"]) == (403, "not-owned")
        for role in (platform.origin, *platform.edges):
            known = f"playhead_{'origin' if role is platform.origin else 'edge'}_revocations_known"
            assert platform.metric(role, known) == 1
        assert minted["title"] == TITLE


def test_an_operator_of_one_machine_revokes_by_a_command_that_the_service_tells(
    tmp_path: Path,
) -> None:
    with running_leased_platform(tmp_path) as platform:
        platform.publish(1 << 20)
        platform.wait_until_heard()
        assert platform.type("leases", "revoke", TITLE).exit_code == 0
        edge = platform.edges[0]
        known = "playhead_edge_revocations_known"
        eventually_sync(lambda: platform.metric(edge, known) == 1)
        shown = platform.type("leases", "show", "--json").last_json()
        assert shown["taken"] == [{"subject": "local", "title": TITLE}]
        assert platform.type("leases", "grant", TITLE).exit_code == 0
        done = platform.type(*platform.install_words(tmp_path / "game")[len(platform.flags) :])
        assert done.exit_code == 0


def test_all_leases_end_with_the_keys_and_downloads_go_on_with_new_ones(tmp_path: Path) -> None:
    with running_leased_platform(tmp_path) as platform:
        build, game = platform.publish(BUILD_SIZE), tmp_path / "game"
        platform.wait_until_heard()
        _, stolen = platform.post("/api/v1/leases", "player", title=TITLE)
        with platform.downloading(game, "--limit-rate", "2MiB") as child:
            eventually_sync(lambda: platform.has_content(game), within_s=30)
            (tmp_path / "data" / "keys" / "leases.json").unlink()
            _, errors = child.communicate(timeout=60)
        assert child.returncode == 0, errors
        assert list(differences(build, game)) == []
        assert platform.status_with(str(stolen["lease"])) == 401


def test_on_one_machine_nothing_is_set_up_and_a_title_can_be_taken_and_given_back(
    tmp_path: Path,
) -> None:
    with running_platform(tmp_path) as platform:
        build, game = tmp_path / "build", tmp_path / "game"
        write_tree(build, seed=5)
        platform.push(build, "1").last_json()
        platform.console("install", "game", tmp_path / "first").last_json()

        assert platform.type("leases", "revoke", "game").exit_code == 0
        denied = platform.console("install", "game", game)
        assert denied.exit_code == Denied.exit_code
        assert "playhead leases grant game" in denied.output + denied.errors

        assert platform.type("leases", "grant", "game").exit_code == 0
        platform.console("install", "game", game).last_json()
        assert list(differences(build, game)) == []


def test_a_console_without_keys_is_told_where_leases_come_from(tmp_path: Path) -> None:
    with running_platform(tmp_path) as platform:
        build = tmp_path / "build"
        write_tree(build, seed=5)
        platform.push(build, "1").last_json()
        root = tmp_path / "data" / "keys" / "root.json"
        elsewhere = [f"--set=data={tmp_path / 'elsewhere'}", f"--set=console.trust.root={root}"]
        words = ("install", "game", tmp_path / "game", "--edge", platform.edge.url)
        refused = run([*elsewhere, *words], scratch=tmp_path)
        assert refused.exit_code == SettingsError.exit_code
        assert "console.entitlement.url" in refused.errors
