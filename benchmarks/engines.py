"""What leases cost nginx and Varnish: CPU a gigabyte, beside an nginx that sends files to anyone.

All by configurations that ``playhead edge render`` writes, warm, many players at a time, each with
spans from a bundle's start; interleaved, so that what else this machine does meets all alike.
CPU is that of the engine and of its gate. "Each request" is an nginx that remembers nothing of what
the gate says.
"""

from __future__ import annotations

import asyncio
import getpass
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

from benchmarks.serving import Usage
from benchmarks.synthetic import write_build
from benchmarks.table import parser, show
from kit.http_client import HttpClient
from kit.settings import load
from manifests.lease import HEADER
from manifests.names import TitleId
from playhead.engines import engine_plan
from playhead.leases import lease_source
from playhead.roles import Role, run
from playhead.settings import Settings
from tests.servers.engines import command
from tests.servers.ports import free_ports

SIZES = {"64 KiB": 64 << 10, "1 MiB": 1 << 20, "8 MiB": 8 << 20}
ROUNDS = 5
ROUND_S = 2
CONNECTIONS = 16
PLAYERS_COUNT = 100
"""An nginx of ours lets nobody ask more than 500 times a second."""
PLAYERS = """\
local leases, at = {{{leases}}}, 0
function request()
  at = at % #leases + 1
  wrk.headers["CTA-Common-Access-Token"] = leases[at]
  return wrk.format()
end
"""
PLAIN = """\
worker_processes 1;
pid {folder}/plain.pid;
error_log stderr crit;
user {user};
events {{ worker_connections 512; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush off;
  open_file_cache max=1000;
  server {{ listen 127.0.0.1:{port}; root {folder}/files; }}
}}
"""


@dataclass(frozen=True, slots=True)
class Contender:
    """A server, and the processes that work for it."""

    name: str
    url: str
    pids: tuple[int, ...]

    def cpu_s(self) -> float:
        """Return what they and their children have used."""
        return sum(Usage.of(pid).cpu_s for root in self.pids for pid in _family(root))


def main() -> None:
    """Measure all."""
    chosen = parser(__doc__).parse_args()
    if any(shutil.which(word) is None for word in ("nginx", "varnishd", "wrk")):
        print("engines: needs nginx, varnishd and wrk (apt-get install nginx-light varnish wrk)")
        return
    with tempfile.TemporaryDirectory() as scratch:
        rows = _measure(Path(scratch))
    show("engines", "python -m benchmarks.engines", rows, save=chosen.save)


def _measure(folder: Path) -> list[list[str]]:
    build = folder / "build"
    write_build(build, 100_000_000, 50)
    ports = free_ports(2)
    flags = [f"--set=data={folder / 'data'}", "--set=log_json=true"]
    flags += [f"--set=origin.listen.port={ports[0]}", f"--set=edge.listen.port={ports[1]}"]
    flags += [f"--set=edge.upstreams=http://127.0.0.1:{ports[0]}", "--set=engine.workers=1"]
    flags += [f"--set=engine.user={getpass.getuser()}", "--set=engine.max_bytes=1GiB"]
    words: list[str | Path] = [
        "push",
        build,
        "--title",
        "bench",
        "--version",
        "1",
        "--channel",
        "live",
    ]
    run([*flags, *words], scratch=folder)
    bundles = (folder / "data" / "objects" / "t" / "bench" / "b").iterdir()
    bundle = max(bundles, key=lambda path: path.stat().st_size)
    with ExitStack() as stack:
        for role in ("origin", "edge"):
            stack.enter_context(_role(folder, role, flags))
        contenders = [
            stack.enter_context(_plain(folder, bundle)),
            stack.enter_context(_engine(folder, "nginx", "nginx, remembered for 5 s", flags)),
            stack.enter_context(
                _engine(folder, "nginx", "nginx, each request", flags, "--set=gate.remember_for=0s")
            ),
            stack.enter_context(_engine(folder, "varnish", "Varnish, remembered for 5 s", flags)),
        ]
        leases = asyncio.run(_leases(flags))
        return _race(contenders, f"/t/bench/b/{bundle.name}", leases, folder / "players.lua")


def _race(
    contenders: list[Contender], path: str, leases: list[str], script: Path
) -> list[list[str]]:
    rows = [["CPU s/GB (of nginx without leases)", *SIZES]]
    found = {(each.name, label): list[float]() for each in contenders for label in SIZES}
    for each in contenders:
        _get(each.url + path, leases[0])
    script.write_text(PLAYERS.format(leases=",".join(f'"{lease}"' for lease in leases)))
    for _ in range(ROUNDS):
        for label, size in SIZES.items():
            for each in contenders:
                found[each.name, label].append(_cost(each, path, size, script))
    plain = contenders[0].name
    for each in contenders:
        cells = []
        for label in SIZES:
            pairs = zip(found[each.name, label], found[plain, label], strict=True)
            ratio = statistics.median(mine / theirs for mine, theirs in pairs)
            cells.append(f"{statistics.median(found[each.name, label]):.2f} ({ratio:.2f})")
        rows.append([each.name, *cells])
    return rows


def _cost(contender: Contender, path: str, size: int, script: Path) -> float:
    """Ask for the first ``size`` bytes for a while; return CPU seconds a gigabyte."""
    before = contender.cpu_s()
    done = subprocess.run(
        [
            *("wrk", "-t1", f"-c{CONNECTIONS}", f"-d{ROUND_S}s"),
            *("-s", str(script), "-H", f"Range: bytes=0-{size - 1}"),
            contender.url + path,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    used_s = contender.cpu_s() - before
    asked = re.search(r"(\d+) requests in", done.stdout)
    assert asked is not None, done.stdout
    assert "Non-2xx" not in done.stdout, f"{contender.name}: {done.stdout}"
    return used_s / (int(asked[1]) * size / 1e9)


@contextmanager
def _role(folder: Path, name: str, flags: list[str], log: str = "") -> Iterator[Role]:
    role = Role(name, [*flags, "serve", name], folder / f"{log or name}.log")
    try:
        role.start()
        yield role
    finally:
        role.kill()


@contextmanager
def _plain(folder: Path, bundle: Path) -> Iterator[Contender]:
    [port] = free_ports(1)
    file = folder / "files" / "t" / "bench" / "b" / bundle.name
    file.parent.mkdir(parents=True)
    shutil.copy(bundle, file)
    (folder / "files").chmod(0o755)
    config = folder / "plain.conf"
    config.write_text(PLAIN.format(folder=folder, port=port, user=getpass.getuser()))
    with _child(["nginx", "-c", str(config), "-g", "daemon off;"], port) as pid:
        yield Contender("nginx, files, no leases", f"http://127.0.0.1:{port}", (pid,))


@contextmanager
def _engine(
    folder: Path, engine: str, name: str, flags: list[str], *more: str
) -> Iterator[Contender]:
    [port] = free_ports(1)
    place = folder / f"{engine}-{port}"
    chosen = [*flags, *more, f"--set=engine.listen.port={port}", f"--set=engine.cache_dir={place}"]
    chosen += [f"--set=gate.socket={place}.sock", "--set=gate.listen.port=0"]
    config = place.with_suffix(".conf")
    words: list[str | Path] = ["edge", "render", "--engine", engine, "--output", config]
    assert run([*chosen, *words], scratch=folder).exit_code == 0
    plan = engine_plan(load(Settings, flags=[flag.removeprefix("--set=") for flag in chosen]))
    plan.cache_dir.mkdir(mode=0o700)
    with (
        _role(folder, "gate", chosen, f"gate-{port}") as gate,
        _child(command(plan, engine, config), port) as pid,
    ):
        yield Contender(name, f"http://127.0.0.1:{port}", (pid, gate.pid))


@contextmanager
def _child(words: list[str], port: int) -> Iterator[int]:
    child = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            assert child.poll() is None, words
            try:
                with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5):
                    break
            except OSError as error:
                if getattr(error, "code", 0) == 404:
                    break
                time.sleep(0.05)
        yield child.pid
    finally:
        child.terminate()
        child.wait(20)


def _family(pid: int) -> list[int]:
    """Return a process and all below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(below for child in children for below in _family(int(child)))]


def _get(url: str, lease: str) -> None:
    with urlopen(Request(url, headers={HEADER: lease}), timeout=30) as reply:
        reply.read()


async def _leases(flags: list[str]) -> list[str]:
    settings = load(Settings, flags=[flag.removeprefix("--set=") for flag in flags])
    async with HttpClient(settings.console.http) as http:
        source = lease_source(settings, http)
        return [(await source.lease(TitleId("bench"))).token for _ in range(PLAYERS_COUNT)]


if __name__ == "__main__":
    main()
