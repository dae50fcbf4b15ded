"""Workers are started, watched, started again and ended together, whatever becomes of one."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from kit.clock import SystemClock
from kit.worker_processes import Plan, Supervisor, WorkerFailed
from tests.polling import eventually

TAKES_ORDERS = "read orders; echo $orders >> $0/orders; echo $$ > $0/pid-${orders%%.*}; "
IS_READY = "echo ready; "
RUNS = "exec 3<&0; cat <&3 > $0/end & wait $!"
"""Until its input ends, or a signal comes."""


class Crew:
    """A supervisor at work, of workers that are a few words of shell each."""

    def __init__(self, folder: Path, script: str, count: int = 2, drain_within_s: float = 10):
        plan = Plan(
            count,
            ("/bin/sh", "-c", TAKES_ORDERS + script, str(folder)),
            lambda index, restarts: f"{index}.{restarts}".encode(),
            drain_within_s,
        )
        self.folder = folder
        self.stop = asyncio.Event()
        self.ready_count = 0
        self.told_to_stop = 0
        self.supervisor = Supervisor(plan, SystemClock(), self._stopping)
        self.running = asyncio.create_task(self.supervisor.run(self.stop, self._ready))

    def _ready(self) -> None:
        self.ready_count += 1

    def _stopping(self) -> None:
        self.told_to_stop += 1

    async def orders(self) -> list[str]:
        path = self.folder / "orders"
        return sorted(path.read_text().split()) if path.exists() else []

    async def until_ready(self) -> None:
        async def is_ready() -> bool:
            return self.ready_count > 0

        await eventually(is_ready)

    async def pid(self, index: int) -> int:
        return int((self.folder / f"pid-{index}").read_text())


def is_running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


async def test_a_worker_that_cannot_start_ends_all_and_its_exit_code_is_told(
    tmp_path: Path,
) -> None:
    for _ in range(20):
        crew = Crew(tmp_path, "exit 7")
        with pytest.raises(WorkerFailed) as failed:
            await crew.running
        assert failed.value.exit_code == 7
        assert crew.ready_count == 0


async def test_what_says_anything_but_ready_is_not_waited_for(tmp_path: Path) -> None:
    crew = Crew(tmp_path, "echo hello; " + RUNS)
    with pytest.raises(WorkerFailed) as failed:
        await crew.running
    assert failed.value.exit_code == -signal.SIGKILL
    pids = [int(path.read_text() or 0) for path in tmp_path.glob("pid-*")]
    assert not any(map(is_running, pids))


async def test_all_are_asked_to_drain_and_their_exit_codes_make_ours(tmp_path: Path) -> None:
    drains = "trap 'echo $orders >> $0/drained; exit 0' TERM; "
    crew = Crew(tmp_path, drains + IS_READY + RUNS)
    await crew.until_ready()
    crew.stop.set()
    assert await crew.running == 0
    assert sorted((tmp_path / "drained").read_text().split()) == ["0.0", "1.0"]
    assert (crew.ready_count, crew.told_to_stop) == (1, 1)


async def test_a_worker_that_ends_badly_when_asked_to_drain_is_told_of(tmp_path: Path) -> None:
    crew = Crew(tmp_path, "trap 'exit ${orders%%.*}' TERM; " + IS_READY + RUNS)
    await crew.until_ready()
    crew.stop.set()
    assert await crew.running == 1


async def test_who_does_not_drain_in_time_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kit.worker_processes.GRACE_S", 0.2)
    crew = Crew(tmp_path, "trap '' TERM; " + IS_READY + RUNS, drain_within_s=0.1)
    await crew.until_ready()
    pids = [await crew.pid(index) for index in (0, 1)]
    crew.stop.set()
    assert await crew.running == 1
    assert not any(map(is_running, pids))


async def test_a_worker_that_dies_is_started_again_and_knows_how_often(tmp_path: Path) -> None:
    dies = "case $orders in 1.0 | 1.1) kill -9 $$ ;; esac; "
    crew = Crew(tmp_path, IS_READY + dies + RUNS)

    async def is_back() -> bool:
        return await crew.orders() == ["0.0", "1.0", "1.1", "1.2"]

    await eventually(is_back)
    assert crew.ready_count == 1
    crew.stop.set()
    await crew.running


async def test_a_supervisor_that_is_cancelled_leaves_nobody(tmp_path: Path) -> None:
    crew = Crew(tmp_path, IS_READY + RUNS)
    await crew.until_ready()
    pids = [await crew.pid(index) for index in (0, 1)]
    crew.running.cancel()
    await asyncio.gather(crew.running, return_exceptions=True)
    assert not any(map(is_running, pids))


async def test_a_worker_ends_with_whoever_gave_it_orders() -> None:
    words = (
        "from kit.worker_life import *; import time; take_orders(); tell_ready(); time.sleep(60)"
    )
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", words),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(b"do\n")
    assert await child.stdout.readline() == b"ready\n"
    child.stdin.close()
    async with asyncio.timeout(10):
        assert await child.wait() == -signal.SIGKILL


async def test_a_worker_that_nobody_gives_orders_refuses() -> None:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from kit.worker_life import *; take_orders()"),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await child.communicate()
    assert child.returncode == 1
    assert b"SettingsError: a worker is started by" in errors
