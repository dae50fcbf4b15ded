"""Trust as people meet it: push and serve here, install there, with nothing turned off."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.errors import SettingsError, Untrusted
from playhead.roles import Finished, Role, run
from tests.platform import Platform, running_platform

pytestmark = [pytest.mark.slow, pytest.mark.may_block]


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    with running_platform(tmp_path) as running:
        yield running


def push(platform: Platform, text: str) -> None:
    build = platform.folder / "build"
    build.mkdir(exist_ok=True)
    (build / "game.txt").write_text(text)
    done = platform.push(build, text)
    assert done.exit_code == 0, done.errors


def elsewhere(platform: Platform, *words: str | Path, root: Path | None = None) -> Finished:
    """Type at a console of another machine: it has its own data folder, and no keys in it."""
    data = platform.folder / "elsewhere"
    flags = [f"--set=data={data}"]
    if root is not None:
        flags.append(f"--set=console.trust.root={root}")
    return run([*flags, *words, "--edge", platform.edge.url, "--json"], scratch=platform.folder)


def test_console_beside_the_platform_trusts_its_root(platform: Platform, tmp_path: Path) -> None:
    push(platform, "one")
    game = tmp_path / "game"
    done = platform.console("install", "game", game)
    assert done.exit_code == 0, done.errors
    push(platform, "two")
    done = platform.console("update", game)
    assert done.exit_code == 0, done.errors
    assert (game / "game.txt").read_text() == "two"


def test_console_elsewhere_needs_the_root_and_says_so(platform: Platform, tmp_path: Path) -> None:
    push(platform, "one")
    game = tmp_path / "game"
    done = elsewhere(platform, "install", "game", game)
    assert done.exit_code == SettingsError.exit_code
    assert "copy keys/root.json" in done.errors
    assert not (game / ".playhead").exists()
    words = [*platform.storage, "--set=entitlement.listen.port=0", "serve", "entitlement"]
    entitlement = Role("entitlement", words, tmp_path / "entitlement.log")
    entitlement.start()
    try:
        done = elsewhere(
            platform,
            f"--set=console.entitlement.url={entitlement.url}",
            f"--set=console.entitlement.token_file={tmp_path / 'data/keys/player.token'}",
            "install",
            "game",
            game,
            root=tmp_path / "data/keys/root.json",
        )
    finally:
        entitlement.kill()
    assert done.exit_code == 0, done.errors
    assert (game / "game.txt").read_text() == "one"


def test_console_of_another_platform_refuses(platform: Platform, tmp_path: Path) -> None:
    push(platform, "one")
    (tmp_path / "other").mkdir()
    with running_platform(tmp_path / "other") as other:
        push(other, "one")
        root = tmp_path / "other" / "data" / "keys" / "root.json"
        done = elsewhere(platform, "install", "game", tmp_path / "game", root=root)
    assert done.exit_code == Untrusted.exit_code
    assert "signed by 0/1 keys" in done.errors


def test_head_changed_in_storage_is_not_what_is_installed(
    platform: Platform, tmp_path: Path
) -> None:
    """Whoever can write to storage, but has no key, points the channel to an older release."""
    push(platform, "one")
    head = tmp_path / "data" / "objects" / "t" / "game" / "h" / "live"
    old = head.read_bytes()
    push(platform, "two")
    head.write_bytes(old)
    game = tmp_path / "game"
    done = platform.console("install", "game", game)
    assert done.exit_code == 0, done.errors
    assert done.last_json()["version"] == "two"


def test_console_and_conformance_client_read_the_same_repository(
    platform: Platform, tmp_path: Path
) -> None:
    push(platform, "one")
    client = Path(__file__).parents[1] / "conformance" / "tuf_client"
    kept = tmp_path / "kept"
    root = tmp_path / "data" / "keys" / "root.json"
    words = ["--metadata-dir", str(kept)]
    subprocess.run([client, *words, "init", root], check=True)
    url = f"{platform.edge.url}/trust"
    subprocess.run([client, *words, "--metadata-url", url, "refresh"], check=True)
    assert {path.name for path in kept.glob("*.json")} == {
        *("root.json", "timestamp.json", "snapshot.json", "targets.json")
    }
