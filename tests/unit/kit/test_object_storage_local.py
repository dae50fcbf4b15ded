"""What a directory as object storage survives: kills, full disks, strangers' files."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random

import pytest

from kit.clock import ManualClock
from kit.errors import Conflict, Denied, IntegrityError, NotFound, OutOfSpace
from kit.object_storage.local import TMP, TMP_AGE_MAX_S, LocalStorage

# Writes objects of which every byte is the object's number, and a head, until it is killed.
WRITE_FOR_EVER = """
import asyncio, itertools, sys
from pathlib import Path
from kit.object_storage.local import LocalStorage

async def main():
    storage = LocalStorage(Path(sys.argv[1]))
    for number in itertools.count(int(sys.argv[2])):
        body = bytes([number % 251]) * 300_000
        await asyncio.gather(
            storage.put_if_absent(f"objects/{number % 7}/{number}", body),
            storage.put("head", body),
        )
        print(number, flush=True)

asyncio.run(main())
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "not" / "there" / "yet"


@pytest.fixture
async def storage(root: Path) -> AsyncIterator[LocalStorage]:
    storage = LocalStorage(root)
    yield storage
    await storage.close()


def left_over(root: Path) -> list[Path]:
    return list((root / TMP).iterdir())


async def test_reading_makes_nothing(storage: LocalStorage, root: Path) -> None:
    with pytest.raises(NotFound):
        await storage.get("a", size_max=1)
    assert [found async for found in storage.list("")] == []
    await storage.delete(["a"])
    assert not root.exists()


def write_and_kill(root: Path, first: int, random: Random) -> list[int]:
    """Run a writer, kill it amid a write; return the numbers it said were stored."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITE_FOR_EVER, root, str(first)], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        stored = [int(writer.stdout.readline()) for _ in range(random.randint(1, 8))]
        time.sleep(random.uniform(0, 0.005))  # a write takes about this long
        writer.send_signal(signal.SIGKILL)
        return stored + [int(line) for line in writer.stdout.read().split()]


async def test_a_writer_killed_at_any_moment_leaves_whole_objects_only(root: Path) -> None:
    random = Random(11)
    acknowledged: list[int] = []
    for round_ in range(20):
        acknowledged += await asyncio.to_thread(write_and_kill, root, 1000 * round_, random)

    assert left_over(root)  # else no kill came amid a write and this proves nothing
    storage = LocalStorage(root)
    found = {object_.key: object_.size async for object_ in storage.list("")}
    assert set(found.values()) == {300_000}
    assert {f"objects/{number % 7}/{number}" for number in acknowledged} <= found.keys()
    for key in found.keys() - {"head"}:
        number = int(key.rpartition("/")[2])
        assert await storage.get(key, size_max=300_000) == bytes([number % 251]) * 300_000
    assert len(set(await storage.get("head", size_max=300_000))) == 1
    await storage.close()


async def test_what_a_dead_process_left_is_removed_a_day_later(root: Path) -> None:
    stray, recent = root / TMP / "stray", root / TMP / "recent"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"half")
    recent.write_bytes(b"still being written")
    clock = ManualClock(1_000_000_000)
    os.utime(stray, (0, clock.now() - TMP_AGE_MAX_S - 1))
    os.utime(recent, (0, clock.now() - TMP_AGE_MAX_S + 1))
    storage = LocalStorage(root, clock=clock)
    assert [found async for found in storage.list("")] == []
    await storage.put("a", b"")
    assert left_over(root) == [recent]
    await storage.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "playhead-test", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", disk], check=True)


async def test_a_full_disk_is_named_and_nothing_is_lost(small_disk: Path) -> None:
    storage = LocalStorage(small_disk / "storage")
    assert await storage.put_if_absent("fits", b"x" * 600_000)
    await storage.put("head", b"old")
    with pytest.raises(OutOfSpace, match=r"storage/too/large.*free some space"):
        await storage.put_if_absent("too/large", b"y" * 600_000)
    with pytest.raises(OutOfSpace, match="head"):
        await storage.put("head", b"z" * 600_000)

    assert [found.key async for found in storage.list("")] == ["fits", "head"]
    assert await storage.get("fits", size_max=600_000) == b"x" * 600_000
    assert await storage.get("head", size_max=3) == b"old"
    assert left_over(small_disk / "storage") == []
    await storage.delete(["fits"])
    assert await storage.put_if_absent("too/large", b"y" * 600_000)
    await storage.close()


async def test_a_link_planted_in_the_directory_leads_nowhere(
    storage: LocalStorage, root: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    await storage.put("own", b"")
    (root / "folder").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret")

    for key in ("folder/secret", "file"):
        with pytest.raises(NotFound):
            await storage.get(key, size_max=10)
        with pytest.raises(NotFound):
            await storage.stat(key)
    assert [found.key async for found in storage.list("")] == ["own"]
    assert [found.key async for found in storage.list("folder/")] == []
    with pytest.raises(Conflict, match="folder"):
        await storage.put_if_absent("folder/new", b"")
    with pytest.raises(Conflict, match="folder"):
        await storage.put("folder/secret", b"overwritten")
    await storage.delete(["folder/secret"])
    assert (outside / "secret").read_bytes() == b"secret"
    assert len(list(outside.iterdir())) == 1


async def test_no_object_is_the_folder_of_another(storage: LocalStorage, root: Path) -> None:
    await storage.put("a/b", b"x")
    for write in (storage.put, storage.put_if_absent):
        with pytest.raises(Conflict, match=f"{root}/a"):
            await write("a", b"")
        with pytest.raises(Conflict, match=f"{root}/a/b"):
            await write("a/b/c", b"")
    await storage.delete(["a"])
    assert await storage.get("a/b", size_max=1) == b"x"
    assert left_over(root) == []


async def test_what_is_no_object_is_passed_over(storage: LocalStorage, root: Path) -> None:
    await storage.put("a", b"")
    (root / ".hidden").write_bytes(b"")
    (root / "no key").write_bytes(b"")
    os.mkfifo(root / "pipe")
    assert [found.key async for found in storage.list("")] == ["a"]
    with pytest.raises(NotFound):
        await storage.get("pipe", size_max=1)  # and does not wait for somebody to write to it


async def test_a_disk_that_may_not_be_written_is_named(small_disk: Path) -> None:
    storage = LocalStorage(small_disk / "storage")
    await storage.put("a", b"before")
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    await asyncio.to_thread(subprocess.check_call, remount)
    with pytest.raises(Denied, match=f"{small_disk}/storage/b"):
        await storage.put_if_absent("b", b"")
    assert await storage.get("a", size_max=6) == b"before"
    await storage.close()


async def test_two_processes_worth_of_storage_share_one_directory(root: Path) -> None:
    one, other = LocalStorage(root), LocalStorage(root)
    stored = await asyncio.gather(
        *(
            storage.put_if_absent(f"k{index}", b"x")
            for index in range(40)
            for storage in (one, other)
        )
    )
    assert stored.count(True) == 40
    await one.close()
    await other.close()


async def test_an_object_cut_off_on_disk_ends_early(storage: LocalStorage, root: Path) -> None:
    await storage.put("a", b"0123456789")
    os.truncate(root / "a", 4)
    with pytest.raises(IntegrityError, match="ends at 4"):
        await storage.read("a", 2, 5)
