"""The console's clock is set back, so that what expired is fresh again; or far ahead."""

from __future__ import annotations

from pathlib import Path

import pytest

from manifests.names import TitleId
from tests.attacks.hostile_trust import documents_of, instead, serving
from tests.attacks.stage import NEW, OLD, Stage, assert_refused, content_of

pytestmark = [pytest.mark.slow, pytest.mark.may_block]

DAY_S = 86400.0
UNTRUSTED = 10


@pytest.mark.parametrize("days", [1, 3650])
def test_a_clock_set_back_behind_what_was_verified_is_refused(
    stage: Stage, title: TitleId, tmp_path: Path, days: int
) -> None:
    """An old state would count as fresh; nothing was lost when the clock is right again."""
    game = stage.installed(title, tmp_path / "game")
    old = documents_of(stage, title)
    stage.publish(title, NEW)
    stage.console("update", game).last_json()
    with stage.front.attacking(serving(instead(old))):
        done = stage.console_at("update", game, ahead_s=-days * DAY_S)
    assert_refused(done, "this console's clock says", "set the clock", exit_code=UNTRUSTED)
    assert content_of(game) == NEW
    assert stage.console("update", game).exit_code == 0
    assert content_of(game) == NEW


@pytest.mark.parametrize("days", [3, 4000])
def test_a_clock_set_ahead_is_refused_and_does_not_lock_the_console_out(
    stage: Stage, title: TitleId, tmp_path: Path, days: int
) -> None:
    """Everything has expired then; but what was seen under the wrong clock is not held against."""
    game = stage.installed(title, tmp_path / "game")
    stage.publish(title, NEW)
    done = stage.console_at("update", game, ahead_s=days * DAY_S)
    assert_refused(done, "expired", "check the clock", exit_code=UNTRUSTED)
    assert content_of(game) == OLD
    stage.console("update", game).last_json()
    assert content_of(game) == NEW


def test_a_clock_a_little_ahead_while_installing_does_not_lock_the_console_out(
    stage: Stage, title: TitleId, tmp_path: Path
) -> None:
    """A day ahead all is fresh, so it is installed; set right, the clock is not called set back."""
    game = tmp_path / "game"
    stage.publish(title, OLD)
    assert stage.console_at("install", title, game, ahead_s=DAY_S).exit_code == 0
    stage.publish(title, NEW)
    stage.console("update", game).last_json()
    assert content_of(game) == NEW
