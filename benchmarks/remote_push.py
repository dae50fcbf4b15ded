"""A push through an origin beside a push straight into the same kind of storage, on one machine.

Both write to a directory on one disk, synced; the remote one goes through HTTP on loopback, and
the origin verifies every bundle's digest again. Publisher and origin share the machine's cores,
which two machines would not.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.table import parser, show
from playhead.roles import Role, command, run

TITLE = "game"
RUNS = 3
LOGIN_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Case:
    """A build and what of it is compressible: half noise is what games look like."""

    name: str
    file_count: int
    file_size: int

    @property
    def size(self) -> int:
        """Of all files, in bytes."""
        return self.file_count * self.file_size


CASES = [Case("few large files", 8, 32 << 20), Case("many small files", 4000, 16 << 10)]


def main() -> None:
    """Push every case both ways, in turns."""
    options = parser(__doc__).parse_args()
    rows = [["build", "size", "local push", "remote push", "ratio", "origin peak", "again, remote"]]
    with tempfile.TemporaryDirectory() as scratch:
        rows += [_row(case, Path(scratch) / case.name.replace(" ", "-")) for case in CASES]
    show(
        "remote_push",
        "python -m benchmarks.remote_push",
        rows,
        save=options.save,
        notes=[
            f"median of {RUNS} runs in turns, each into an empty storage; no deltas",
            "the origin verifies what it is sent: on one machine that is the same cores' work",
            "again, remote: the same push once more, which uploads nothing",
        ],
    )


def _row(case: Case, folder: Path) -> list[str]:
    build = folder / "build"
    _write(case, build)
    local, remote, again, peaks = list[float](), list[float](), list[float](), list[int]()
    for number in range(RUNS):
        place = folder / f"run{number}"
        place.mkdir()
        local.append(_push([f"--set=data={place / 'local'}"], build, place))
        with _Origin(place) as origin:
            remote.append(_push(origin.publisher, build, place))
            again.append(_push(origin.publisher, build, place))
        peaks.append(origin.peak)
        shutil.rmtree(place)
    ratio = statistics.median(remote) / statistics.median(local)
    return [
        case.name,
        f"{case.size / 1e6:.0f} MB",
        f"{statistics.median(local):.2f} s",
        f"{statistics.median(remote):.2f} s",
        f"{ratio:.2f}",
        f"{max(peaks) / 2**20:.0f} MiB",
        f"{statistics.median(again):.2f} s",
    ]


def _write(case: Case, build: Path) -> None:
    rng = random.Random(5)
    build.mkdir(parents=True)
    for index in range(case.file_count):
        noise = rng.randbytes(case.file_size // 2)
        words = f"the same words in file {index} again and again. ".encode()
        plain = words * (case.file_size // 2 // len(words) + 1)
        (build / f"{index:05}.bin").write_bytes(noise + plain[: case.file_size // 2])
    os.sync()


def _push(settings: list[str], build: Path, scratch: Path) -> float:
    words = ["push", str(build), "--title", TITLE, "--version", "1", "--channel", "live"]
    report = run([*settings, *words, "--no-deltas", "--json"], scratch=scratch).last_json()
    return float(report["total_seconds"])


class _Origin:
    """An origin process on a directory, with one publisher logged in."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._settings = [f"--set=data={folder / 'platform'}", "--set=log_json=true"]
        self._settings += ["--set=origin.listen.port=0", "--set=accounts.poll_every=0.2s"]
        self._role = Role("origin", [*self._settings, "serve", "origin"], folder / "origin.log")
        self.publisher = [
            f"--set=data={folder / 'publisher'}",
            f"--set=packager.credentials_dir={folder / 'config'}",
        ]
        self.peak = 0

    def __enter__(self) -> _Origin:
        self._role.start()
        self._log_in()
        return self

    def __exit__(self, *_: object) -> None:
        self._role.stop()
        self.peak = self._role.peak_rss_bytes

    def _log_in(self) -> None:
        words = [*self.publisher, "login", self._role.url]
        with subprocess.Popen(
            command(words, self._folder / "peak"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as login:
            assert login.stderr is not None
            code = login.stderr.readline().split()[1]
            given = ["--publisher", "acme", "--title", TITLE, "--channel", "live"]
            approve = ["publishers", "approve", code, *given, "--url", self._role.url, "--json"]
            run([*self._settings, *approve], scratch=self._folder).last_json()
            give_up = time.monotonic() + LOGIN_WITHIN_S
            while login.poll() is None and time.monotonic() < give_up:
                time.sleep(0.05)


if __name__ == "__main__":
    main()
