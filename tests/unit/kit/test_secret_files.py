"""Secrets are their owner's alone, from the first byte on."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from kit.errors import NotFound, SettingsError
from kit.secret_files import folder_locked, open_to_others, read_secret, write_secret


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_folder_and_file_are_for_their_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    for umask in (0o000, 0o777):
        path = tmp_path / f"{umask:o}" / "key.pem"
        before = os.umask(0)
        try:
            path.parent.mkdir(mode=0o700)
            os.umask(umask)
            write_secret(path, b"secret")
        finally:
            os.umask(before)
        assert (mode(path), mode(path.parent)) == (0o600, 0o700)
        assert read_secret(path) == b"secret"


def test_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    write_secret(tmp_path / "keys" / "key.pem", b"secret")
    assert mode(tmp_path / "keys") == 0o700


def test_second_write_replaces_the_first_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "key.pem"
    write_secret(path, b"one")
    write_secret(path, b"two")
    assert read_secret(path) == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_file_that_others_may_read_is_refused_and_named(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    write_secret(path, b"secret")
    path.chmod(0o640)
    with pytest.raises(SettingsError, match=r"key\.pem may be read by others \(mode 640\)"):
        read_secret(path)
    assert path in open_to_others(tmp_path)


def test_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        read_secret(tmp_path / "key.pem")


def test_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b"")
    with pytest.raises(SettingsError, match=r"keys\.dir"):
        write_secret(tmp_path / "keys" / "key.pem", b"secret")


def test_lock_lets_one_in_at_a_time(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(20):
            with folder_locked(tmp_path):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
