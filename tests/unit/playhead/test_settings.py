"""The settings tree and its page agree."""

from __future__ import annotations

from pathlib import Path

from kit.settings import reference
from playhead.reference import settings_page
from playhead.settings import Settings

PAGE = Path(__file__).parents[3] / "docs" / "settings.md"


def test_settings_page_is_what_playhead_prints() -> None:
    assert PAGE.read_text() == settings_page(), "run `playhead settings > docs/settings.md`"


def test_every_setting_is_described() -> None:
    assert [setting.key for setting in reference(Settings) if not setting.description] == []
