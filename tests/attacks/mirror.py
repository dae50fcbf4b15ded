"""A mirror that may turn hostile: it passes requests on, and answers as an attack has it.

It stands where attackers stand: between a console and its edge, or between an edge and its origin.
Its server is the standard library's, in threads, so that commands may be run beside it.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from multidict import CIMultiDict

HOP_BY_HOP = frozenset({"connection", "transfer-encoding", "content-length", "date", "server"})


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Looked up in any case."""
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """What is sent back; a body that is no ``bytes`` goes on for as long as it yields."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | Iterable[bytes] = b""

    @property
    def content(self) -> bytes:
        assert isinstance(self.body, bytes)
        return self.body

    def with_body(self, body: bytes | Iterable[bytes]) -> Answer:
        return replace(self, body=body)


Honest = Callable[[], Answer]
"""Asks upstream what was asked here."""
Attack = Callable[[Asked, Honest], Answer]


def honest(_asked: Asked, forward: Honest) -> Answer:
    return forward()


@dataclass
class Mirror:
    """A running mirror of ``upstream``, a base URL that may be changed at any time."""

    url: str
    upstream: str
    attack: Attack = honest
    asked: list[Asked] = field(default_factory=list)
    starts: bool = False
    """Whether start calls are attacked too; else an attacking mirror knows none."""

    @contextmanager
    def attacking(self, attack: Attack, *, starts: bool = False) -> Iterator[None]:
        """Answer by ``attack`` for the time being."""
        self.attack, self.starts = attack, starts
        try:
            yield
        finally:
            self.attack, self.starts = honest, False

    def paths(self) -> list[str]:
        return [asked.path for asked in self.asked]

    def forward(self, asked: Asked) -> Answer:
        place = urlsplit(self.upstream)
        assert place.hostname is not None
        upstream = http.client.HTTPConnection(place.hostname, place.port, timeout=30)
        try:
            upstream.request(asked.method, asked.path, asked.body, headers=dict(asked.headers))
            answer = upstream.getresponse()
            kept = [pair for pair in answer.getheaders() if pair[0].lower() not in HOP_BY_HOP]
            return Answer(answer.status, tuple(kept), answer.read())
        finally:
            upstream.close()


@contextmanager
def running_mirror(upstream: str) -> Iterator[Mirror]:
    """Run a mirror until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:
                self.close_connection = True

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            asked = Asked(self.command, self.path, CIMultiDict(self.headers.items()), body)
            if self.path.endswith("/start") and mirror.attack is not honest and not mirror.starts:
                self._send(Answer(405))  # what is attacked are the requests that come instead
                return
            mirror.asked.append(asked)
            self._send(mirror.attack(asked, lambda: mirror.forward(asked)))

        do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815 - the standard library's names

        def _send(self, answer: Answer) -> None:
            self.send_response_only(answer.status)
            for name, value in answer.headers:
                self.send_header(name, value)
            is_declared = any(name.lower() == "content-length" for name, _ in answer.headers)
            if isinstance(answer.body, bytes) and not is_declared:
                self.send_header("Content-Length", str(len(answer.body)))
            self.close_connection = not isinstance(answer.body, bytes) or is_declared
            self.end_headers()
            if self.command == "HEAD":
                return
            pieces = [answer.body] if isinstance(answer.body, bytes) else answer.body
            for piece in pieces:
                self.wfile.write(piece)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    mirror = Mirror(f"http://127.0.0.1:{server.server_address[1]}", upstream)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield mirror
    finally:
        server.shutdown()
        thread.join()
        with suppress(OSError):
            server.server_close()
