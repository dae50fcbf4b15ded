"""What a dry run says: which files change, and what a console would download."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from kit.object_storage.testing import MemoryStorage
from manifests.changes import Change
from manifests.names import Channel
from packager.explain import Explanation, FileChange
from packager.push import PushReport
from tests.pushes import push_folder


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


def noise(path: Path, size: int, seed: int) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(random.Random(seed).randbytes(size))


async def explained(storage: MemoryStorage, build: Path, channel: str = "live") -> PushReport:
    return await push_folder(storage, build, "next", dry_run=True, channel=Channel(channel))


def explanation_of(report: PushReport) -> Explanation:
    assert report.explanation is not None
    return report.explanation


async def test_first_build_is_installed_whole(tmp_path: Path, storage: MemoryStorage) -> None:
    noise(tmp_path / "build" / "a", 3_000_000, 1)
    report = await explained(storage, tmp_path / "build")
    found = explanation_of(report)
    assert found.update is None
    assert found.install.chunk_count == report.chunk_count
    # A console asks for no more than chunks; between its ranges lie only the bundles' indexes.
    assert found.install.size == report.stored_size == 3_000_000
    assert 1 <= found.install.request_count <= 7
    assert found.files == (
        FileChange(path="a", change=Change.ADDED, old_size=0, new_size=3_000_000),
    )


async def test_update_downloads_what_is_new(tmp_path: Path, storage: MemoryStorage) -> None:
    for name, seed in (("a", 1), ("b", 2), ("c", 3), ("run", 4)):
        noise(tmp_path / "build" / name, 1_000_000, seed)
    await push_folder(storage, tmp_path / "build")
    noise(tmp_path / "build" / "b", 500_000, 5)
    noise(tmp_path / "build" / "d", 10, 6)
    (tmp_path / "build" / "c").unlink()
    (tmp_path / "build" / "run").chmod(0o755)
    found = explanation_of(await explained(storage, tmp_path / "build"))
    assert found.update is not None
    assert found.update.size == 500_010
    assert found.update.request_count == 2  # the first one is small
    assert [(file.path, file.change) for file in found.files] == [
        ("b", Change.CHANGED),
        ("d", Change.ADDED),
        ("run", Change.MODE),
        ("c", Change.REMOVED),
    ]
    assert found.install.size >= 2_500_010


async def test_unchanged_build_costs_a_console_its_root(
    tmp_path: Path, storage: MemoryStorage
) -> None:
    noise(tmp_path / "build" / "a", 1_000_000, 1)
    await push_folder(storage, tmp_path / "build")
    found = explanation_of(await push_folder(storage, tmp_path / "build", dry_run=True))
    assert found.files == ()
    assert found.update is not None
    assert (found.update.size, found.update.request_count) == (0, 0)
    assert found.update.manifest_size < 1000


async def test_update_is_told_from_what_the_channel_plays(
    tmp_path: Path, storage: MemoryStorage
) -> None:
    noise(tmp_path / "build" / "a", 1_000_000, 1)
    await push_folder(storage, tmp_path / "build")
    found = explanation_of(await explained(storage, tmp_path / "build", channel="beta"))
    assert found.update is None
