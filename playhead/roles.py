"""Playhead's own command line as child processes: how the demo and the system tests run a fleet."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.errors import Unavailable

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 30.0


def command(*words: str | Path) -> list[str]:
    """Return the words that start ``playhead`` in this very Python."""
    return [sys.executable, "-m", "playhead", *map(str, words)]


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended: its exit code, what it printed, and its peak memory in bytes."""

    exit_code: int
    output: str
    errors: str
    peak_rss_bytes: int

    def last_json(self) -> dict[str, Any]:
        """Return the object on the last line it printed: what every ``--json`` ends with.

        Raises:
            Unavailable: It failed, or printed none; the message holds its words.
        """
        lines = self.output.strip().splitlines()
        if self.exit_code != 0 or not lines:
            raise Unavailable(f"exit code {self.exit_code}: {self.errors.strip()[-2000:]}")
        found: dict[str, Any] = json.loads(lines[-1])
        return found


def run(words: Sequence[str | Path], *, scratch: Path, env: Mapping[str, str] = {}) -> Finished:
    """Run one command to its end, with its own peak memory measured."""
    with (scratch / "out").open("w+") as out, (scratch / "err").open("w+") as err:
        child = subprocess.Popen(command(*words), stdout=out, stderr=err, env={**os.environ, **env})
        peak = _reap(child)
        out.seek(0)
        err.seek(0)
        return Finished(child.returncode, out.read(), err.read(), peak)


class Role:
    """One ``playhead serve`` process; ``url`` once it listens."""

    def __init__(self, name: str, words: Sequence[str | Path], log: Path) -> None:
        self._name = name
        self._words = words
        self._log = log
        self._child: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.peak_rss_bytes = 0

    @property
    def pid(self) -> int:
        """The process, while it runs."""
        assert self._child is not None
        return self._child.pid

    def start(self) -> None:
        """Start the process and wait until it listens.

        Raises:
            Unavailable: It ended, or did not listen in time; the message holds its last words.
        """
        with self._log.open("wb") as log:
            self._child = subprocess.Popen(command(*self._words), stdout=log, stderr=log)
        give_up = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < give_up and self._child.poll() is None:
            self.url = self._listening_url()
            if self.url:
                return
            time.sleep(0.02)
        self.kill()
        raise Unavailable(f"{self._name} did not start: {self._log.read_text()[-2000:]}")

    def stop(self) -> int:
        """Ask it to drain, wait for its end, and return its exit code."""
        assert self._child is not None
        self._child.send_signal(signal.SIGTERM)
        self.peak_rss_bytes = _reap(self._child)
        return self._child.returncode

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._child is not None and self._child.returncode is None:
            self._child.kill()
            self.peak_rss_bytes = _reap(self._child)

    def _listening_url(self) -> str:
        for line in self._log.read_text(errors="replace").splitlines():
            if line.startswith("{"):
                event = json.loads(line)
                if event.get("event") == "listening":
                    return str(event["url"])
        return ""


def _reap(child: subprocess.Popen[Any]) -> int:
    """Wait for ``child``, note its exit code, and return its peak memory in bytes."""
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    scale = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in KiB on Linux
    return usage.ru_maxrss * scale
