"""The file cache only ever saves work: whatever is wrong with it, it is empty instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kit.errors import SettingsError
from packager.file_cache import SegmentChunks, load_file_cache, save_file_cache

SEGMENTS = {b"k" * 16: SegmentChunks(b"a" * 16 + b"b" * 16, b"\1\0\0\0\0\0\1\0")}


def test_saved_cuts_are_found_again(tmp_path: Path) -> None:
    save_file_cache(tmp_path / "new" / "title.files", SEGMENTS)
    found = load_file_cache(tmp_path / "new" / "title.files")
    assert found == SEGMENTS
    assert list(found[b"k" * 16]) == [(b"a" * 16, 1), (b"b" * 16, 65_536)]


def test_only_the_last_push_is_remembered(tmp_path: Path) -> None:
    save_file_cache(tmp_path / "files", SEGMENTS)
    save_file_cache(tmp_path / "files", {})
    assert load_file_cache(tmp_path / "files") == {}
    assert [path.name for path in tmp_path.iterdir()] == ["files"]


def bit_flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def of_another_version(content: bytes) -> bytes:
    return content[:4] + b"\2" + content[5:]


@pytest.mark.parametrize(
    "damage", [bit_flipped, of_another_version, lambda c: c[:-3], lambda c: c[:7], lambda c: b""]
)
def test_damaged_cache_is_empty(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    save_file_cache(tmp_path / "files", SEGMENTS)
    (tmp_path / "files").write_bytes(damage((tmp_path / "files").read_bytes()))
    assert load_file_cache(tmp_path / "files") == {}


def test_missing_cache_is_empty(tmp_path: Path) -> None:
    assert load_file_cache(tmp_path / "none") == {}


def test_unusable_cache_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SettingsError, match=r"file/title.files.*another cache folder"):
        save_file_cache(tmp_path / "file" / "title.files", SEGMENTS)
