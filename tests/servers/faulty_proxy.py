"""An HTTP proxy that misbehaves on request: what stands between us and S3 on a bad day.

It forwards requests as they are (signatures stay valid: the Host header is kept) and spoils
the answers it was told to spoil, in order, one each.
"""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(slots=True)
class Exchange:
    """One request, and what may be done about it."""

    handler: BaseHTTPRequestHandler
    body: bytes
    upstream_port: int

    def forward(self) -> tuple[int, list[tuple[str, str]], bytes]:
        """Ask the real server; return status, headers and body of its answer."""
        upstream = http.client.HTTPConnection("127.0.0.1", self.upstream_port, timeout=30)
        headers = {k: v for k, v in self.handler.headers.items() if k.lower() != "expect"}
        upstream.request(self.handler.command, self.handler.path, self.body, headers)
        answer = upstream.getresponse()
        body = answer.read()
        upstream.close()
        kept = [(k, v) for k, v in answer.getheaders() if k.lower() != "transfer-encoding"]
        if all(k.lower() != "content-length" for k, _ in kept):
            kept.append(("Content-Length", str(len(body))))
        return answer.status, kept, body

    def answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.handler.send_response_only(status)
        for name, value in headers:
            self.handler.send_header(name, value)
        self.handler.end_headers()
        if self.handler.command != "HEAD":
            self.handler.wfile.write(body)

    def refuse(self, status: int, code: str) -> None:
        """Answer with an error as S3 writes it."""
        body = f"<Error><Code>{code}</Code><Message>said the proxy</Message></Error>".encode()
        self.answer(status, [("Content-Length", str(len(body)))], body)

    def close(self, *, reset: bool) -> None:
        """End the connection: politely, or by RST, which is what a lingering time of 0 does."""
        self.handler.close_connection = True
        self.handler.wfile.flush()
        if reset:
            linger = struct.pack("ii", 1, 0)
            self.handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.handler.connection.close()


Fault = Callable[[Exchange], None]


def slow_down(exchange: Exchange) -> None:
    """503 SlowDown, and the server never hears of it."""
    exchange.refuse(503, "SlowDown")


def conflict(exchange: Exchange) -> None:
    """409, as when another write or delete of the key is under way; never heard of."""
    exchange.refuse(409, "ConditionalRequestConflict")


def broken_after_commit(exchange: Exchange) -> None:
    """The server does it; the answer is 500."""
    exchange.forward()
    exchange.refuse(500, "InternalError")


def truncated(exchange: Exchange) -> None:
    """Half of the body, then a polite end."""
    status, headers, body = exchange.forward()
    exchange.answer(status, headers, body[: len(body) // 2])
    exchange.close(reset=False)


def reset_midway(exchange: Exchange) -> None:
    """Half of the body, then a reset."""
    status, headers, body = exchange.forward()
    exchange.answer(status, headers, body[: len(body) // 2])
    exchange.close(reset=True)


def reset_after_commit(exchange: Exchange) -> None:
    """The server does it; there is no answer but a reset."""
    exchange.forward()
    exchange.close(reset=True)


def damaged_upload(exchange: Exchange) -> None:
    """One bit of what is uploaded arrives wrong."""
    spoiled = bytearray(exchange.body)
    spoiled[len(spoiled) // 2] ^= 1
    exchange.body = bytes(spoiled)
    exchange.answer(*exchange.forward())


def range_unconfirmed(exchange: Exchange) -> None:
    """200 without Content-Range: by HTTP's rules these bytes are the whole object."""
    _, headers, body = exchange.forward()
    kept = [(name, value) for name, value in headers if name.lower() != "content-range"]
    exchange.answer(200, kept, body)


def held(release: threading.Event) -> Fault:
    """Let a request through, but not before ``release`` is set."""

    def hold(exchange: Exchange) -> None:
        release.wait(30)
        exchange.answer(*exchange.forward())

    return hold


@dataclass(slots=True)
class FaultyProxy:
    """A running proxy: its port, what it will do next, and how many requests it has seen."""

    port: int
    faults: deque[Fault | None] = field(default_factory=deque)
    """None lets one request through."""
    requests: list[str] = field(default_factory=list)
    """``METHOD /path?query`` of each, in order."""
    checksums: list[str] = field(default_factory=list)
    """``x-amz-checksum-crc32`` of those that had one."""

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def running_proxy(upstream_port: int) -> Iterator[FaultyProxy]:
    """Run a proxy in front of ``upstream_port`` until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except (ConnectionError, ValueError):  # ValueError: we closed it ourselves
                self.close_connection = True

        def exchange(self) -> None:
            proxy.requests.append(f"{self.command} {self.path}")
            proxy.checksums += self.headers.get_all("x-amz-checksum-crc32", [])
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            exchange = Exchange(self, body, upstream_port)
            fault = proxy.faults.popleft() if proxy.faults else None
            if fault is None:
                exchange.answer(*exchange.forward())
            else:
                fault(exchange)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = exchange  # noqa: N815 - the standard library's names

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy = FaultyProxy(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
