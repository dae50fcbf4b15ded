"""A process, described so that others on its machine can tell whether it is gone."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

COMMAND_LENGTH_MAX = 300


class Holder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A process: enough to find it, and to know it from a later one with the same number."""

    host: str
    machine: str
    """This boot of the machine, and which of its process tables; empty if it does not say."""
    pid: Annotated[int, Meta(ge=1)]
    started_at: int
    """In clock ticks since the boot."""
    command: str

    def __str__(self) -> str:
        return f"`{self.command}` (process {self.pid} on {self.host})"


def this_process(command: str) -> Holder:
    """Describe the calling process; ``command`` is for people. Reads files."""
    pid = os.getpid()
    return Holder(
        host=platform.node(),
        machine=_machine(),
        pid=pid,
        started_at=_started_at(pid) or 0,
        command=command[:COMMAND_LENGTH_MAX],
    )


def is_gone(holder: Holder) -> bool:
    """Return whether ``holder`` surely runs no more; False also means "cannot be told from here".

    Reads files.
    """
    if not holder.machine or holder.machine != _machine():
        return False
    with suppress(PermissionError):  # it lives, and is another user's
        try:
            os.kill(holder.pid, 0)
        except ProcessLookupError:
            return True
    started_at = _started_at(holder.pid)
    return started_at is not None and started_at != holder.started_at


def _machine() -> str:
    # Containers share a boot and may share a host name, but count their processes each from 1.
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started_at(pid: int) -> int | None:
    """Return when ``pid`` began; -1 if it has ended and only waits to be reaped; None: hidden."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    return -1 if state in "ZX" else int(fields[18])  # proc(5): field 22; state is field 3
