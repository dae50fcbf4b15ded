"""Scanning a folder: what becomes an entry, what is left out, and what is refused."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from kit.errors import InvalidInput
from manifests.model import EntryKind
from packager.ignore_rules import IgnoreRules, load_ignore_rules
from packager.scan import scan

NOBODY = 65534


def paths_of(source: Path, *patterns: str) -> list[str]:
    return [found.entry.path for found in scan(source, load_ignore_rules(source, patterns))]


def write(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(path.encode())


def test_entries_come_in_order_of_their_bytes(tmp_path: Path) -> None:
    write(tmp_path, "b", "a/b", "a.txt", "Z", "é", "a-1", "😀", "\uff5e")
    assert paths_of(tmp_path) == sorted(
        ["b", "a/b", "a.txt", "Z", "é", "a-1", "😀", "\uff5e"], key=str.encode
    )


def test_kind_and_size_are_kept(tmp_path: Path) -> None:
    write(tmp_path, "plain", "run")
    (tmp_path / "run").chmod(0o744)
    (tmp_path / "to").symlink_to("plain")
    found = {file.entry.path: file.entry for file in scan(tmp_path, IgnoreRules())}
    assert (found["plain"].kind, found["plain"].size) == (EntryKind.FILE, 5)
    assert found["run"].kind is EntryKind.EXECUTABLE
    assert (found["to"].kind, found["to"].target) == (EntryKind.LINK, "plain")


def test_only_empty_folders_are_entries(tmp_path: Path) -> None:
    write(tmp_path, "full/file", "logs/today.log")
    (tmp_path / "full/empty/deep").mkdir(parents=True)
    found = scan(tmp_path, IgnoreRules(["*.log"]))
    folders = [file.entry.path for file in found if file.entry.kind is EntryKind.DIRECTORY]
    assert folders == ["full/empty/deep", "logs"]


def test_ignored_files_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, "game", "a.log", "keep.log", "build/x", "sub/build/y", "deep/a/b.tmp")
    (tmp_path / ".playheadignore").write_text("# noise\n*.log\n/build/\n")
    assert paths_of(tmp_path, "!keep.log", "deep/**/*.tmp", "deep/") == [
        "game",
        "keep.log",
        "sub/build/y",
    ]


def test_console_state_and_the_ignore_file_are_never_published(tmp_path: Path) -> None:
    write(tmp_path, "game", ".playhead/journal", ".playheadignore")
    assert paths_of(tmp_path, "!.playhead", "!.playheadignore") == ["game"]


def test_damaged_ignore_rules_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="'!'"):
        IgnoreRules(["fine", "!"])
    (tmp_path / ".playheadignore").write_bytes(b"\xff")
    with pytest.raises(InvalidInput, match="playheadignore is not UTF-8"):
        load_ignore_rules(tmp_path, ())


def test_everything_wrong_is_named_at_once(tmp_path: Path) -> None:
    write(tmp_path, "con.txt", "ends in dot.", "back\\slash", "what?", "Case", "case", "fine")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "out").symlink_to("../elsewhere")
    (tmp_path / "abs").symlink_to("/etc/passwd")
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/not-utf8-\xff"))).write_bytes(b"")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "sock"))
        with pytest.raises(InvalidInput) as refused:
            scan(tmp_path, IgnoreRules())
    message = str(refused.value)
    for name in ("con.txt", "ends in dot.", "back", "what?", "'out'", "'abs'", "not-utf8"):
        assert name in message
    assert "'Case' and 'case'" in message
    assert "systems that ignore case" in message
    assert "'pipe' is a named pipe" in message
    assert "'sock' is a socket" in message
    assert "'fine'" not in message
    message.encode()  # can be shown


def test_only_twenty_problems_are_listed_and_the_rest_counted(tmp_path: Path) -> None:
    write(tmp_path, *(f"bad{index:02}?" for index in range(33)))
    with pytest.raises(InvalidInput) as refused:
        scan(tmp_path, IgnoreRules())
    assert str(refused.value).count("bad") == 20
    assert str(refused.value).endswith("and 13 more")


@pytest.mark.parametrize("patterns", [(), ("*",)])
def test_empty_build_is_refused(tmp_path: Path, patterns: tuple[str, ...]) -> None:
    if patterns:
        write(tmp_path, "ignored")
    with pytest.raises(InvalidInput, match="holds nothing to publish"):
        paths_of(tmp_path, *patterns)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"gone.*No such file"):
        scan(tmp_path / "gone", IgnoreRules())


@contextmanager
def without_rights() -> Iterator[None]:
    """Be a user that may read only what everybody may, also when the tests run as root."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def test_unreadable_file_and_folder_are_named() -> None:
    with TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        write(folder, "secret", "closed/file", "readable")
        (folder / "secret").chmod(0)
        (folder / "closed").chmod(0)
        with without_rights(), pytest.raises(InvalidInput) as refused:
            scan(folder, IgnoreRules())
        (folder / "closed").chmod(0o700)
    for name in ("secret", "closed"):
        assert name in str(refused.value)
    assert "readable" not in str(refused.value)
