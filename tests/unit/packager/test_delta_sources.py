"""Where new chunks come from is found, wherever their bytes were in the old build."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kit.object_storage.testing import MemoryStorage
from manifests.changes import missing_rows
from manifests.model import Build
from packager.chunk_source import ChunkSource
from packager.delta_sources import ROW_BASE_SIZE_MAX, find_sources
from packager.title_store import TitleStore
from tests.delta_builds import Files, noise, publish_files, sprinkled
from tests.pushes import TITLE

A, B = noise(1, 900_000), noise(2, 700_000)
OLD = {"data/a.pak": A, "data/b.pak": B, "other/filler": noise(3, 1_500_000)}


async def sources_of(folder: Path, old_files: Files, new_files: Files) -> dict[str, set[str]]:
    """By path of the new build, the old paths whose chunks its new ones may be made of."""
    storage = MemoryStorage()
    old = await publish_files(storage, folder, "1", old_files)
    new = await publish_files(storage, folder, "2", new_files)
    store = TitleStore(storage, TITLE)
    rows = missing_rows(new, old.row_of.__contains__).tolist()
    with ThreadPoolExecutor(2) as threads:
        olds, news = ChunkSource(store, old, threads), ChunkSource(store, new, threads)
        found = await find_sources(olds, news, rows, threads)
    assert [each.row for each in found] == rows
    for each in found:
        assert list(each.old_rows) == sorted(set(each.old_rows))
        assert sum(olds.sizes[row] for row in each.old_rows) <= ROW_BASE_SIZE_MAX
    by_path: dict[str, set[str]] = {}
    old_paths, new_paths = paths_of(old), paths_of(new)
    for each in found:
        for path in new_paths[each.row]:
            by_path.setdefault(path, set()).update(
                *(old_paths[old_row] for old_row in each.old_rows)
            )
    return by_path


def paths_of(build: Build) -> dict[int, set[str]]:
    """The files that each row is a part of."""
    found: dict[int, set[str]] = {}
    for shard, index, entry in build.entries():
        if entry.kind.is_file:
            for piece in shard.pieces_of_entry(index):
                found.setdefault(piece.row, set()).add(entry.path)
    return found


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        ({"data/a.pak": sprinkled(A, 9)}, {"data/a.pak": {"data/a.pak"}}),
        ({"else/where.bin": sprinkled(A, 9)}, {"else/where.bin": {"data/a.pak"}}),
        (
            {"one": sprinkled(A[:450_000], 9), "two": sprinkled(A[450_000:], 9)},
            {"one": {"data/a.pak"}, "two": {"data/a.pak"}},
        ),
        ({"all": sprinkled(B + A, 9)}, {"all": {"data/a.pak", "data/b.pak"}}),
        (
            {"data/a.pak": noise(5, 30_000) + sprinkled(A, 9)},
            {"data/a.pak": {"data/a.pak"}},
        ),
        (
            {"data/a.pak": sprinkled(B, 9), "data/b.pak": sprinkled(A, 9)},
            {"data/a.pak": {"data/b.pak"}, "data/b.pak": {"data/a.pak"}},
        ),
        ({**OLD, "copy": sprinkled(A, 9)}, {"copy": {"data/a.pak"}}),
    ],
    ids=["changed", "moved", "split", "merged", "shifted", "swapped", "copied and changed"],
)
async def test_what_new_bytes_were_is_found(
    tmp_path: Path, new: Files, expected: dict[str, set[str]]
) -> None:
    found = await sources_of(tmp_path, OLD, new)
    assert found.keys() == expected.keys()
    for path, of in expected.items():
        assert of <= found[path], path


async def test_a_program_whose_every_address_changed_is_found_by_its_path(tmp_path: Path) -> None:
    """No kilobyte stays as it was, so no anchor hits; path and place are the only guess."""
    recompiled = sprinkled(A, 7, every=200)
    found = await sources_of(tmp_path, OLD, {**OLD, "data/a.pak": recompiled})
    assert "data/a.pak" in found["data/a.pak"]


async def test_what_is_new_under_a_new_name_has_no_source(tmp_path: Path) -> None:
    assert await sources_of(tmp_path, OLD, {**OLD, "zzz/new": noise(8, 400_000)}) == {
        "zzz/new": set()
    }


async def test_small_files_that_share_a_chunk_are_found_by_path(tmp_path: Path) -> None:
    old = {f"text/{n:03}": noise(n, 4000) for n in range(60)}
    new = {path: sprinkled(content, 3, every=300) for path, content in old.items()}
    found = await sources_of(tmp_path, {**OLD, **old}, {**OLD, **new})
    assert set().union(*found.values()) >= {f"text/{n:03}" for n in range(30)}
