"""The plain cache beside nginx and Varnish: hits, validations, and a thousand clients at once.

All are before the same upstream, one process each, in turns. CPU is what all processes of a cache
used, by request. The load comes from the same machine, so rates are only of use side by side.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.edge_peers import Peer, is_installed, running_proxy, running_varnish
from benchmarks.table import parser, show
from tests.servers.ports import free_ports

SIZES = {"/1k": 1024, "/64k": 65536}
CONNECTIONS = 32
SECONDS = 2
ROUNDS = 3
CLIENTS = 1000
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Upstream:
    """Answers by path; slowly where many clients are to come together."""

    def __init__(self) -> None:
        self.asked = 0
        """Times, for what many ask for together."""

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                path = request.split(b" ", 2)[1].decode()
                if path == "/together":
                    self.asked += 1
                    await asyncio.sleep(0.5)
                writer.write(self._answer(path, request))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def _answer(self, path: str, request: bytes) -> bytes:
        if path.startswith("/validated"):
            head = b'Cache-Control: max-age=0\r\nETag: "a"\r\n'
            if b"if-none-match:" in request.lower():
                return b"HTTP/1.1 304 Not Modified\r\n" + head + b"\r\n"
        else:
            head = b"Cache-Control: max-age=86400\r\n"
        body = b"x" * SIZES.get(path.split("?", maxsplit=1)[0], 1024)
        return b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s" % (head, len(body), body)


@dataclass(frozen=True, slots=True)
class Figure:
    """What a cache did in one run."""

    per_s: float
    cpu_us: float


@contextmanager
def running_ours(folder: Path, upstream_port: int) -> Iterator[Peer]:
    """Serve the plain cache as an operator does."""
    folder.mkdir()
    port, operators = free_ports(2)
    words = [sys.executable, "-m", "playhead", "serve", "edge", "--generic"]
    words += ["--upstream", f"http://127.0.0.1:{upstream_port}", "--listen", f"127.0.0.1:{port}"]
    env = {**os.environ, "PLAYHEAD_EDGE__GENERIC__OPERATORS__PORT": str(operators)}
    with running_proxy(words, port, folder / "log", env=env, cwd=folder) as peer:
        yield peer


def _cpu_s(peer: Peer) -> float:
    used = 0
    for pid in peer.pids:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        used += int(words[11]) + int(words[12])
    return used / TICKS_PER_S


async def _load(peer: Peer, path: str) -> Figure:
    before = _cpu_s(peer)
    words = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", peer.url + path]
    process = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE)
    output = (await process.communicate())[0].decode()
    if "Non-2xx" in output:
        raise RuntimeError(f"{peer.url}{path}: {output}")
    count = int(output.split(" requests in")[0].split()[-1])
    return Figure(count / SECONDS, (_cpu_s(peer) - before) / count * 1e6)


async def _together(peer: Peer, target: str) -> float:
    """Have many ask for what is not there; return seconds until the last has it."""
    port = int(peer.url.rpartition(":")[2])
    pairs = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CLIENTS)]
    loop = asyncio.get_running_loop()
    began = loop.time()
    for _, writer in pairs:
        writer.write(f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    answers = await asyncio.gather(*(reader.read() for reader, _ in pairs))
    took_s = loop.time() - began
    for _, writer in pairs:
        writer.close()
    if not all(answer.startswith(b"HTTP/1.1 200") for answer in answers):
        raise RuntimeError(f"{peer.url}: not all were answered")
    return took_s


async def measure() -> tuple[list[list[str]], list[str]]:
    """Return the rows, and what to say of them."""
    upstream = Upstream()
    server = await asyncio.start_server(upstream.connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    rows = [["", "server", "requests per second", "CPU per request, us", "of nginx"]]
    together = []
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        peers = await asyncio.to_thread(_peers, stack, Path(name), port)
        for path in (*SIZES, "/validated"):
            runs: dict[str, list[Figure]] = {server_name: [] for server_name in peers}
            for _ in range(ROUNDS):
                for server_name, peer in peers.items():
                    runs[server_name].append(await _load(peer, path))
            rows += _rows(path, runs)
        for server_name, peer in peers.items():
            before = upstream.asked
            took_s = await _together(peer, "/together")
            asked = upstream.asked - before
            together.append(
                f"{CLIENTS} clients that ask at once for what takes the upstream 0.5 s:"
                f" {server_name} asked {asked} times, the last had it after {took_s:.2f} s."
            )
    server.close()
    return rows, together


def _peers(stack: ExitStack, folder: Path, port: int) -> dict[str, Peer]:
    folder.chmod(0o755)
    peers = {"nginx": stack.enter_context(_running_nginx(folder / "nginx", port))}
    if is_installed("varnishd"):
        peers["Varnish"] = stack.enter_context(running_varnish(folder / "varnish", port, _VCL))
    peers["Playhead"] = stack.enter_context(running_ours(folder / "ours", port))
    return peers


_VCL = """
vcl 4.1;
backend origin {{ .host = "127.0.0.1"; .port = "{port}"; }}
sub vcl_backend_response {{ set beresp.grace = 0s; set beresp.keep = 1h; }}
"""

_NGINX = """
{user}worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  proxy_cache_path {folder}/cache keys_zone=all:10m max_size=1g;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream origin {{ server 127.0.0.1:{upstream}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_cache all;
      proxy_cache_lock on;
      proxy_cache_lock_timeout 60s;
      proxy_cache_revalidate on;
    }}
  }}
}}
"""


@contextmanager
def _running_nginx(folder: Path, upstream_port: int) -> Iterator[Peer]:
    folder.mkdir()
    [port] = free_ports(1)
    user = "user root;\n" if os.getuid() == 0 else ""
    text = _NGINX.format(folder=folder, upstream=upstream_port, port=port, user=user)
    (folder / "nginx.conf").write_text(text)
    words = ["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)]
    with running_proxy(words, port, folder / "log") as peer:
        yield peer


def _rows(path: str, runs: dict[str, list[Figure]]) -> list[list[str]]:
    cpu = {name: statistics.median(each.cpu_us for each in of) for name, of in runs.items()}
    what = {"/1k": "hit, 1 KiB", "/64k": "hit, 64 KiB", "/validated": "validated, 1 KiB"}[path]
    return [
        [
            what,
            name,
            f"{statistics.median(each.per_s for each in of):,.0f}",
            f"{cpu[name]:.0f}",
            f"{cpu[name] / cpu['nginx']:.2f}",
        ]
        for name, of in runs.items()
    ]


def main() -> None:
    """Measure, and show a table."""
    arguments = parser(__doc__).parse_args()
    if not is_installed("nginx") or shutil.which("wrk") is None:
        raise SystemExit("nginx and wrk are needed: apt-get install nginx wrk")
    rows, notes = asyncio.run(measure())
    notes += [
        "nginx keeps nothing that says max-age=0: its row of validations is one of passing on.",
        "The caches and the upstream, one asyncio process, share the cores with the load, wrk -t1.",
        "What the plain cache takes more than caches in C is h11 and asyncio's streams: it is for"
        " what must be right; content of titles takes the edge's own lane.",
    ]
    command = "python -m benchmarks.generic_cache"
    show("generic_cache", command, rows, save=arguments.save, notes=notes)


if __name__ == "__main__":
    main()
