"""Playhead's own command line as child processes: how the demo and the system tests run a fleet."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.errors import Unavailable

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 30.0


def command(words: Sequence[str | Path], peak_file: Path) -> list[str]:
    """Return what starts ``playhead`` in this very Python, and notes its peak memory."""
    peak_file.unlink(missing_ok=True)
    return [sys.executable, "-m", "playhead.peak", str(peak_file), *map(str, words)]


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended: its exit code, what it printed, and its peak memory in bytes.

    The peak is 0 if it was killed.
    """

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


def run(words: Sequence[str | Path], *, scratch: Path) -> Finished:
    """Run one command to its end; ``scratch`` is for a file it leaves."""
    peak_file = scratch / "peak"
    done = subprocess.run(command(words, peak_file), capture_output=True, text=True, check=False)
    return Finished(done.returncode, done.stdout, done.stderr, _read_peak(peak_file))


class Role:
    """One ``playhead serve`` process; ``url`` once it listens."""

    def __init__(self, name: str, words: Sequence[str | Path], log: Path) -> None:
        self._name = name
        self._words = words
        self._log = log
        self._peak_file = log.with_suffix(".peak")
        self._child: subprocess.Popen[bytes] | None = None
        self.url = ""

    @property
    def pid(self) -> int:
        """The process, while it runs."""
        assert self._child is not None
        return self._child.pid

    @property
    def peak_rss_bytes(self) -> int:
        """The most memory it held, once it was stopped; 0 if it was killed."""
        return _read_peak(self._peak_file)

    def start(self) -> None:
        """Start the process and wait until it listens.

        Raises:
            Unavailable: It ended, or did not listen in time; the message holds its last words.
        """
        with self._log.open("wb") as log:
            words = command(self._words, self._peak_file)
            self._child = subprocess.Popen(words, stdout=log, stderr=log)
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
        return self._child.wait(STOP_TIMEOUT_S)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._child is not None:
            self._child.kill()
            self._child.wait(STOP_TIMEOUT_S)

    def _listening_url(self) -> str:
        for line in self._log.read_text(errors="replace").splitlines():
            if line.startswith("{"):
                event = json.loads(line)
                if event.get("event") == "listening":
                    return str(event["url"])
        return ""


def _read_peak(peak_file: Path) -> int:
    """Return what the process wrote at its end; 0 if it was killed before it could."""
    return int(peak_file.read_text()) if peak_file.exists() else 0
