"""What a console finds out about edges outlives its process, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest

from console.edge_memory import EDGES_MAX, LACKS_START_FOR_S
from console.edge_memory_file import FILE_SIZE_MAX, remembered_in
from kit.clock import ManualClock

pytestmark = pytest.mark.may_block

EDGE = "http://edge:7402"


async def learn(path: Path, clock: ManualClock) -> None:
    async with remembered_in(path, clock) as memory:
        memory.note_no_start(EDGE)
        memory.addresses.found("edge", ["10.0.0.1", "10.0.0.2"])
        memory.addresses.answered("edge", "10.0.0.2")


async def test_the_next_process_knows_what_the_last_found_out(tmp_path: Path) -> None:
    path, clock = tmp_path / "console" / "edges.json", ManualClock()
    await learn(path, clock)
    async with remembered_in(path, clock) as memory:
        assert not memory.may_know_start(EDGE)
        assert memory.may_know_start("http://other:7402")
        assert memory.addresses.addresses("edge") == ("10.0.0.2", "10.0.0.1")


async def test_what_is_a_day_old_is_found_out_anew(tmp_path: Path) -> None:
    path, clock = tmp_path / "edges.json", ManualClock()
    await learn(path, clock)
    clock.advance(LACKS_START_FOR_S)
    async with remembered_in(path, clock) as memory:
        assert memory.may_know_start(EDGE)
        assert memory.addresses.addresses("edge") == ()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"format":2}',
        b'{"format":1,"else":0}',
        b"[" * 100_000,
        b"\xff",
        b" " * (FILE_SIZE_MAX + 1),
        b'{"format":1,"hosts":[{"name":"edge","addresses":[],"found_at":0}]}',
    ],
)
async def test_what_is_damaged_is_found_out_anew(tmp_path: Path, content: bytes) -> None:
    path, clock = tmp_path / "edges.json", ManualClock()
    path.write_bytes(content)
    await learn(path, clock)
    async with remembered_in(path, clock) as memory:
        assert not memory.may_know_start(EDGE)


async def test_nothing_is_written_where_nothing_was_learnt(tmp_path: Path) -> None:
    path = tmp_path / "console" / "edges.json"
    async with remembered_in(path, ManualClock()):
        pass
    assert not path.parent.exists()


async def test_a_file_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "console").write_text("a file where the folder should be")
    await learn(tmp_path / "console" / "edges.json", ManualClock())


async def test_only_so_much_is_kept(tmp_path: Path) -> None:
    path, clock = tmp_path / "edges.json", ManualClock()
    async with remembered_in(path, clock) as memory:
        for number in range(3 * EDGES_MAX):
            memory.note_no_start(f"http://edge-{number}/{'x' * 200}")
            memory.addresses.found(f"edge-{number}", ["10.0.0.1"])
    assert path.stat().st_size < FILE_SIZE_MAX
    async with remembered_in(path, clock) as memory:
        assert len(memory.remembered().lacks_start) == EDGES_MAX
    assert sorted(tmp_path.iterdir()) == [path]
