"""What connections that do nothing cost a server, in bytes of its memory."""

from __future__ import annotations

import os
import resource
import socket
import ssl
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

SETTLED_S = 0.5


def idle_bytes(
    url: str,
    path: str,
    header: str,
    pids: Sequence[int],
    *,
    count: int,
    ca_file: Path | None = None,
) -> float:
    """Return by how much each of ``count`` connections, used once and open, makes ``pids`` grow."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    where = urlsplit(url)
    context = None if ca_file is None else ssl.create_default_context(cafile=ca_file)
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nRange: bytes=0-9\r\n{header}\r\n\r\n".encode()
    open_: list[socket.socket] = []
    try:
        # What the first connections make a server allocate is not what a further one costs.
        open_ += [_used(where.hostname, where.port, context, request) for _ in range(count // 10)]
        time.sleep(SETTLED_S)
        before = _resident(pids)
        open_ += [_used(where.hostname, where.port, context, request) for _ in range(count)]
        time.sleep(SETTLED_S)
        return (_resident(pids) - before) / count
    finally:
        for sock in open_:
            sock.close()


def _used(
    host: str | None, port: int | None, context: ssl.SSLContext | None, request: bytes
) -> socket.socket:
    assert host is not None
    assert port is not None
    sock = socket.create_connection((host, port))
    if context is not None:
        sock = context.wrap_socket(sock, server_hostname=host)
    sock.sendall(request)
    received = b""
    while len(received.partition(b"\r\n\r\n")[2]) < 10:
        piece = sock.recv(4096)
        if not piece:
            raise RuntimeError(f"hung up after {received[:200]!r}")
        received += piece
    if not received.startswith(b"HTTP/1.1 206"):
        raise RuntimeError(f"answered {received[:200]!r}")
    return sock


def _resident(pids: Sequence[int]) -> int:
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE")
