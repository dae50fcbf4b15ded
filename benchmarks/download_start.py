"""How long until the first verified chunk of a download is written, on a line of 50 ms.

A real origin, edge and entitlement service, each a process; the console reaches the last two over
lines as ``benchmarks.slow_link`` makes them. *Cold* is a new console with new connections, *warm*
one that has just downloaded something else from the same edge. A command is timed from the start of
its process, Python and all; else what is timed is a call of a program that runs already.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from benchmarks.slow_link import Line, Link, laid
from benchmarks.synthetic import change_build, write_build
from benchmarks.table import parser, show
from console.entitlement import EntitlementClient
from console.platform_api import Console
from console.reports import Report
from console.settings import ConsoleSettings, TrustSettings
from kit.http_client import HttpClient
from kit.http_settings import ClientSettings
from manifests.names import Channel, TitleId
from playhead.dev_certificates import make_dev_certificate
from playhead.roles import Role, run

TITLE, LIVE = TitleId("game"), Channel("live")
BUILD_SIZE = 8 << 20
FILE_COUNT = 40
LINE = Line(round_trip_s=0.05, rate=100e6 / 8)
ROUNDS = 15
COMMANDS = 7
COLD_MS, WARM_MS = 300, 120
"""What a start may take: the median of cold ones, of warm ones."""

NO_LIMIT = 30.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One start."""

    first_chunk_s: float
    from_request_s: float
    requests: int
    received: int
    connections: int


@dataclass(frozen=True)
class Platform:
    """What consoles are pointed at."""

    folder: Path
    tls: bool
    edge: Link
    entitlement: Link
    authority: Path

    def settings(self) -> ConsoleSettings:
        """Return what a console far away is told."""
        scheme = "https" if self.tls else "http"
        return ConsoleSettings(
            edges=(f"{scheme}://127.0.0.1:{self.edge.port}",),
            trust=TrustSettings(root=self.folder / "data/keys/root.json"),
            http=ClientSettings(ca_file=self.authority if self.tls else None),
        )

    @property
    def entitlement_url(self) -> str:
        """Where leases are to be had, over the same line."""
        return f"http://127.0.0.1:{self.entitlement.port}"

    @property
    def token_file(self) -> Path:
        """Who the player is."""
        return self.folder / "data/keys/player.token"

    @asynccontextmanager
    async def console(self, *, knows_start: bool) -> AsyncIterator[Console]:
        """Start a console; one that ``knows_start`` not has found out that the edge does not."""
        settings = self.settings()
        async with HttpClient(settings.http) as http:
            leases = EntitlementClient(self.entitlement_url, self.token_file, http)
            console = Console(settings, http, leases)
            if not knows_start:
                console._memory.note_no_start(settings.edges[0])
            yield console


class Rounds:
    """Runs starts on one platform, each into a folder of its own."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._count = 0

    async def cold(self, *, knows_start: bool) -> list[Sample]:
        """Start new consoles."""
        found = []
        for _ in range(ROUNDS + 1):
            async with self._platform.console(knows_start=knows_start) as console:
                found.append(await self._install(console))
        return found[1:]  # at the first the edge has nothing yet

    async def warm(self, *, knows_start: bool) -> list[Sample]:
        """Start one console again and again."""
        async with self._platform.console(knows_start=knows_start) as console:
            await self._install(console)
            return [await self._install(console) for _ in range(ROUNDS)]

    def commands(self) -> list[Sample]:
        """Run `playhead install`, each time a new process."""
        return [self._command() for _ in range(COMMANDS + 1)][1:]

    async def _install(self, console: Console) -> Sample:
        folder = self._new_folder()
        self._platform.edge.passed()
        began = time.monotonic()
        report = await console.install(TITLE, folder, channel=LIVE)
        sample = self._sample(began, report.first_chunk_s or NO_LIMIT, report)
        shutil.rmtree(folder)
        return sample

    def _sample(self, began: float, first_chunk_s: float, report: Report) -> Sample:
        passed = self._platform.edge.passed()
        asked_at = passed.sent_at if passed.connections else began
        return Sample(
            first_chunk_s,
            began + first_chunk_s - asked_at,
            report.requests,
            report.received_bytes,
            passed.connections,
        )

    def _command(self) -> Sample:
        platform, folder = self._platform, self._new_folder()
        settings = platform.settings()
        words = [
            *(f"--set=console.trust.root={settings.trust.root}",),
            f"--set=console.entitlement.url={platform.entitlement_url}",
            f"--set=console.entitlement.token_file={platform.token_file}",
            *([f"--set=console.http.ca_file={platform.authority}"] if platform.tls else []),
            *("install", TITLE, str(folder), "--edge", settings.edges[0], "--json"),
        ]
        platform.edge.passed()
        began = time.monotonic()
        child = subprocess.Popen(
            [sys.executable, "-m", "playhead", *words], stdout=subprocess.PIPE, text=True
        )
        while child.poll() is None and not _has_bytes(folder):
            time.sleep(0.001)
        first_chunk_s = time.monotonic() - began
        output, _ = child.communicate(timeout=NO_LIMIT)
        report = msgspec.json.decode(output, type=_Printed)
        passed = platform.edge.passed()
        shutil.rmtree(folder)
        return Sample(
            first_chunk_s,
            began + first_chunk_s - passed.sent_at,
            report.requests,
            report.received_bytes,
            passed.connections,
        )

    def _new_folder(self) -> Path:
        self._count += 1
        return self._platform.folder / f"installed-{self._count}"


class _Printed(msgspec.Struct):
    requests: int
    received_bytes: int


def _has_bytes(folder: Path) -> bool:
    """Tell whether something of the title is on the disk: in staging, or in place."""
    staged = folder / ".playhead" / "staging"
    with contextlib.suppress(OSError):
        return any(file.stat().st_size for file in staged.glob("*/*"))
    return False


@contextmanager
def platform_in(folder: Path, *, tls: bool) -> Iterator[Platform]:
    """Publish a build below ``folder``, serve it, and lay lines to what serves."""
    build = folder / "build"
    write_build(build, BUILD_SIZE, FILE_COUNT)
    data = f"--set=data={folder / 'data'}"
    for version in ("1.0", "1.1"):
        words = ("push", build, "--title", TITLE, "--version", version, "--channel", LIVE, "--json")
        run([data, *words], scratch=folder).last_json()
        change_build(build)
    certificate = make_dev_certificate(folder / "tls", ("localhost", "127.0.0.1"))
    with contextlib.ExitStack() as stack:

        def started(name: str, *flags: str) -> int:
            words = [data, "--set=log_json=true", f"--set={name}.listen.port=0", *flags]
            role = Role(name, [*words, "serve", name], folder / f"{name}.log")
            stack.callback(role.kill)
            role.start()
            return int(role.url.rpartition(":")[2])

        entitlement = started("entitlement")
        origin = started("origin")
        edge = started(
            "edge",
            f"--set=edge.upstreams=http://127.0.0.1:{origin}",
            f"--set=edge.entitlement=http://127.0.0.1:{entitlement}",
            *([f"--set=edge.listen.tls.certificate={certificate.certificate}"] if tls else []),
            *([f"--set=edge.listen.tls.key={certificate.key}"] if tls else []),
        )
        yield Platform(
            folder,
            tls,
            stack.enter_context(laid(LINE, edge)),
            stack.enter_context(laid(LINE, entitlement)),
            certificate.authority,
        )


def main() -> None:
    """Measure each way."""
    options = parser(__doc__).parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    heading = ["", "p50", "p95", "p50 from its first request", "requests", "bytes", "connections"]
    rows = [[*heading, "gate"]]
    for tls in (False, True):
        with tempfile.TemporaryDirectory() as scratch, platform_in(Path(scratch), tls=tls) as made:
            rows += _rows(Rounds(made), "TLS" if tls else "plain")
    rate = f"{LINE.rate * 8 / 1e6:.0f} Mbit/s"
    show(
        "download_start",
        "python -m benchmarks.download_start",
        rows,
        save=options.save,
        notes=[
            f"a round trip takes {LINE.round_trip_s * 1e3:.0f} ms, {rate}; a connection begins"
            " with ten segments on the way and doubles that each round trip",
            f"a build of {BUILD_SIZE >> 20} MiB in {FILE_COUNT} files; {ROUNDS} rounds,"
            f" {COMMANDS} of commands; bytes and requests are of the whole download",
            "without the start call, the lease comes from the entitlement service over the same"
            " kind of line",
            f"cores are shared: {len(os.sched_getaffinity(0))} for console, edge, origin and line",
        ],
    )


def _rows(rounds: Rounds, name: str) -> list[list[str]]:
    calls: list[tuple[str, Callable[[], Sequence[Sample]], int | None]] = [
        ("cold", lambda: asyncio.run(rounds.cold(knows_start=True)), COLD_MS),
        ("warm", lambda: asyncio.run(rounds.warm(knows_start=True)), WARM_MS),
        ("cold, no start call", lambda: asyncio.run(rounds.cold(knows_start=False)), None),
        ("warm, no start call", lambda: asyncio.run(rounds.warm(knows_start=False)), None),
        ("`playhead install`, from its process's start", rounds.commands, COLD_MS),
    ]
    return [_row(f"{name}: {what}", measure(), gate) for what, measure, gate in calls]


def _row(name: str, samples: Sequence[Sample], gate_ms: int | None) -> list[str]:
    times = sorted(1e3 * sample.first_chunk_s for sample in samples)
    p50, p95 = statistics.median(times), times[int(0.95 * (len(times) - 1) + 0.5)]
    from_request = statistics.median(1e3 * sample.from_request_s for sample in samples)
    last = samples[-1]
    verdict = ""
    if gate_ms is not None:
        verdict = f"<= {gate_ms} ms: {'met' if p50 <= gate_ms else 'MISSED'}"
    return [
        name,
        f"{p50:.0f} ms",
        f"{p95:.0f} ms",
        f"{from_request:.0f} ms",
        str(last.requests),
        f"{last.received:,}",
        str(last.connections),
        verdict,
    ]


if __name__ == "__main__":
    main()
