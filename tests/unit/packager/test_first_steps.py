"""A push says what an install of it begins with, and warns of what makes it late."""

from __future__ import annotations

import random
from collections.abc import Mapping
from itertools import count
from pathlib import Path

import pytest

from chunks.chunker import CHUNK_SIZE_MAX, cut
from chunks.plan import FIRST_REQUEST_SIZE
from kit.object_storage.testing import MemoryStorage
from manifests import locations
from manifests.documents import parse_head, parse_root
from manifests.opening import first_request, in_turns
from manifests.page import FIRST_PAGE_AIM, Page, parse_page
from manifests.start import MANIFEST_PART_SIZE_MAX
from packager.first_steps import FIRST_CHUNK_SIZE_MAX
from packager.layout import Layout, LayoutGroup
from tests.pushes import LIVE, TITLE, push_folder

pytestmark = pytest.mark.may_block


async def first_page(storage: MemoryStorage) -> Page:
    """Return what a console reads at first of what the channel plays."""
    head = parse_head(
        await storage.get(locations.head_key(TITLE, LIVE), size_max=1 << 14), TITLE, LIVE
    )
    digest = head.release.root.raw_digest
    content = await storage.get(locations.manifest_key(TITLE, digest), size_max=1 << 20)
    ref = parse_root(content, digest, TITLE).groups[0].pages[0]
    key = locations.manifest_key(TITLE, ref.raw_digest)
    return parse_page(await storage.get(key, size_max=1 << 20), ref)


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def noise(*, is_large: bool) -> bytes:
    """Return bytes that do not compress, whose first chunk is over the limit or not."""
    for seed in count():
        found = random.Random(seed).randbytes(CHUNK_SIZE_MAX)
        if (cut(found, is_last=True)[0] > FIRST_CHUNK_SIZE_MAX) == is_large:
            return found
    raise AssertionError


async def test_a_push_tells_what_a_console_then_finds(tmp_path: Path) -> None:
    storage, source = MemoryStorage(), tmp_path / "game"
    write_files(source, {f"level{n:02}.bin": noise(is_large=False)[n:] for n in range(8)})
    steps = (await push_folder(storage, source)).first_steps
    page = await first_page(storage)
    request = first_request(page)
    assert request is not None
    turns = in_turns(request)
    assert steps.first_request_size == request.size == sum(turn.size for turn in turns)
    assert steps.first_chunk_size == turns[0].size
    assert [len(turn.chunks) for turn in turns[:1]] == [1]


async def test_what_starts_first_is_in_the_first_bundle_which_a_start_begins_with(
    tmp_path: Path,
) -> None:
    storage, source = MemoryStorage(), tmp_path / "game"
    layout = Layout((LayoutGroup("launch", ("start.bin", "*.dat")),))
    write_files(
        source,
        {
            "a.dat": noise(is_large=False),
            "start.bin": b"begin " * 30_000,
            "z.rest": noise(is_large=True),
        },
    )
    report = await push_folder(storage, source, layout=layout)
    page = await first_page(storage)
    assert [entry.path for entry in page.entries][:2] == ["start.bin", "a.dat"]
    request = first_request(page)
    assert request is not None
    assert (request.bundle_index, request.start) == (0, 0)
    assert request.chunks[0].row == 0
    assert report.start_troubles == ()


@pytest.mark.parametrize("is_large", [False, True])
async def test_a_first_chunk_that_is_too_large_is_told(tmp_path: Path, *, is_large: bool) -> None:
    storage, source = MemoryStorage(), tmp_path / "game"
    write_files(source, {"data.bin": noise(is_large=is_large)})
    report = await push_folder(storage, source)
    assert (report.first_steps.first_chunk_size > FIRST_REQUEST_SIZE) == is_large
    assert ["first chunk" in said for said in report.start_troubles] == [True] * is_large
    if is_large:
        write_files(
            source,
            {
                "data.bin": noise(is_large=is_large),
                "a-small-one.bin": noise(is_large=False)[:90_000],
            },
        )
        assert (await push_folder(storage, source, "1.1")).start_troubles == ()


async def test_a_build_of_many_files_has_a_first_page_that_a_start_can_bring(
    tmp_path: Path,
) -> None:
    storage, source = MemoryStorage(), tmp_path / "game"
    write_files(source, {f"textures/{n:05}.dds": bytes([n % 251]) * 900 for n in range(3000)})
    steps = (await push_folder(storage, source)).first_steps
    assert steps.page_size <= MANIFEST_PART_SIZE_MAX
    assert steps.root_size <= FIRST_PAGE_AIM
    assert steps.first_chunk_size <= FIRST_CHUNK_SIZE_MAX


async def test_a_first_page_that_no_start_can_bring_is_told(tmp_path: Path) -> None:
    storage, source = MemoryStorage(), tmp_path / "game"
    rng = random.Random(1)
    names = [f"{rng.randbytes(60).hex()}.txt" for _ in range(2500)]
    write_files(source, dict.fromkeys(names, b"x"))
    report = await push_folder(storage, source)
    assert report.first_steps.page_size > MANIFEST_PART_SIZE_MAX
    [said] = report.start_troubles
    assert "first page" in said


async def test_a_build_without_bytes_begins_with_none(tmp_path: Path) -> None:
    storage, source = MemoryStorage(), tmp_path / "game"
    write_files(source, {"empty.txt": b""})
    report = await push_folder(storage, source)
    assert (report.first_steps.first_chunk_size, report.first_steps.first_request_size) == (0, 0)
