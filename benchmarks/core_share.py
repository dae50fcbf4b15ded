"""A share of one core for a process, where this user may give it: a control group of the kernel.

A server that has a fifth of a core can be offered five times what it can do by the core beside it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PERIOD_US = 10_000
GROUPS = Path("/sys/fs/cgroup")


@contextmanager
def core_share(pids: Sequence[int], core: int, share: float) -> Iterator[bool]:
    """Have ``pids`` run on ``core`` alone, for ``share`` of the time; yield whether that holds.

    Without the rights for it they have all of the core.
    """
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), {core})
    quota_us = int(PERIOD_US * share)
    is_old = (GROUPS / "cpu").is_dir()
    group = (GROUPS / "cpu" if is_old else GROUPS) / f"playhead-benchmark-{os.getpid()}-{pids[0]}"
    if share >= 1:
        yield True
        return
    try:
        group.mkdir()
        if is_old:
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(quota_us))
        else:
            (group / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")
        for pid in pids:
            (group / "cgroup.procs").write_text(str(pid))
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        for pid in pids:
            (group.parent / "cgroup.procs").write_text(str(pid))
        group.rmdir()
