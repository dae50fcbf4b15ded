"""What README tells a newcomer to type works, as typed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.errors import Unavailable
from playhead.roles import Role
from playhead.trees import differences
from tests.servers.ports import free_ports
from tests.trees import write_tree

pytestmark = [pytest.mark.slow, pytest.mark.may_block]

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
TWO_COMMANDS, _, PUBLISHER, OPERATOR, PLAYER = (
    [line.strip() for line in block.splitlines()] for block in BLOCKS[-5:]
)


def test_the_two_commands_are_targets_of_make() -> None:
    assert TWO_COMMANDS == ["make demo", "make test"]
    for command in TWO_COMMANDS:
        subprocess.run(
            [*shlex.split(command), "--dry-run"], cwd=ROOT, check=True, capture_output=True
        )


def test_demo_takes_any_two_folders(tmp_path: Path) -> None:
    """``make demo`` itself fetches two releases; the tests reach no address but this machine's."""
    old, new = tmp_path / "old", tmp_path / "new"
    write_tree(old, seed=1)
    write_tree(new, seed=1, changes=3)
    venv = Path(sys.prefix)
    assert (venv / "bin" / "playhead").exists(), "run the tests by `make test`"
    done = subprocess.run(
        [venv / "bin" / "playhead", "demo", "--old", old, "--new", new, "--folder", tmp_path / "w"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert '"identical":true' in done.stdout.splitlines()[-1]


@pytest.fixture
def journey(tmp_path: Path) -> Iterator[Path]:
    """A folder with two builds in which the journeys are made, and the operator's servers."""
    write_tree(tmp_path / "my-game-1.0", seed=1)
    write_tree(tmp_path / "my-game-1.1", seed=1, changes=3)
    command = OPERATOR[0]
    origin_port, edge_port = free_ports(2)
    here = {
        "PLAYHEAD_DATA": str(tmp_path / "data"),
        "PLAYHEAD_LOG_JSON": "true",
        "PLAYHEAD_ORIGIN__LISTEN__PORT": str(origin_port),
        "PLAYHEAD_EDGE__LISTEN__PORT": str(edge_port),
        "PLAYHEAD_EDGE__UPSTREAMS": f"http://127.0.0.1:{origin_port}",
        "PLAYHEAD_EDGE__HEAD_FRESH_FOR": "0s",
        "PLAYHEAD_CONSOLE__EDGES": f"http://127.0.0.1:{edge_port}",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in here.items():
            patch.setenv(name, value)
        role = Role("all", shlex.split(command)[1:], tmp_path / "serve.log")
        role.start()
        try:
            yield tmp_path
            assert role.stop() == 0
        finally:
            role.kill()


def test_the_three_journeys(journey: Path) -> None:
    first_push, *rest = PUBLISHER
    _type(first_push, journey)
    for look_after in OPERATOR[1:]:
        _type(look_after, journey)
    install, update, verify, repair, uninstall = PLAYER
    game = journey / "games" / "my-game"

    _type(install, journey)
    assert list(differences(journey / "my-game-1.0", game)) == []

    *pushes, releases, rollback = rest
    for command in pushes:
        _type(command, journey)
    assert "1.1" in _type(releases, journey)
    _type(update, journey)
    assert list(differences(journey / "my-game-1.1", game)) == []

    _type(verify, journey)
    wounded = max((path for path in game.iterdir() if path.is_file()), key=os.path.getsize)
    with wounded.open("r+b") as file:
        file.write(b"wound")
    with pytest.raises(Unavailable):
        _type(verify, journey)
    _type(repair, journey)
    assert list(differences(journey / "my-game-1.1", game)) == []

    _type(rollback, journey)
    _type(update, journey)
    assert list(differences(journey / "my-game-1.0", game)) == []
    _type(uninstall, journey)
    assert list(game.iterdir()) == []


def _type(line: str, folder: Path) -> str:
    program, *words = shlex.split(line)
    assert program == "playhead"
    done = subprocess.run(
        [sys.executable, "-m", "playhead", *words],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise Unavailable(f"{line!r} ended with {done.returncode}: {done.stderr}")
    return done.stdout
