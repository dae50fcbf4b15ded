"""An explanation of folders, of releases, and what a push says: they are the same."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from kit.clock import ManualClock
from kit.errors import IntegrityError, InvalidInput, NotFound
from kit.object_storage.testing import MemoryStorage
from manifests import locations
from packager.causes import Cause
from packager.comparison import Span, SpanKind
from packager.explaining import explain_folders, explain_releases
from packager.layout import Layout, LayoutGroup
from packager.patch_report import STRIP_CELLS, PatchReport, strip_of
from packager.title_store import TitleStore
from tests.patches import noise, prose, write_files
from tests.pushes import TITLE, push_folder

OLD = {
    "a.pak": prose(2_000_000, 1),
    "b.pak": noise(500_000, 2),
    **{f"t/{n:03}.txt": prose(1_000, n) for n in range(80)},
}
NEW = OLD | {
    "a.pak": prose(2_000_000, 1)[:900_000] + b"an edit" + prose(2_000_000, 1)[900_000:],
    "t/040.txt": prose(1_500, 999),
    "c.pak": noise(400_000, 3),
}
LAYOUT = Layout((LayoutGroup("launch", ("t/",)), LayoutGroup("packs", ("c.pak",))))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return write_files(tmp_path / "old", OLD), write_files(tmp_path / "new", NEW)


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


async def folders_explained(folders: tuple[Path, Path], **more: object) -> PatchReport:
    return await explain_folders(*folders, clock=ManualClock(), **more)  # type: ignore[arg-type]


async def test_an_update_costs_what_a_dry_run_of_the_push_says(
    folders: tuple[Path, Path], storage: MemoryStorage
) -> None:
    await push_folder(storage, folders[0], "1")
    pushed = await push_folder(storage, folders[1], "2", dry_run=True)
    assert pushed.explanation is not None
    assert pushed.explanation.update is not None
    update = (await folders_explained(folders)).update
    assert update.chunk_count == pushed.explanation.update.chunk_count
    assert update.size == pushed.explanation.update.size
    assert update.request_count == pushed.explanation.update.request_count


async def test_two_releases_are_explained_as_their_folders_are(
    folders: tuple[Path, Path], storage: MemoryStorage
) -> None:
    for folder, version in zip(folders, ("1", "2"), strict=True):
        await push_folder(storage, folder, version)
    store = TitleStore(storage, TITLE)
    by_folder = await folders_explained(folders)
    by_release = await explain_releases(store, "1", 2, clock=ManualClock())
    assert (by_release.old, by_release.new) == ("release 1 (1)", "release 2 (2)")
    assert by_release.sizes == by_folder.sizes
    assert by_release.findings == by_folder.findings
    assert by_release.files == by_folder.files
    assert Cause.TINY_FILES in {finding.cause for finding in by_release.findings}


async def test_release_that_is_not_there_is_named(
    folders: tuple[Path, Path], storage: MemoryStorage
) -> None:
    await push_folder(storage, folders[0], "1")
    with pytest.raises(NotFound, match="'9'"):
        await explain_releases(TitleStore(storage, TITLE), "1", "9", clock=ManualClock())


async def test_damaged_bundle_is_named_and_not_believed(
    folders: tuple[Path, Path], storage: MemoryStorage
) -> None:
    for folder, version in zip(folders, ("1", "2"), strict=True):
        await push_folder(storage, folder, version)
    prefix = locations.bundles_prefix(TITLE)
    for key in [stat.key async for stat in storage.list(prefix)]:
        data = bytearray(await storage.get(key, size_max=1 << 30))
        data[: len(data) // 2] = bytes(len(data) // 2)
        await storage.put(key, bytes(data))
    with pytest.raises((IntegrityError, InvalidInput)):
        await explain_releases(TitleStore(storage, TITLE), "1", "2", clock=ManualClock())


async def test_groups_are_those_of_the_layout_though_the_older_build_lacks_some(
    folders: tuple[Path, Path],
) -> None:
    report = await folders_explained(folders, layout=LAYOUT)
    assert [group.name for group in report.groups] == ["launch", "packs", "rest"]
    packs = report.groups[1]
    assert (packs.sizes.new, packs.changed_count, packs.file_count) == (400_000, 1, 1)


async def test_ignored_files_are_no_part_of_either_build(folders: tuple[Path, Path]) -> None:
    report = await folders_explained(folders, ignore=("*.txt", "c.pak"))
    assert {file.path for file in report.files} == {"a.pak"}
    assert report.groups[0].file_count == 2


async def test_folder_with_nothing_in_it_is_refused(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match="nothing to publish"):
        await folders_explained((folders[0], tmp_path / "empty"))


async def test_report_reads_back_from_its_json(folders: tuple[Path, Path]) -> None:
    report = await folders_explained(folders)
    assert msgspec.json.decode(msgspec.json.encode(report), type=PatchReport) == report


async def test_report_does_not_depend_on_threads(folders: tuple[Path, Path]) -> None:
    assert await folders_explained(folders, workers=1) == await folders_explained(
        folders, workers=4
    )


def test_strip_keeps_few_spans_as_they_are_and_joins_many() -> None:
    kinds = [SpanKind.UNCHANGED, SpanKind.CHANGED]
    few = [Span(10 * n, 10 * n + 10, kinds[n % 2]) for n in range(4)]
    assert [cell.kind for cell in strip_of(few, 40)] == kinds * 2
    many = [Span(10 * n, 10 * n + 10, kinds[n // 100 % 2]) for n in range(10_000)]
    cells = strip_of(many, 100_000)
    assert len(cells) <= STRIP_CELLS
    assert (cells[0].start, cells[-1].end) == (0, 100_000)
    assert all(a.end == b.start for a, b in pairwise(cells))
    assert len(cells) == 100
