"""Another implementation of CTA-5007 reads our leases, and we read one that it made.

Needs node and the npm package of ``tests/interop``, which ``make test`` installs where npm is.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kit.clock import ManualClock, SystemClock
from manifests.lease import Lease, decode_lease
from manifests.names import TitleId
from tests.leases import ANN, KEY, KEY_ID, gate_at, lease_at

ROOT = Path(__file__).parents[2]
JUDGE = ROOT / "tests" / "interop" / "judge.js"
MODULES = ROOT / ".interop" / "node_modules"
GAME = TitleId("game")
PATH = "/t/game/b/" + "0a" * 32

NODE = shutil.which("node")

pytestmark = [
    pytest.mark.may_block,
    pytest.mark.skipif(NODE is None, reason="node is not installed"),
    pytest.mark.skipif(
        not (MODULES / "@eyevinn").exists(), reason="`make .interop/installed` was not run"
    ),
]


def asked(**question: Any) -> Any:
    """Return what the judge says."""
    assert NODE is not None
    done = subprocess.run(
        [NODE, JUDGE],
        input=json.dumps({"keyId": KEY_ID, "key": KEY.hex()} | question),
        env={"NODE_PATH": str(MODULES)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)


def verdict(lease: str, path: str = PATH, method: str = "GET") -> tuple[int, str]:
    [answer] = asked(cases=[{"lease": lease, "path": path, "method": method}])
    return answer["status"], answer["message"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_it_lets_our_lease_read_its_title(method: str) -> None:
    assert verdict(lease_at(SystemClock(), GAME), method=method) == (200, "")


def test_it_refuses_our_lease_for_another_title() -> None:
    status, message = verdict(lease_at(SystemClock(), GAME), PATH.replace("game", "game-2"))
    assert status == 401
    assert "not allowed" in message


def test_it_refuses_our_lease_for_anything_but_reading() -> None:
    status, _ = verdict(lease_at(SystemClock(), GAME), method="PUT")
    assert status != 200


def test_it_refuses_our_lease_when_it_is_over() -> None:
    assert verdict(lease_at(SystemClock(), GAME, lasts_s=-1)) == (401, "Token has expired")


def test_it_refuses_our_lease_when_it_was_changed() -> None:
    lease = lease_at(SystemClock(), GAME)
    for at in (60, 120, len(lease) - 10):
        changed = lease[:at] + ("A" if lease[at] != "A" else "B") + lease[at + 1 :]
        assert verdict(changed)[0] != 200


def test_we_accept_a_lease_that_it_made() -> None:
    claims = {
        "iss": "playhead",
        "sub": ANN,
        "exp": 1_800_000_900,
        "iat": 1_800_000_000,
        "cti": "0a0b",
        "catv": 1,
        "catu": {3: {1: "/t/game/"}},
        "catm": ["GET", "HEAD"],
    }
    token = asked(claims=claims, epoch=1_800_000_000_000)
    made = Lease(ANN, GAME, 1_800_000_000, 1_800_000_900, 1_800_000_000_000, b"\x0a\x0b")
    assert decode_lease(token, {KEY_ID: KEY}) == made
    assert gate_at(ManualClock(1_800_000_000)).check(token, GAME) == made
