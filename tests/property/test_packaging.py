"""Whatever a folder holds, what is published of it is that, also on top of an earlier push."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from kit.object_storage.testing import MemoryStorage
from packager.layout import Layout, LayoutGroup
from tests.pushes import published_tree, push_folder, stored_objects, tree_on_disk

SIZES = [0, 1, 500, 65_535, 65_536, 200_000, 1_100_000, 8_500_000]

contents = st.tuples(st.sampled_from(SIZES), st.integers(0, 3), st.booleans())
"""Size, seed and whether it packs well; few seeds, so that chunks repeat."""

trees = st.dictionaries(
    st.tuples(st.sampled_from(["", "a/", "a/b/", "c/", "é/"]), st.sampled_from("klmnop")),
    st.one_of(contents, st.sampled_from(["folder", "link"])),
    min_size=1,
    max_size=12,
)
layouts = st.sampled_from(
    [
        None,
        Layout(group=(LayoutGroup("launch", ("n*", "*")),)),
        Layout(group=(LayoutGroup("launch", ("always", "c/")), LayoutGroup("more", ("z", "a/")))),
    ]
)

Drawn = Mapping[tuple[str, str], tuple[int, int, bool] | str]


def write(folder: Path, tree: Drawn) -> None:
    """Write what was drawn, and two small files that every layout finds."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "always").write_bytes(b"here")
    (folder / "z").write_bytes(b"too")
    for (parent, name), drawn in tree.items():
        path = folder / parent / name
        path.parent.mkdir(parents=True, exist_ok=True)
        match drawn:
            case "folder":
                path.mkdir()
            case "link":
                path.symlink_to("nowhere")
            case (int(size), int(seed), bool(packs)):
                noise = random.Random(seed).randbytes(1000 if packs else size)
                path.write_bytes((noise * (size // 1000 + 1) if packs else noise)[:size])
                path.chmod(0o755 if seed == 3 else 0o644)


@settings(max_examples=25, deadline=None)
@given(first=trees, second=trees, layout=layouts)
def test_any_folder_comes_back_and_so_does_any_edit_of_it(
    first: Drawn, second: Drawn, layout: Layout | None
) -> None:
    async def scenario(folder: Path) -> None:
        storage = MemoryStorage()
        for version, tree in (("1", first), ("2", second), ("3", {**first, **second})):
            await asyncio.to_thread(write, folder / "build", tree)
            await push_folder(storage, folder / "build", version, layout=layout)
            expected = await asyncio.to_thread(tree_on_disk, folder / "build")
            assert await published_tree(storage) == expected
            again = await push_folder(storage, folder / "build", version, layout=layout)
            assert (again.outcome, again.read_size) == ("unchanged", 0)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(scenario(Path(folder)))


@settings(max_examples=10, deadline=None)
@given(tree=trees, workers=st.integers(1, 6), layout=layouts)
def test_equal_folders_are_stored_equally_by_any_machine(
    tree: Drawn, workers: int, layout: Layout | None
) -> None:
    async def scenario(folder: Path) -> None:
        await asyncio.to_thread(write, folder / "build", tree)
        here, there = MemoryStorage(), MemoryStorage()
        await push_folder(here, folder / "build", layout=layout, workers=1)
        await push_folder(there, folder / "build", layout=layout, workers=workers)
        assert await stored_objects(here) == await stored_objects(there)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(scenario(Path(folder)))
