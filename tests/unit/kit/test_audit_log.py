"""The audit log: every line on the disk, torn ones passed over, old files let go."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit.audit_log import CURRENT_NAME, AuditLog, audit_events, audit_files
from kit.clock import ManualClock

pytestmark = pytest.mark.may_block


def log_in(
    folder: Path, *, file_size_max: int = 1 << 20, clock: ManualClock | None = None
) -> AuditLog:
    return AuditLog(
        folder, file_size_max=file_size_max, files_max=3, clock=clock or ManualClock(1000)
    )


async def test_what_was_noted_is_read_back(tmp_path: Path) -> None:
    log = log_in(tmp_path)
    await log.note(who="acme", what="put", on="t/game/m/ff", outcome="ok", size=7)
    (event,) = audit_events(tmp_path)
    assert (event.who, event.what, event.on, event.size) == ("acme", "put", "t/game/m/ff", 7)
    assert event.at == "1970-01-01T00:16:40.000Z"
    assert (tmp_path / CURRENT_NAME).stat().st_mode & 0o777 == 0o600
    await log.close()


async def test_a_torn_line_takes_no_other_with_it(tmp_path: Path) -> None:
    (tmp_path / CURRENT_NAME).write_bytes(b'{"at":"x","who":"ac')
    log = log_in(tmp_path)
    await log.note(who="acme", what="put", outcome="ok")
    assert [event.what for event in audit_events(tmp_path)] == ["put"]
    await log.close()


async def test_files_are_set_aside_and_the_oldest_let_go(tmp_path: Path) -> None:
    clock = ManualClock(1000)
    log = log_in(tmp_path, file_size_max=300, clock=clock)
    for number in range(40):
        clock.advance(1)
        await log.note(who="acme", what=f"verb{number:03}", outcome="ok")
    noted = [event.what for event in audit_events(tmp_path)]
    assert noted == sorted(noted)
    assert noted[-1] == "verb039"
    assert len(audit_files(tmp_path)) <= 4
    assert len(noted) < 40
    await log.close()
