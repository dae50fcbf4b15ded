"""What the system says it has in memory, against a file that is thrown out of it."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.page_cache import PageCache
from tests.page_cache import can_tell

PAGE = mmap.PAGESIZE


pytestmark = [
    pytest.mark.may_block,
    pytest.mark.skipif(not can_tell(), reason="this system cannot tell what it has in memory"),
]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    number = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.write(number, bytes(8 * PAGE))
    os.fsync(number)
    yield number
    os.close(number)


@pytest.mark.parametrize("span", [(0, 1), (0, 8 * PAGE), (PAGE - 1, 2), (5, 3 * PAGE)])
def test_what_was_just_written_is_in_memory(file: int, span: tuple[int, int]) -> None:
    assert PageCache().holds(file, *span)


def test_what_was_thrown_out_is_not(file: int) -> None:
    cache = PageCache()
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    if cache.holds(file, 0, 8 * PAGE):
        pytest.skip("this file system keeps its files in memory")
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
    os.pread(file, 1, 2 * PAGE)
    assert cache.holds(file, 2 * PAGE, PAGE)
    assert not cache.holds(file, 2 * PAGE, PAGE + 1)
    assert not cache.holds(file, 2 * PAGE - 1, 2)


def test_what_lies_beyond_the_end_is_not(file: int) -> None:
    assert not PageCache().holds(file, 7 * PAGE, PAGE + 1)


def test_a_file_that_is_none_is_not(file: int) -> None:
    number = os.dup(file)
    os.close(number)
    assert not PageCache().holds(number, 0, 1)
