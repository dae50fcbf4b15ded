"""A module that is loaded late is the module, once it is used."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kit.late_imports import loaded_late

NAME = "loaded_late_for_a_test"


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"{NAME}.py").write_text("answer = 42\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, NAME, raising=False)


def test_it_is_loaded_by_its_first_use() -> None:
    with loaded_late(NAME):
        late = __import__(NAME)
    assert NAME not in sys.modules
    assert late.answer == 42
    assert NAME in sys.modules


def test_an_import_afterwards_is_what_it_always_is() -> None:
    with loaded_late(NAME):
        late = __import__(NAME)
    assert __import__(NAME) is not late
    assert __import__(NAME).answer == late.answer


def test_what_it_has_not_is_missing_as_ever() -> None:
    with loaded_late(NAME):
        late = __import__(NAME)
    with pytest.raises(AttributeError, match="has no attribute 'question'"):
        _ = late.question


def test_a_module_that_is_loaded_stays_as_it_is() -> None:
    loaded = __import__(NAME)
    with loaded_late(NAME):
        assert __import__(NAME) is loaded
    assert sys.modules[NAME] is loaded


def test_what_is_not_installed_stays_so() -> None:
    with loaded_late("nobody_has_this"), pytest.raises(ModuleNotFoundError):
        __import__("nobody_has_this")
