"""The largest and the most: one file of 5 GB, a hundred thousand files; memory stays bounded."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from playhead.trees import differences
from tests.platform import running_platform

pytestmark = [pytest.mark.slow, pytest.mark.may_block, pytest.mark.timeout(300)]

PACKAGER_PEAK_MAX = 512_000_000
CONSOLE_PEAK_MAX = 256_000_000


def one_huge_file(folder: Path) -> None:
    """Write 5 GB, most of it zeros, which the disk need not hold."""
    rng = random.Random(5)
    folder.mkdir()
    with (folder / "world.pak").open("wb") as file:
        for index in range(20):
            file.seek(index * 250_000_000)
            file.write(rng.randbytes(4_000_000))
        file.truncate(5_000_000_000)


def many_tiny_files(folder: Path) -> None:
    """Write 100,000 files of a few bytes each."""
    for index in range(100_000):
        path = folder / f"{index % 100:02}" / f"{index:06}"
        if index < 100:
            path.parent.mkdir(parents=True)
        path.write_bytes(b"%d" % index)


@pytest.mark.parametrize("write", [one_huge_file, many_tiny_files])
def test_extreme_build_is_published_and_installed(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    build, game = tmp_path / "build", tmp_path / "game"
    write(build)
    with running_platform(tmp_path) as platform:
        pushed = platform.push(build, "1")
        installed = platform.console("install", "game", game)
    for done in (pushed, installed):
        done.last_json()
    assert list(differences(build, game)) == []
    assert pushed.peak_rss_bytes <= PACKAGER_PEAK_MAX
    assert installed.peak_rss_bytes <= CONSOLE_PEAK_MAX
