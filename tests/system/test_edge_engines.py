"""Consoles that install and update through nginx and Varnish, configured by our command."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from kit.settings import load
from playhead.engines import engine_plan
from playhead.roles import Role
from playhead.settings import Settings
from playhead.trees import differences
from tests.platform import Platform, running_platform
from tests.polling import eventually_sync
from tests.servers.engines import command, program
from tests.servers.ports import free_ports
from tests.trees import write_tree

pytestmark = [pytest.mark.slow, pytest.mark.may_block]


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    with running_platform(tmp_path) as platform:
        yield platform


@contextmanager
def running_through(platform: Platform, engine: str) -> Iterator[str]:
    """Run a gate, and an engine by what ``playhead edge render`` writes; its URL."""
    program(engine)
    [port] = free_ports(1)
    flags = [
        *platform.storage,
        f"--set=engine.upstreams={platform.edge.url}",
        f"--set=engine.listen.port={port}",
        f"--set=engine.user={'root' if Path.home() == Path('/root') else ''}",
        "--set=engine.max_bytes=256MiB",
        "--set=gate.listen.port=0",
        "--set=gate.remember_for=1s",
    ]
    gate = Role("gate", [*flags, "serve", "gate"], platform.folder / "gate.log")
    file, log = platform.folder / "engine.conf", platform.folder / "engine.log"
    try:
        gate.start()
        words: list[str | Path] = [*flags, "edge", "render", "--engine", engine, "--output", file]
        assert platform.type(*words).exit_code == 0
        plan = engine_plan(load(Settings, flags=[flag.removeprefix("--set=") for flag in flags]))
        plan.cache_dir.mkdir(mode=0o700)
        with log.open("wb") as output:
            child = subprocess.Popen(command(plan, engine, file), stdout=output, stderr=output)
        try:
            url = f"http://127.0.0.1:{port}"
            eventually_sync(lambda: is_up(child, url, log), within_s=30)
            yield url
        finally:
            child.terminate()
            child.wait(20)
    finally:
        gate.kill()


def is_up(child: subprocess.Popen[bytes], url: str, log: Path) -> bool:
    assert child.poll() is None, log.read_text()
    try:
        with urlopen(f"{url}/healthz", timeout=5) as reply:
            return bool(reply.status == 200)
    except URLError:
        return False


@pytest.mark.parametrize("engine", ["nginx", "varnish"])
def test_consoles_install_update_and_are_stopped_by_the_operator(
    platform: Platform, tmp_path: Path, engine: str
) -> None:
    old, new, game = tmp_path / "old", tmp_path / "new", tmp_path / "game"
    write_tree(old, seed=1)
    write_tree(new, seed=1, changes=3)
    with running_through(platform, engine) as url:

        def console(verb: str, *words: str | Path) -> int:
            return platform.type(verb, *words, "--edge", url, "--json").exit_code

        platform.push(old, "1").last_json()
        assert console("install", "game", game) == 0
        assert list(differences(old, game)) == []

        platform.push(new, "2").last_json()
        # A head is fresh for 30 s, so another channel tells of the new release at once.
        promoted = platform.type("promote", "game", "2", "--to", "patched", "--json")
        assert promoted.exit_code == 0
        another = tmp_path / "another"
        assert console("install", "game", another, "--channel", "patched") == 0
        assert list(differences(new, another)) == []
        assert console("update", game, "--channel", "patched") == 0
        assert list(differences(new, game)) == []

        assert platform.type("leases", "revoke", "game").exit_code == 0
        assert console("install", "game", tmp_path / "third") != 0
        assert platform.type("leases", "grant", "game").exit_code == 0
        assert console("install", "game", tmp_path / "fourth", "--channel", "patched") == 0
        assert list(differences(new, tmp_path / "fourth")) == []
