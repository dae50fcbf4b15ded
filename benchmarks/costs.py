"""Run programs of others and count what they cost: CPU seconds and peak memory, from the kernel."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_S = 3600
"""A peer that takes an hour for one command is skipped; its row says so."""


class TooSlowError(Exception):
    """A program was ended because it took too long."""


@dataclass(slots=True)
class Costs:
    """The CPU seconds of all programs so far, and the most memory one of them held, in bytes.

    The kernel counts the memory of whoever started a program, too: the peak is never below ours.
    """

    cpu_s: float = 0.0
    peak_rss_bytes: int = 0

    def run(self, words: Sequence[str | Path], *, into: Path | None = None) -> None:
        """Run a program to its end; ``into`` gets what it prints.

        Raises:
            TooSlowError: It took more than ``TIMEOUT_S``.
            RuntimeError: It failed; the message holds its last words.
        """
        output = subprocess.DEVNULL if into is None else into.open("wb")
        try:
            child = subprocess.Popen(
                [str(word) for word in words], stdout=output, stderr=subprocess.PIPE
            )
        finally:
            if not isinstance(output, int):
                output.close()
        timer = threading.Timer(TIMEOUT_S, child.kill)
        timer.start()
        assert child.stderr is not None
        with child.stderr as stream:
            errors = stream.read()
        _, status, usage = os.wait4(child.pid, 0)
        is_late = not timer.is_alive()
        timer.cancel()
        child.returncode = os.waitstatus_to_exitcode(status)
        self.cpu_s += usage.ru_utime + usage.ru_stime
        self.peak_rss_bytes = max(self.peak_rss_bytes, usage.ru_maxrss * 1024)
        if is_late:
            raise TooSlowError(f"over {TIMEOUT_S} s")
        if child.returncode != 0:
            raise RuntimeError(f"{words[0]} failed: {errors.decode(errors='replace')[-500:]}")
