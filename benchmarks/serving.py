"""Origin and edge under load: throughput, CPU per gigabyte, and memory that must stay flat.

Many clients read whole bundles at random from a cold edge, then go on; memory of both processes
is read after each round. One more slow client holds a response open all the while.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from benchmarks.synthetic import write_build
from benchmarks.table import parser, show
from kit.http_client import HttpClient
from manifests.lease import HEADER
from manifests.names import TitleId
from playhead.leases import lease_source
from playhead.roles import Role, run
from playhead.settings import Settings
from tests.servers.ports import free_ports

BUILD_SIZE = 1_000_000_000
CLIENTS = 64
ROUNDS = 5
ROUND_SIZE = 4_000_000_000
READ_SIZE = 1 << 20
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used so far, and holds now."""

    cpu_s: float
    rss_bytes: int

    @classmethod
    def of(cls, pid: int) -> Usage:
        """Read it from the kernel."""
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        pages = int(fields[21])
        ticks = int(fields[11]) + int(fields[12])
        return cls(ticks / TICKS_PER_S, pages * os.sysconf("SC_PAGE_SIZE"))


def main() -> None:
    """Publish a build, then read it many times over."""
    options = parser(__doc__)
    options.add_argument("--folder", type=Path, help="where to work; needs 3 GB")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as made:
        rows = _measure(Path(made))
    show("serving", "python -m benchmarks.serving", rows, save=chosen.save)


def _measure(scratch: Path) -> list[list[str]]:
    build, data = scratch / "build", scratch / "data"
    write_build(build, BUILD_SIZE, 2000)
    flags = [f"--set=data={data}", "--set=log_json=true"]
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
    run([*flags, *words], scratch=scratch)
    bundles = [path.name for path in (data / "objects" / "t" / "bench" / "b").iterdir()]
    [port] = free_ports(1)
    flags += [f"--set=origin.listen.port={port}", "--set=edge.listen.port=0"]
    flags += [f"--set=edge.upstreams=http://127.0.0.1:{port}"]
    origin = Role("origin", [*flags, "serve", "origin"], scratch / "origin.log")
    edge = Role("edge", [*flags, "serve", "edge"], scratch / "edge.log")
    try:
        origin.start()
        edge.start()
        return asyncio.run(_load(edge, origin, bundles, data))
    finally:
        edge.kill()
        origin.kill()


async def _load(edge: Role, origin: Role, bundles: list[str], data: Path) -> list[list[str]]:
    rows = [["round", "read", "MB/s", "edge CPU s/GB", "edge memory", "origin memory"]]
    rng = random.Random(7)
    connector = aiohttp.TCPConnector(limit=0)
    headers = {HEADER: await _lease(data)}
    async with aiohttp.ClientSession(
        connector=connector, read_bufsize=READ_SIZE, headers=headers
    ) as session:
        slow = asyncio.create_task(_read_slowly(session, edge.url, bundles[0]))
        for number in range(ROUNDS):
            before, started = Usage.of(edge.pid), time.monotonic()
            shares = [ROUND_SIZE // CLIENTS] * CLIENTS
            sizes = await asyncio.gather(
                *(_read(session, edge.url, bundles, share, rng) for share in shares)
            )
            elapsed, after, size = time.monotonic() - started, Usage.of(edge.pid), sum(sizes)
            rows.append(
                [
                    "1 (cold)" if number == 0 else str(number + 1),
                    f"{size / 1e9:.1f} GB",
                    f"{size / elapsed / 1e6:.0f}",
                    f"{(after.cpu_s - before.cpu_s) / (size / 1e9):.2f}",
                    f"{after.rss_bytes / 1e6:.0f} MB",
                    f"{Usage.of(origin.pid).rss_bytes / 1e6:.0f} MB",
                ]
            )
        slow.cancel()
    return rows


async def _lease(data: Path) -> str:
    settings = Settings(data=data)
    async with HttpClient(settings.console.http) as http:
        return (await lease_source(settings, http).lease(TitleId("bench"))).token


async def _read(
    session: aiohttp.ClientSession, url: str, bundles: list[str], share: int, rng: random.Random
) -> int:
    size = 0
    while size < share:
        async with session.get(f"{url}/t/bench/b/{rng.choice(bundles)}") as response:
            response.raise_for_status()
            while piece := await response.content.readany():
                size += len(piece)
    return size


async def _read_slowly(session: aiohttp.ClientSession, url: str, bundle: str) -> None:
    while True:
        async with session.get(f"{url}/t/bench/b/{bundle}") as response:
            while await response.content.read(1 << 16):  # noqa: ASYNC110 - slowness is the point
                await asyncio.sleep(0.5)


if __name__ == "__main__":
    main()
