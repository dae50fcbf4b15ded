"""The servers an edge is measured beside: nginx with sendfile, Varnish, the least in Python."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bare_servers import How
from tests.servers.ports import free_ports

START_WITHIN_S = 10.0

_NGINX = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
worker_rlimit_nofile 20000;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush off;
  tcp_nodelay on;
  keepalive_requests 100000000;
  keepalive_timeout 300;
  open_file_cache max=10000;
  default_type application/octet-stream;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{plain};
    listen 127.0.0.1:{tls} ssl;
    ssl_protocols TLSv1.3;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    root {root};
  }}
}}
"""

_CACHING_NGINX = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  tcp_nodelay on;
  proxy_cache_path {folder}/cache levels=1:2 keys_zone=objects:10m max_size=10g;
  proxy_temp_path {folder}/proxy;
  client_body_temp_path {folder}/body;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream origin {{ server 127.0.0.1:{port}; keepalive 64; }}
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  proxy_cache objects;
  proxy_cache_valid 200 206 1d;
  proxy_cache_lock on;
  proxy_cache_lock_age 60s;
  proxy_cache_lock_timeout 60s;
  server {{
    listen 127.0.0.1:{whole};
    location / {{ proxy_cache_key $uri; proxy_pass http://origin; }}
  }}
  server {{
    listen 127.0.0.1:{slices};
    location / {{
      slice 1m;
      proxy_cache_key $uri$slice_range;
      proxy_set_header Range $slice_range;
      proxy_pass http://origin;
    }}
  }}
}}
"""

_VCL = """
vcl 4.1;
backend files {{ .host = "127.0.0.1"; .port = "{port}"; }}
sub vcl_backend_response {{ set beresp.ttl = 1d; }}
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """A server that runs: where it listens, and the processes whose time counts."""

    url: str
    tls_url: str
    pids: tuple[int, ...]


def is_installed(program: str) -> bool:
    """Tell whether ``program`` can be run; servers are often outside of a user's path."""
    return _find(program) is not None


@contextmanager
def running_nginx(folder: Path, root: Path, certificate: Path, key: Path) -> Iterator[Peer]:
    """Serve the files below ``root`` by one worker."""
    folder.mkdir()
    plain, tls = free_ports(2)
    text = _NGINX.format(
        folder=folder, plain=plain, tls=tls, root=root, certificate=certificate, key=key
    )
    # Started by root its worker is another user, who must reach the files.
    text = ("user root;\n" if os.getuid() == 0 else "") + text
    (folder / "nginx.conf").write_text(text)
    words = [_find("nginx") or "nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)]
    with _running(words, plain, folder / "nginx.log") as pid:
        yield Peer(f"http://127.0.0.1:{plain}", f"https://127.0.0.1:{tls}", _family(pid))


@contextmanager
def running_caching_nginx(folder: Path, origin_port: int) -> Iterator[tuple[str, str]]:
    """Cache what ``origin_port`` serves: yield the URLs of one that fetches objects whole, and of
    one that fetches slices."""
    folder.mkdir()
    whole, slices = free_ports(2)
    text = _CACHING_NGINX.format(folder=folder, port=origin_port, whole=whole, slices=slices)
    text = ("user root;\n" if os.getuid() == 0 else "") + text
    (folder / "nginx.conf").write_text(text)
    words = [_find("nginx") or "nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)]
    with _running(words, whole, folder / "nginx.log"):
        yield f"http://127.0.0.1:{whole}", f"http://127.0.0.1:{slices}"


@contextmanager
def running_varnish(folder: Path, backend_port: int, vcl: str = _VCL) -> Iterator[Peer]:
    """Cache what ``backend_port`` serves, in memory."""
    folder.mkdir()
    [port] = free_ports(1)
    (folder / "edge.vcl").write_text(vcl.format(port=backend_port))
    words = [_find("varnishd") or "varnishd", "-F", "-j", "none", "-n", str(folder / "work")]
    words += ["-a", f"127.0.0.1:{port}", "-f", str(folder / "edge.vcl"), "-s", "malloc,1G"]
    with _running(words, port, folder / "varnish.log") as pid:
        yield Peer(f"http://127.0.0.1:{port}", "", _family(pid))


@contextmanager
def running_bare(folder: Path, root: Path, how: How) -> Iterator[Peer]:
    """Serve the files below ``root`` by the least that is needed for it."""
    folder.mkdir()
    [port] = free_ports(1)
    words = [sys.executable, "-m", "benchmarks.bare_servers", how.value, str(root), str(port)]
    with _running(words, port, folder / "bare.log") as pid:
        yield Peer(f"http://127.0.0.1:{port}", "", (pid,))


@contextmanager
def running_proxy(
    words: list[str],
    port: int,
    log: Path,
    *,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[Peer]:
    """Run what ``words`` start and ``port`` shows to listen."""
    words = [_find(words[0]) or words[0], *words[1:]]
    with _running(words, port, log, env, cwd) as pid:
        yield Peer(f"http://127.0.0.1:{port}", "", _family(pid))


@contextmanager
def _running(
    words: list[str],
    port: int,
    log: Path,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[int]:
    with log.open("wb") as output:
        child = subprocess.Popen(words, stdout=output, stderr=output, env=env, cwd=cwd)
    try:
        give_up = time.monotonic() + START_WITHIN_S
        while not _answers(port):
            if child.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"{words[0]} did not start: {log.read_text()[-800:]}")
            time.sleep(0.05)
        yield child.pid
    finally:
        child.terminate()
        child.wait(10)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _family(pid: int) -> tuple[int, ...]:
    """Return ``pid`` and its children: masters of both fork who does the work."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return (pid, *map(int, children))


def _find(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
