"""An edge beside nginx, in one run: CPU seconds per gigabyte, idle connections, a lease's check.

All serve the same objects from memory, one worker each, in turn; each figure is the median of the
rounds, and what counts is the ratio, for a machine is never quite idle. nginx has bundles as whole
files and slices as files of their own, checks no lease, and sends by sendfile. The "bare" ones are
the steps from the least a Python server can do to an edge: see :mod:`benchmarks.bare_servers`.

Two things would measure the machine instead, so they are kept out where that can be. Files are in
a tmpfs, whose pages no system puts out of memory that has no swap. And the network is one of its
own with ``reno``: ``bbr`` without a queue that paces does it by timers, which on a loopback bill
whichever process runs when they go off.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import timeit
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bare_servers import How
from benchmarks.edge_peers import (
    Peer,
    is_installed,
    running_bare,
    running_nginx,
    running_varnish,
)
from benchmarks.idle import idle_bytes
from benchmarks.load import has_wrk, load
from benchmarks.synthetic import write_build
from benchmarks.table import parser, show
from chunks.slices import SLICE_SIZE
from kit.clock import SystemClock
from kit.http_client import HttpClient
from manifests.lease import HEADER
from manifests.names import TitleId
from playhead.dev_certificates import DevCertificate, make_dev_certificate
from playhead.leases import lease_source
from playhead.roles import Role, run
from playhead.settings import Settings
from tests.leases import gate_at, lease_at
from tests.servers.ports import free_ports

BUILD_SIZE = 256_000_000
"""Some 128 MB once packed: more than a processor's cache, less than the memory tier."""
ROUNDS = 3
SECONDS = 3
CONNECTIONS = 16
IDLE_COUNT = 10_000
IDLE_TLS_COUNT = 2_000
ORIGINAL = "nginx"
TMPFS = Path("/dev/shm")
TMPFS_SIZE_MIN = 3 << 30
CONGESTION = Path("/proc/sys/net/ipv4/tcp_congestion_control")
APART = "BENCHMARK_APART"
"""Set for the run that has a network of its own."""

GATES = {"64 KiB": 1.10, "1 MiB": 1.00, "8 MiB": 1.10, "TLS 1 MiB": 1.00}


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of request: how an edge is asked, and how a server of files."""

    name: str
    ours: list[tuple[str, str]]
    files: list[tuple[str, str]]
    is_tls: bool = False


def main() -> None:
    """Publish a build, warm every server, and load each in turn."""
    options = parser(__doc__)
    options.add_argument("--folder", type=Path, help="where to work; needs 3 GB", default=_folder())
    options.add_argument("--rounds", type=int, default=ROUNDS)
    options.add_argument("--seconds", type=int, default=SECONDS)
    options.add_argument("--cells", default="", help="only those whose name holds this")
    options.add_argument("--no-idle", action="store_true", help="leave idle connections out")
    options.add_argument("--here", action="store_true", help="in the network as it is")
    chosen = options.parse_args()
    if not has_wrk() or not is_installed("nginx"):
        raise SystemExit("this benchmark needs nginx and wrk: apt-get install nginx-light wrk")
    if not chosen.here:
        _go_apart()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as made:
        stage = _Stage(Path(made))
        with stage.running() as servers:
            cells = [cell for cell in stage.cells() if chosen.cells in cell.name]
            rows = _loads(stage, servers, cells, chosen.rounds, chosen.seconds)
            idle = [] if chosen.no_idle else _idle(stage, servers)
    show(
        "edge",
        "make bench-edge",
        rows,
        save=chosen.save,
        notes=[
            "in brackets: of nginx in the same round, the median and the spread; then MB/s",
            f"congestion control {CONGESTION.read_text().strip()}; files in {_kind(chosen.folder)}",
            *idle,
            _lease_note(),
            *_gate_notes(rows),
        ],
    )


def _folder() -> Path | None:
    """Return a folder in memory, if there is one with room."""
    is_there = TMPFS.is_dir() and shutil.disk_usage(TMPFS).free > TMPFS_SIZE_MIN
    return TMPFS if is_there else None


def _kind(folder: Path | None) -> str:
    return "a tmpfs" if folder == TMPFS else "the file system"


def _go_apart() -> None:
    """Begin again in a network of our own, if we may make one."""
    words = ["unshare", "--net", "sh", "-c"]
    prepare = f"ip link set lo up && echo reno > {CONGESTION}"
    if APART in os.environ or os.getuid() != 0 or shutil.which("ip") is None:
        return
    if subprocess.run([*words, prepare], capture_output=True, check=False).returncode == 0:
        again = [sys.executable, "-m", "benchmarks.edge", *sys.argv[1:]]
        os.environ[APART] = "1"
        os.execvp(words[0], [*words, f'{prepare} && exec "$@"', "sh", *again])


class _Stage:
    """A published build, and everything that serves it."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.data = scratch / "data"
        self.files = scratch / "files"
        self.certificate: DevCertificate = make_dev_certificate(scratch / "tls")
        self.sizes: dict[str, int] = {}
        build = scratch / "build"
        write_build(build, BUILD_SIZE, 500)
        words: list[str | Path] = ["push", build, "--title", "bench", "--version", "1"]
        run([f"--set=data={self.data}", *words, "--channel", "live"], scratch=scratch)
        self.lease = ""
        for path in sorted((self.data / "objects" / "t" / "bench" / "b").iterdir()):
            self.sizes[path.name] = path.stat().st_size
            self._lay_out(path)

    @contextmanager
    def running(self) -> Iterator[dict[str, Peer]]:
        """Start all servers, and have each in memory what will be asked for."""
        made = self.certificate
        with ExitStack() as stack:
            [port] = free_ports(1)
            self._role(stack, "origin", [f"origin.listen.port={port}"])
            servers = {
                ORIGINAL: stack.enter_context(
                    running_nginx(self.scratch / "nginx", self.files, made.certificate, made.key)
                )
            }
            upstream = f"edge.upstreams=http://127.0.0.1:{port}"
            tls = [
                f"edge.listen.tls.certificate={made.certificate}",
                f"edge.listen.tls.key={made.key}",
            ]
            for name, flags in {
                "edge": [],
                "edge, aiohttp alone": ["edge.fast_lane=false"],
            }.items():
                common = [upstream, *flags]
                plain = self._role(stack, "edge", [*common, f"edge.cache_dir={name}"])
                secure = self._role(stack, "edge", [*common, f"edge.cache_dir={name} tls", *tls])
                servers[name] = Peer(plain.url, secure.url, (plain.pid, secure.pid))
            self.lease = asyncio.run(_lease(self.data))
            if is_installed("varnishd"):
                backend = int(servers[ORIGINAL].url.rpartition(":")[2])
                servers["Varnish, malloc"] = stack.enter_context(
                    running_varnish(self.scratch / "varnish", backend)
                )
            for how in How:
                folder = self.scratch / f"bare-{how.value}"
                servers[f"bare: {how.value}"] = stack.enter_context(
                    running_bare(folder, self.files, how)
                )
            yield servers

    def cells(self) -> list[Cell]:
        """Return what is asked for: all of the build, in pieces of each size."""
        slices = [
            (f"/t/bench/b/{name}/{index}", f"/slices/{name}/{index}")
            for name, size in self.sizes.items()
            for index in range(size // SLICE_SIZE)
        ]
        whole_slices = [(ours, "") for ours, _ in slices], [(files, "") for _, files in slices]
        return [
            Cell("64 KiB", *self._spans(64 << 10, every=16)),
            Cell("1 MiB", *whole_slices),
            Cell("8 MiB", *self._spans(8 << 20)),
            Cell("TLS 1 MiB", *whole_slices, is_tls=True),
        ]

    def _spans(
        self, size: int, every: int = 1
    ) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        spans = [
            (name, f"bytes={start}-{start + size - 1}")
            for name, whole in self.sizes.items()
            for start in range(0, whole - size + 1, size * every)
        ]
        return (
            [(f"/t/bench/b/{name}", span) for name, span in spans],
            [(f"/bundles/{name}", span) for name, span in spans],
        )

    def _lay_out(self, bundle: Path) -> None:
        content = bundle.read_bytes()
        (self.files / "bundles").mkdir(parents=True, exist_ok=True)
        (self.files / "bundles" / bundle.name).write_bytes(content)
        folder = self.files / "slices" / bundle.name
        folder.mkdir(parents=True)
        for index in range(-(-len(content) // SLICE_SIZE)):
            at = index * SLICE_SIZE
            (folder / str(index)).write_bytes(content[at : at + SLICE_SIZE])

    def _role(self, stack: ExitStack, name: str, flags: Sequence[str]) -> Role:
        words = [f"--set=data={self.data}", "--set=log_json=true", f"--set={name}.listen.port=0"]
        words += [f"--set={flag}" for flag in flags]
        log = self.scratch / f"{len(list(self.scratch.glob('*.log')))}.log"
        role = Role(name, [*words, "serve", name], log)
        stack.callback(role.kill)
        role.start()
        return role


async def _lease(data: Path) -> str:
    settings = Settings(data=data)
    async with HttpClient(settings.console.http) as http:
        return (await lease_source(settings, http).lease(TitleId("bench"))).token


def _loads(
    stage: _Stage, servers: dict[str, Peer], cells: Sequence[Cell], rounds: int, seconds: int
) -> list[list[str]]:
    measured: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for number in range(rounds + 1):
        for cell in cells:
            for name, peer in servers.items():
                url = peer.tls_url if cell.is_tls else peer.url
                if not url:
                    continue
                found = load(
                    url,
                    cell.ours if name.startswith("edge") else cell.files,
                    peer.pids,
                    header=(HEADER, stage.lease),
                    seconds=seconds,
                    connections=CONNECTIONS,
                    scratch=stage.scratch,
                )
                if number > 0:  # the first round fills
                    speed = found.size / found.seconds / 1e6
                    measured[name, cell.name].append((found.cpu_s_per_gb, speed))
    rows = [["CPU s/GB (of nginx; MB/s)", *(cell.name for cell in cells)]]
    for name in servers:
        row = [name]
        for cell in cells:
            figures = measured[name, cell.name]
            row.append(_figure(figures, measured[ORIGINAL, cell.name]) if figures else "-")
        rows.append(row)
    return rows


def _figure(ours: list[tuple[float, float]], original: list[tuple[float, float]]) -> str:
    cpu = statistics.median(each for each, _ in ours)
    # Of each round apart: what else the machine does changes from round to round.
    ratios = [a / b for (a, _), (b, _) in zip(ours, original, strict=True)]
    ratio = statistics.median(ratios)
    speed = statistics.median(each for _, each in ours)
    return f"{cpu:.3f} ({ratio:.2f}, {min(ratios):.2f}-{max(ratios):.2f}; {speed:.0f})"


def _idle(stage: _Stage, servers: dict[str, Peer]) -> list[str]:
    [path, *_] = [path for path, _ in stage.cells()[1].ours]
    [file, *_] = [file for file, _ in stage.cells()[1].files]
    ca_file, header = stage.certificate.authority, f"{HEADER}: {stage.lease}"
    notes = []
    for name, asked in {"edge": path, ORIGINAL: file}.items():
        peer = servers[name]
        plain = idle_bytes(peer.url, asked, header, peer.pids, count=IDLE_COUNT)
        tls = idle_bytes(
            peer.tls_url, asked, header, peer.pids, count=IDLE_TLS_COUNT, ca_file=ca_file
        )
        notes.append(
            f"{name}: an idle connection that was used once holds {plain / 1e3:.1f} kB "
            f"({IDLE_COUNT:,} of them), by TLS {tls / 1e3:.1f} kB ({IDLE_TLS_COUNT:,})"
        )
    return notes


def _lease_note() -> str:
    clock = SystemClock()
    gate, title = gate_at(clock), TitleId("bench")
    token = lease_at(clock, title)
    count = 20_000
    took_s = min(timeit.repeat(lambda: gate.check(token, title), number=count, repeat=5))
    return f"a remembered lease is checked in {took_s / count * 1e6:.2f} us (gate: 2)"


def _gate_notes(rows: list[list[str]]) -> list[str]:
    notes = []
    for column, name in enumerate(rows[0][1:], start=1):
        [ours] = [row[column] for row in rows[1:] if row[0] == "edge"]
        ratio = float(ours.partition("(")[2].partition(",")[0])
        verdict = "kept" if ratio <= GATES[name] else "missed"
        notes.append(f"gate {name}: {ratio:.2f} of nginx, at most {GATES[name]:.2f}: {verdict}")
    return notes


if __name__ == "__main__":
    main()
