"""No path leads out of a folder, whatever was planted in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.safe_paths import OPEN_FOLDERS_MAX, Folder
from kit.errors import Conflict


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder with one file, which nothing may reach."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "file").write_bytes(b"theirs")
    return folder


@pytest.fixture
def inside(tmp_path: Path, outside: Path) -> Path:
    """A folder with a file, and links to the outside in every place."""
    folder = tmp_path / "inside"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "file").write_bytes(b"ours")
    (folder / "way-out").symlink_to(outside)
    (folder / "sub" / "way-out").symlink_to(outside)
    (folder / "link").symlink_to(outside / "file")
    return folder


@pytest.fixture
def folder(inside: Path) -> Iterator[Folder]:
    with Folder.at(inside) as opened:
        yield opened


@pytest.mark.parametrize("path", ["link", "way-out/file", "sub/way-out/file"])
def test_no_link_is_read_through(folder: Folder, path: str) -> None:
    assert folder.open_file(path) is None


@pytest.mark.parametrize("path", ["way-out/file", "sub/way-out/file"])
def test_nothing_beyond_a_link_is_there(folder: Folder, path: str) -> None:
    assert folder.status(path) is None


@pytest.mark.parametrize("path", ["way-out/file", "sub/way-out/file"])
def test_nothing_beyond_a_link_is_removed(folder: Folder, outside: Path, path: str) -> None:
    assert not folder.remove_file(path)
    assert (outside / "file").exists()


def test_link_itself_is_removed(folder: Folder, inside: Path, outside: Path) -> None:
    assert folder.remove_file("way-out")
    assert not (inside / "way-out").is_symlink()
    assert outside.exists()


def test_file_moved_over_a_link_replaces_it(folder: Folder, inside: Path, outside: Path) -> None:
    (inside / "new").write_bytes(b"new")
    assert folder.take_in(folder, "new", "link")
    assert (inside / "link").read_bytes() == b"new"
    assert not (inside / "link").is_symlink()
    assert (outside / "file").read_bytes() == b"theirs"


@pytest.mark.parametrize("path", ["way-out/new", "sub/way-out/new"])
def test_no_file_is_moved_through_a_link(
    folder: Folder, inside: Path, outside: Path, path: str
) -> None:
    (inside / "new").write_bytes(b"new")
    with pytest.raises(Conflict, match="way-out"):
        folder.take_in(folder, "new", path)
    assert [p.name for p in outside.iterdir()] == ["file"]


@pytest.mark.parametrize("path", ["way-out", "way-out/new"])
def test_no_folder_is_made_through_a_link(folder: Folder, outside: Path, path: str) -> None:
    with pytest.raises(Conflict, match="way-out"):
        folder.make_folder(path)
    assert [p.name for p in outside.iterdir()] == ["file"]


def test_mode_of_a_links_target_is_left_alone(folder: Folder, outside: Path) -> None:
    before = (outside / "file").stat().st_mode
    folder.set_executable("link", is_executable=True)
    assert (outside / "file").stat().st_mode == before


def test_folder_that_became_a_link_is_not_entered(
    folder: Folder, inside: Path, outside: Path
) -> None:
    (inside / "sub" / "way-out").unlink()
    (inside / "sub" / "file").unlink()
    (inside / "sub").rmdir()
    (inside / "sub").symlink_to(outside)
    assert folder.open_file("sub/file") is None


def test_fifo_is_no_file_and_does_not_hang(folder: Folder, inside: Path) -> None:
    os.mkfifo(inside / "fifo")
    assert folder.open_file("fifo") is None


def test_folder_with_something_in_it_is_not_removed(folder: Folder, inside: Path) -> None:
    assert not folder.remove_folder("sub")
    assert (inside / "sub" / "file").exists()


def test_folder_where_a_file_should_be_is_named(folder: Folder, inside: Path) -> None:
    (inside / "new").write_bytes(b"new")
    with pytest.raises(Conflict, match="sub: a folder stands"):
        folder.take_in(folder, "new", "sub")


def test_more_folders_than_may_be_open_are_all_reached(folder: Folder, inside: Path) -> None:
    count = 3 * OPEN_FOLDERS_MAX
    for index in range(count):
        folder.make_folder(f"f{index}")
        (inside / f"f{index}" / "file").touch()
    assert all(folder.status(f"f{index}/file") for index in range(count))


def test_deep_path_is_reached(folder: Folder, inside: Path) -> None:
    path = ""
    for _ in range(3 * OPEN_FOLDERS_MAX):
        path = f"{path}/d" if path else "d"
        folder.make_folder(path)
    assert folder.status(path) is not None
