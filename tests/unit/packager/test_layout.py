"""Layouts: which group a file goes to, and in which order it is played."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit.errors import InvalidInput
from packager.ignore_rules import IgnoreRules
from packager.layout import Layout, arrange, arrange_loosely, load_layout
from packager.scan import ScannedFile, scan


def scanned(folder: Path, *paths: str) -> list[ScannedFile]:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"x")
    return scan(folder, IgnoreRules())


def layout_of(folder: Path, text: str) -> Layout:
    path = folder.with_name("layout.toml")
    path.write_text(text)
    return load_layout(path)


def arranged(files: list[ScannedFile], layout: Layout | None) -> dict[str, list[str]]:
    groups = arrange(files, layout)
    return {group.name: [file.entry.path for file in group.files] for group in groups}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "build").mkdir()
    return tmp_path / "build"


def test_without_layout_there_is_one_group_by_path(folder: Path) -> None:
    assert arranged(scanned(folder, "b", "a/c"), None) == {"game": ["a/c", "b"]}


def test_patterns_are_play_order_and_the_first_that_matches_counts(folder: Path) -> None:
    files = scanned(folder, "boot.pak", "bin/b", "bin/a", "z.pak", "a.pak", "readme")
    layout = layout_of(
        folder,
        """
        [[group]]
        name = "launch"
        files = ["boot.pak", "bin/"]
        [[group]]
        name = "levels"
        files = ["*.pak"]
        """,
    )
    assert arranged(files, layout) == {
        "launch": ["boot.pak", "bin/a", "bin/b"],
        "levels": ["a.pak", "z.pak"],
        "rest": ["readme"],
    }


def test_empty_folders_and_links_have_their_place_too(folder: Path) -> None:
    (folder / "saves").mkdir()
    (folder / "link").symlink_to("game")
    files = scanned(folder, "game")
    layout = layout_of(folder, '[[group]]\nname = "launch"\nfiles = ["saves/", "link", "*"]')
    assert arranged(files, layout) == {"launch": ["saves", "link", "game"]}


def test_strict_layout_refuses_what_has_no_place(folder: Path) -> None:
    files = scanned(folder, "a.pak", "stray", "lost")
    layout = layout_of(folder, 'strict = true\n[[group]]\nname = "launch"\nfiles = ["*.pak"]')
    with pytest.raises(InvalidInput, match=r"(?s)'lost' is in no group.*'stray' is in no group"):
        arrange(files, layout)


def test_group_without_files_is_refused(folder: Path) -> None:
    files = scanned(folder, "a.pak")
    layout = layout_of(folder, '[[group]]\nname = "launch"\nfiles = ["typo.pak"]')
    with pytest.raises(InvalidInput, match="group 'launch' is empty"):
        arrange(files, layout)


def test_build_from_before_a_layout_lacks_its_new_groups_and_is_not_refused(folder: Path) -> None:
    files = scanned(folder, "a.pak", "readme")
    layout = layout_of(
        folder,
        """
        strict = true
        [[group]]
        name = "launch"
        files = ["boot.pak"]
        [[group]]
        name = "levels"
        files = ["*.pak"]
        """,
    )
    groups = arrange_loosely(files, layout)
    assert [group.name for group in groups] == ["levels", "rest"]
    assert [group.name for group in arrange_loosely(files, None)] == ["game"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("strikt = true\n[[group]]\nname='a'\nfiles=['*']", "strikt"),
        ("[[group]]\nname='a'\nfile=['*']", "file"),
        ("[[group]]\nname='A'\nfiles=['*']", "name"),
        ("[[group]]\nname='a'\nfiles=[]", "files"),
        ("[[group]]\nname='a'\nfiles=['!x']", "!x"),
        ("[[group]]\nname='a'\nfiles=['!']", "group a"),
        ("[[group]]\nname='a'\nfiles=['a[']", r"a\["),
        ("[[group]]\nname='rest'\nfiles=['*']", "'rest' is kept"),
        ("[[group]]\nname='a'\nfiles=['*']\n[[group]]\nname='a'\nfiles=['*']", "two groups"),
        ("group = []", "group"),
        ("strict = true", "group"),
        ("[[group", "layout.toml"),
    ],
)
def test_wrong_layout_is_named(folder: Path, text: str, named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        layout_of(folder, text)


def test_missing_layout_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"none\.toml: no such file"):
        load_layout(tmp_path / "none.toml")
