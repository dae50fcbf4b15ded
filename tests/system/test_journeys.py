"""From a publisher's folder to a console's, every role a process: on a directory and on S3."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from playhead.roles import Finished, Role, run
from playhead.trees import differences
from tests.servers.ports import free_ports
from tests.servers.swift import Swift
from tests.trees import write_tree

pytestmark = [pytest.mark.slow, pytest.mark.may_block]


S3_SETTINGS = ["bucket", "prefix", "endpoint_url", "region", "addressing"]
S3_SETTINGS += ["access_key_id", "secret_access_key"]


@dataclass
class Platform:
    """An origin and an edge, and how to type a command at them."""

    folder: Path
    storage: list[str]
    origin: Role
    edge: Role

    def type(self, *words: str | Path) -> Finished:
        return run([*self.storage, *words], scratch=self.folder)

    def push(self, build: Path, version: str) -> Finished:
        return self.type(
            "push", build, "--title", "game", "--version", version, "--channel", "live", "--json"
        )

    def console(self, verb: str, *words: str | Path) -> Finished:
        return self.type(verb, *words, "--edge", self.edge.url, "--json")


@pytest.fixture(params=["directory", "s3"])
def platform(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Platform]:
    settings = [f"data={tmp_path / 'data'}", "log_json=true", "edge.head_fresh_for=0s"]
    [port] = free_ports(1)
    settings += [f"origin.listen.port={port}", "edge.listen.port=0"]
    settings += [f"edge.upstreams=http://127.0.0.1:{port}"]
    if request.param == "s3":
        swift: Swift = request.getfixturevalue("swift")
        s3 = swift.settings()
        settings += [f"storage.s3.{name}={getattr(s3, name)}" for name in S3_SETTINGS]
    flags = [f"--set={setting}" for setting in settings]
    origin = Role("origin", [*flags, "serve", "origin"], tmp_path / "origin.log")
    edge = Role("edge", [*flags, "serve", "edge"], tmp_path / "edge.log")
    try:
        origin.start()
        edge.start()
        yield Platform(tmp_path, flags, origin, edge)
    finally:
        edge.kill()
        origin.kill()


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
