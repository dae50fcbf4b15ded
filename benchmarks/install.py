"""Install from a warm edge on this machine, beside ``curl | zstd -d | tar x`` of the same build.

Both write the same files to the same disk, and for both the server shares the two cores. Ours also
verifies every chunk and makes it durable; to be fair the peer's run ends with a ``sync`` too, and
is shown without one as well. Runs alternate; the ratio is of medians.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.synthetic import write_build
from benchmarks.table import parser, show
from playhead.roles import Role, run
from playhead.trees import size_of
from tests.polling import eventually_sync
from tests.servers.ports import free_ports

RUNS = 5
SYNTHETIC_SIZE = 1_000_000_000
SYNTHETIC_FILES = 2_000


def main() -> None:
    """Publish, warm, then install by turns."""
    options = parser(__doc__)
    options.add_argument("--build", type=Path, help="a folder; by default 1 GB made on the spot")
    options.add_argument("--folder", type=Path, help="where to work; needs 6 GB")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as made:
        scratch = Path(made)
        build = chosen.build
        if build is None:
            build = scratch / "build"
            write_build(build, SYNTHETIC_SIZE, SYNTHETIC_FILES)
        rows = _measure(scratch, build)
    show("install", "python -m benchmarks.install", rows, save=chosen.save)


def _measure(scratch: Path, build: Path) -> list[list[str]]:
    size = size_of(build)
    with _edge(scratch, build) as edge_url, _archive(scratch, build) as archive_url:
        os.sync()
        _ours(scratch, edge_url)  # warms the edge
        peers: dict[str, Callable[[], float]] = {
            "playhead install": lambda: _ours(scratch, edge_url),
            "curl, zstd -d, tar x, sync": lambda: _theirs(scratch, archive_url, sync=True),
            "curl, zstd -d, tar x": lambda: _theirs(scratch, archive_url, sync=False),
        }
        times: dict[str, list[float]] = {name: [] for name in peers}
        for _ in range(RUNS):
            for name, install in peers.items():
                times[name].append(install())
                os.sync()
    ours = statistics.median(times["playhead install"])
    rows = [["", "median", "fastest", "installed MB/s", "our time / its time"]]
    for name, found in times.items():
        median = statistics.median(found)
        rows.append(
            [name, f"{median:.2f} s", f"{min(found):.2f} s", f"{size / median / 1e6:.0f}",
             f"{ours / median:.2f}"]
        )  # fmt: skip
    return rows


@contextmanager
def _edge(scratch: Path, build: Path) -> Iterator[str]:
    data = f"--set=data={scratch / 'data'}"
    run(
        [data, "push", build, "--title", "bench", "--version", "1", "--channel", "live"],
        scratch=scratch,
    )
    ports = [f"--set=origin.listen.port={(port := free_ports(1)[0])}", "--set=edge.listen.port=0"]
    origin = Role("origin", [data, "--set=log_json=true", *ports, "serve", "origin"], scratch / "o")
    upstream = f"--set=edge.upstreams=http://127.0.0.1:{port}"
    words = [data, "--set=log_json=true", *ports, upstream, "serve", "edge"]
    edge = Role("edge", words, scratch / "e")
    try:
        origin.start()
        edge.start()
        yield edge.url
    finally:
        edge.kill()
        origin.kill()


@contextmanager
def _archive(scratch: Path, build: Path) -> Iterator[str]:
    served = scratch / "served"
    served.mkdir()
    subprocess.run(
        f"tar c -C '{build}' . | zstd -q -3 -T0 -o '{served}/build.tar.zst'", shell=True, check=True
    )
    [port] = free_ports(1)
    server = subprocess.Popen(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "-d", served],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}/build.tar.zst"
    probe = ["curl", "-sfI", url]
    try:
        eventually_sync(
            lambda: subprocess.run(probe, check=False, stdout=subprocess.DEVNULL).returncode == 0
        )
        yield url
    finally:
        server.kill()
        server.wait()


def _ours(scratch: Path, edge_url: str) -> float:
    into = scratch / "ours"
    shutil.rmtree(into, ignore_errors=True)
    started = time.monotonic()
    done = run(["install", "bench", into, "--edge", edge_url, "--json"], scratch=scratch)
    elapsed = time.monotonic() - started
    done.last_json()
    return elapsed


def _theirs(scratch: Path, url: str, *, sync: bool) -> float:
    into = scratch / "theirs"
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir()
    started = time.monotonic()
    command = f"set -o pipefail; curl -sf '{url}' | zstd -dc | tar x -C '{into}'"
    subprocess.run(["bash", "-c", command], check=True)
    if sync:
        os.sync()
    return time.monotonic() - started


if __name__ == "__main__":
    main()
