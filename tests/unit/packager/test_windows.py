"""Reading and cutting: the same cuts through any window, and files that must hold still."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from chunks.chunker import cut
from kit.errors import InvalidInput
from packager.file_cache import SegmentChunks
from packager.ignore_rules import IgnoreRules
from packager.layout import arrange
from packager.scan import scan
from packager.segments import Segment, segments_of
from packager.windows import CachedPart, CutPart, WindowReader

WINDOW = 3 << 20


def never_cached(_: Segment) -> SegmentChunks | None:
    return None


def segments_in(folder: Path) -> list[Segment]:
    return list(segments_of(arrange(scan(folder, IgnoreRules()), None)))


def chunks_by_segment(reader: WindowReader) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    while window := reader.fill(bytearray(WINDOW)):
        for part in window.parts:
            assert isinstance(part, CutPart)
            start = part.start
            for size in part.sizes:
                found.setdefault(part.segment.key, []).append(
                    bytes(window.buffer[start : start + size])
                )
                start += size
    return found


def test_cuts_do_not_depend_on_windows(tmp_path: Path) -> None:
    rng = random.Random(7)
    sizes = [1, 65_535, 65_536, 9_000_000, 0, 30_000, 3 << 20, 70_000, 2, 5_000_000, 60_000]
    for index, size in enumerate(sizes):
        (tmp_path / f"{index:02}").write_bytes(rng.randbytes(size))
    segments = segments_in(tmp_path)
    found = chunks_by_segment(WindowReader(tmp_path, segments, never_cached))
    for segment in segments:
        whole = b"".join((tmp_path / file.entry.path).read_bytes() for file in segment.files)
        sizes = cut(whole, is_last=True)
        assert b"".join(found[segment.key]) == whole
        assert [len(chunk) for chunk in found[segment.key]] == sizes


def test_large_files_are_segments_and_runs_of_small_ones_too(tmp_path: Path) -> None:
    for name, size in {"a": 1, "b": 0, "c": 65_535, "d": 65_536, "e": 5, "f": 70_000}.items():
        (tmp_path / name).write_bytes(b"x" * size)
    (tmp_path / "c.folder").mkdir()
    segments = [[file.entry.path for file in segment.files] for segment in segments_in(tmp_path)]
    assert segments == [["a", "c"], ["d"], ["e"], ["f"]]


def test_cached_segments_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    segments = segments_in(tmp_path)
    (tmp_path / "a").unlink()
    chunks = SegmentChunks(b"i" * 16, b"\0\0\1\0")
    window = WindowReader(tmp_path, segments, lambda _: chunks).fill(bytearray(WINDOW))
    assert window is not None
    assert window.parts == [CachedPart(segments[0], chunks)]
    assert (window.size, window.read_size) == (100_000, 0)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def shrink(path: Path) -> None:
    os.truncate(path, 6_000_000)


def rewrite_in_place(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(8_000_000)
        file.write(b"other")


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(bytes(9_000_000))
    other.replace(path)


def vanish(path: Path) -> None:
    path.unlink()


def become_a_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("elsewhere")


@pytest.mark.parametrize("change", [grow, shrink, rewrite_in_place])
def test_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    (tmp_path / "a").write_bytes(bytes(9_000_000))
    reader = WindowReader(tmp_path, segments_in(tmp_path), never_cached)
    assert reader.fill(bytearray(WINDOW)) is not None
    change(tmp_path / "a")
    with pytest.raises(InvalidInput, match="/a changed while it was read; push again"):
        chunks_by_segment(reader)
    reader.close()


@pytest.mark.parametrize("change", [grow, shrink, rewrite_in_place, replace, vanish, become_a_link])
def test_file_that_changed_since_the_scan_is_refused(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    (tmp_path / "a").write_bytes(bytes(9_000_000))
    reader = WindowReader(tmp_path, segments_in(tmp_path), never_cached)
    change(tmp_path / "a")
    with pytest.raises(InvalidInput, match=r"/a (changed|cannot be read)"):
        reader.fill(bytearray(WINDOW))
    reader.close()
