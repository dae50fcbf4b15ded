"""One writer per title: at most one inside, dead ones out of the way, slow ones fenced off."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from kit.buffers import Buffer
from kit.clock import ManualClock, SystemClock
from kit.errors import Conflict, Unavailable
from kit.holder import Holder, is_gone, this_process
from kit.object_storage import ObjectStorage
from kit.object_storage.local import LocalStorage
from kit.object_storage.s3 import S3Storage
from kit.object_storage.testing import RESET, SLOW_DOWN, FaultyStorage, MemoryStorage
from kit.storage_lock import Claim, LockSettings, Rival
from kit.units import Seconds
from manifests import locations
from packager.writer_lock import WriterLock
from tests.polling import eventually
from tests.publishing import TITLE
from tests.servers.swift import Swift

AT_ONCE = LockSettings(wait=Seconds(0))
PATIENT = LockSettings(wait=Seconds(60), look_every=Seconds(0.01))

HOLD_FOR_EVER = """
import asyncio, sys
from pathlib import Path
from kit.clock import SystemClock
from kit.object_storage.local import LocalStorage
from manifests.names import TitleId
from kit.storage_lock import LockSettings
from packager.writer_lock import WriterLock

async def main():
    storage = LocalStorage(Path(sys.argv[1]))
    lock = WriterLock(
        storage, TitleId("a-title"), clock=SystemClock(), settings=LockSettings(),
        command="playhead push build-7",
    )
    async with lock:
        print("inside", flush=True)
        await asyncio.sleep(3600)

asyncio.run(main())
"""


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[LocalStorage]:
    storage = LocalStorage(tmp_path / "storage")
    yield storage
    await storage.close()


def lock_on(
    storage: ObjectStorage,
    clock: ManualClock | SystemClock | None = None,
    settings: LockSettings = AT_ONCE,
    command: str = "a test",
) -> WriterLock:
    return WriterLock(
        storage, TITLE, clock=clock or SystemClock(), settings=settings, command=command
    )


async def claims_on(storage: ObjectStorage) -> list[str]:
    return [found.key async for found in storage.list(locations.lock_prefix(TITLE))]


async def most_inside_of(storage: ObjectStorage, count: int, settings: LockSettings) -> int:
    """Let ``count`` publishers enter and leave; return how many were inside at once, at most."""
    inside = most = entered = 0

    async def publisher() -> None:
        nonlocal inside, most, entered
        async with lock_on(storage, settings=settings) as lock:
            inside, entered = inside + 1, entered + 1
            most = max(most, inside)
            await lock.check_held()
            inside -= 1

    await asyncio.gather(*(publisher() for _ in range(count)))
    assert entered == count
    assert await claims_on(storage) == []
    return most


async def test_of_twenty_at_most_one_is_inside_at_any_time(storage: LocalStorage) -> None:
    assert await most_inside_of(storage, 20, PATIENT) == 1


@pytest.mark.slow
async def test_one_at_a_time_also_where_create_once_is_not_exclusive(swift: Swift) -> None:
    s3 = S3Storage(swift.settings())
    assert await most_inside_of(s3, 8, PATIENT) == 1
    await s3.close()


async def test_the_lock_is_free_again_after_an_error_inside(storage: LocalStorage) -> None:
    with pytest.raises(ZeroDivisionError):
        async with lock_on(storage):
            _ = 1 / 0
    async with lock_on(storage) as lock:
        await lock.check_held()


async def test_titles_do_not_share_a_lock() -> None:
    storage = MemoryStorage()
    await storage.put("t/a-title-2/w/0000000001-abc", b"")
    async with lock_on(storage) as lock:
        await lock.check_held()


async def test_a_refusal_names_who_has_the_lock_and_what_to_do(storage: LocalStorage) -> None:
    async with lock_on(storage, command="playhead push build-7"):
        with pytest.raises(Conflict) as refused:
            await lock_on(storage).__aenter__()
    message = str(refused.value)
    assert "title a-title is being changed by `playhead push build-7`" in message
    assert f"process {os.getpid()} on " in message
    assert "Wait for it to end" in message
    assert await claims_on(storage) == []


async def test_whoever_waits_hears_for_whom_and_gets_in_when_it_ends(
    storage: LocalStorage,
) -> None:
    heard: list[Rival] = []
    waiting = WriterLock(
        storage,
        TITLE,
        clock=SystemClock(),
        settings=PATIENT,
        command="the second",
        on_wait=heard.append,
    )
    async with lock_on(storage, command="the first"):
        second = asyncio.create_task(waiting.__aenter__())

        async def has_waited() -> bool:
            return len(heard) > 2

        await eventually(has_waited)
        assert not second.done()
    lock = await second
    await lock.check_held()
    await lock.__aexit__(None, None, None)
    assert {str(rival).partition(" (")[0] for rival in heard} == {"`the first`"}


class SlowPut(MemoryStorage):
    """Stores what it is given only once ``go`` is set, and cannot be stopped from doing so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def put(self, key: str, data: Buffer) -> None:
        self.asked.set()
        await self.go.wait()
        await super().put(key, data)


async def test_being_cancelled_amid_a_claim_leaves_no_claim() -> None:
    storage = SlowPut()
    entering = asyncio.create_task(lock_on(storage).__aenter__())
    await storage.asked.wait()
    entering.cancel()
    await asyncio.sleep(0)
    storage.go.set()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert await claims_on(storage) == []


async def test_a_killed_holder_is_taken_over_at_once(tmp_path: Path) -> None:
    root = tmp_path / "storage"
    storage = LocalStorage(root)
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLD_FOR_EVER, str(root), stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"inside\n"
    with pytest.raises(Conflict, match="push build-7"):
        await lock_on(storage).__aenter__()

    holder.send_signal(signal.SIGKILL)
    await holder.wait()
    assert len(await claims_on(storage)) == 1
    async with lock_on(storage) as lock:
        await lock.check_held()
        assert len(await claims_on(storage)) == 1
    await storage.close()


async def claim_of_elsewhere(storage: ObjectStorage) -> None:
    """Leave the claim of a process on another machine, of which nothing else can be told."""
    holder = Holder(host="elsewhere", machine="another boot", pid=7, started_at=1, command="push")
    claim = Claim(holder=holder, since="2026-05-04T10:00:00+00:00", expires_after_s=60)
    key = f"{locations.lock_prefix(TITLE)}0000000041-0123456789abcdef"
    await storage.put(key, msgspec.json.encode(claim))


async def test_a_silent_holder_elsewhere_is_taken_over_once_its_claim_expires() -> None:
    clock = ManualClock(1_000_000)
    storage = MemoryStorage(clock=clock)
    await claim_of_elsewhere(storage)
    clock.advance(60)
    with pytest.raises(Conflict, match=r"on elsewhere\) since 2026-05-04"):
        await lock_on(storage, clock).__aenter__()
    clock.advance(3)
    async with lock_on(storage, clock):
        (ours,) = await claims_on(storage)
    assert "/w/0000000042-" in ours


@pytest.mark.parametrize("ours_s", [0, 2_000_000], ids=["slow", "fast"])
async def test_a_wrong_clock_of_ours_changes_nothing(ours_s: float) -> None:
    theirs, ours = ManualClock(1_000_000), ManualClock(ours_s)
    storage = MemoryStorage(clock=theirs)
    await claim_of_elsewhere(storage)
    theirs.advance(59)
    with pytest.raises(Conflict):
        await lock_on(storage, ours).__aenter__()
    theirs.advance(4)
    async with lock_on(storage, ours) as lock:
        assert await lock.storage_now() == theirs.now()


@pytest.mark.parametrize("content", [b"", b"{", b'{"format":2}', b"x" * 5000])
async def test_a_claim_that_cannot_be_read_holds_until_it_expires(content: bytes) -> None:
    clock = ManualClock(1_000_000)
    storage = MemoryStorage(clock=clock)
    key = f"{locations.lock_prefix(TITLE)}0000000001-damaged"
    await storage.put(key, content)
    with pytest.raises(Conflict, match="0000000001-damaged is damaged or of a newer program"):
        await lock_on(storage, clock).__aenter__()
    clock.advance(63)
    async with lock_on(storage, clock):
        assert key not in await claims_on(storage)


async def test_a_holder_that_slept_too_long_notices() -> None:
    clock = ManualClock(1_000_000)
    storage = MemoryStorage(clock=clock)
    async with lock_on(storage, clock) as asleep:
        clock.advance(63)
        async with lock_on(storage, clock, command="the next") as lock:
            await lock.check_held()
            with pytest.raises(Conflict, match="lost the lock of title a-title: `the next`"):
                await asleep.check_held()
            with pytest.raises(Conflict, match="lost the lock"):
                await asleep.storage_now()
        with pytest.raises(Conflict, match="not renewed in time"):
            await asleep.check_held()


async def test_a_holder_whose_clock_stood_still_notices_that_its_claim_is_gone() -> None:
    storage = MemoryStorage()
    async with lock_on(storage) as suspended:
        await storage.delete(await claims_on(storage))
        async with lock_on(storage, command="the next"):
            with pytest.raises(Conflict, match="`the next`"):
                await suspended.check_held()


async def test_a_holder_renews_its_claim(storage: LocalStorage) -> None:
    often = LockSettings(expires_after=Seconds(5), renew_every=Seconds(0.01))
    async with lock_on(storage, settings=often) as lock:
        entered_at = await lock.storage_now()

        async def is_renewed() -> bool:
            return await lock.storage_now() > entered_at

        await eventually(is_renewed)


async def test_a_renewal_that_fails_is_tried_again() -> None:
    clock = ManualClock(1_000_000)
    storage = FaultyStorage(MemoryStorage(clock=clock))
    often = LockSettings(wait=Seconds(0), renew_every=Seconds(0.01))
    async with lock_on(storage, clock, settings=often) as lock:
        storage.next("put", SLOW_DOWN, RESET)
        clock.advance(30)

        async def is_renewed() -> bool:
            return await lock.storage_now() == clock.now()

        await eventually(is_renewed)


async def test_a_renewal_that_comes_too_late_does_not_bring_the_lock_back() -> None:
    clock = ManualClock(1_000_000)
    storage = MemoryStorage(clock=clock)
    often = LockSettings(wait=Seconds(0), renew_every=Seconds(0.01))
    async with lock_on(storage, clock, settings=often) as lock:
        clock.advance(61)
        before = (await storage.stat((await claims_on(storage))[0])).modified_at

        async def is_renewed_late() -> bool:
            return (await storage.stat((await claims_on(storage))[0])).modified_at > before

        await eventually(is_renewed_late)
        with pytest.raises(Conflict, match="not renewed in time"):
            await lock.check_held()


async def test_a_lock_that_cannot_be_released_expires() -> None:
    clock = ManualClock(1_000_000)
    storage = FaultyStorage(MemoryStorage(clock=clock))
    async with lock_on(storage, clock):
        storage.next("delete", SLOW_DOWN)
    with pytest.raises(Conflict):
        await lock_on(storage, clock).__aenter__()
    clock.advance(63)
    async with lock_on(storage, clock) as lock:
        await lock.check_held()


async def test_storage_that_does_not_answer_is_reported_not_waited_for() -> None:
    storage = FaultyStorage(MemoryStorage())
    storage.next("put", RESET)
    with pytest.raises(Unavailable):
        await lock_on(storage).__aenter__()
    assert await claims_on(storage) == []


class LaggingList(MemoryStorage):
    """Does not list what was just put."""

    async def list(self, prefix):  # type: ignore[no-untyped-def]
        for _ in ():
            yield _


async def test_storage_that_lists_late_is_refused() -> None:
    with pytest.raises(Unavailable, match="is not listed"):
        await lock_on(LaggingList()).__aenter__()


def test_a_process_is_known_by_its_start_not_by_its_number_alone() -> None:
    ours = this_process("a test")
    assert not is_gone(ours)
    assert is_gone(msgspec.structs.replace(ours, started_at=ours.started_at - 1))
    assert not is_gone(msgspec.structs.replace(ours, machine="", started_at=0))
    assert not is_gone(msgspec.structs.replace(ours, machine="another boot", started_at=0))


def test_a_process_that_only_waits_to_be_reaped_is_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        stat = Path(f"/proc/{child.pid}/stat")
        started_at = int(stat.read_text().rpartition(")")[2].split()[19])
        holder = msgspec.structs.replace(
            this_process("a test"), pid=child.pid, started_at=started_at
        )
        assert not is_gone(holder)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert "Z" in stat.read_text()
        assert is_gone(holder)
    assert is_gone(holder)
