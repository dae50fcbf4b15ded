"""Requests as they go over the wire, byte for byte: what no HTTP client would send."""

from __future__ import annotations

import http.client
import io
import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

PATIENCE_S = 20.0


@dataclass(frozen=True)
class Reply:
    """An answer, read to its end."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def problem(self) -> dict[str, Any]:
        """Return the problem document that every refusal of ours is."""
        assert self.headers["Content-Type"] == "application/problem+json", self
        assert self.headers["Cache-Control"] == "no-store", self
        found: dict[str, Any] = json.loads(self.body)
        assert found["status"] == self.status
        return found


def connect(url: str, *, source: str = "127.0.0.1") -> socket.socket:
    place = urlsplit(url)
    assert place.hostname is not None
    assert place.port is not None
    address = (place.hostname, place.port)
    return socket.create_connection(address, timeout=PATIENCE_S, source_address=(source, 0))


def exchange(url: str, sent: bytes, *, method: str = "GET") -> list[Reply]:
    """Send bytes; return what comes until the server hangs up. The first request has ``method``."""
    with connect(url) as sock:
        with suppress(ConnectionError):  # it has hung up already, and may have said why
            sock.sendall(sent)
        return list(replies(received(sock), method))


def received(sock: socket.socket) -> bytes:
    """Return what comes until the other side hangs up."""
    found = bytearray()
    with suppress(ConnectionError):
        while piece := sock.recv(1 << 16):
            found += piece
    return bytes(found)


def replies(received: bytes, method: str) -> Iterator[Reply]:
    """Read answers one after the other; only the first request was to be other than GET."""
    stream = _Stream(received)
    while stream.has_more():
        answer = http.client.HTTPResponse(stream, method=method)  # type: ignore[arg-type]
        answer.begin()
        method = "GET"
        yield Reply(answer.status, answer.headers, answer.read())


def get(
    url: str,
    path: str,
    headers: dict[str, str] | None = None,
    *,
    method: str = "GET",
    body: bytes | None = None,
    source: str = "127.0.0.1",
) -> Reply:
    """Ask for ``path`` as it is spelled, on a connection of its own, from any local address."""
    named = {"Host": "an-edge", "Connection": "close"} | (headers or {})
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    with connect(url, source=source) as sock:
        sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))
        answer = http.client.HTTPResponse(sock, method=method)
        answer.begin()
        return Reply(answer.status, answer.headers, answer.read())


class _Stream:
    """What was received, as a socket that :mod:`http.client` reads; it may not close it."""

    def __init__(self, received: bytes) -> None:
        self._bytes = io.BytesIO(received)
        self._bytes.close = lambda: None  # type: ignore[method-assign]

    def has_more(self) -> bool:
        return self._bytes.tell() < len(self._bytes.getbuffer())

    def makefile(self, _mode: str) -> io.BytesIO:
        return self._bytes
