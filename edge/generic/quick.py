"""Hits at once: a usual request that comes whole is answered where its bytes arrive.

Whatever is not usual, or not stored, goes to who reads everything, with the same bytes
(:mod:`kit.http_head`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import cast

from edge.generic.answer import Answer
from edge.generic.incoming import Incoming
from kit.http_head import END, Head, HeadReader
from kit.http_semantics.fields import Fields
from kit.http_semantics.messages import RequestHead, ResponseHead, end_to_end

SIZE_MAX = 256 * 1024
"""Of an answer: a larger one is sent in pieces, as fast as it is taken."""


class QuickProtocol(asyncio.StreamReaderProtocol):
    """Takes the bytes of a connection; hands over what it does not answer itself."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        connected: Callable[..., object],
        answer: Callable[[bytes], bytes | None],
    ) -> None:
        super().__init__(reader, connected)  # type: ignore[arg-type]
        self._quick_answer = answer
        self._is_between = True
        self._quick_transport: asyncio.Transport | None = None
        self.answered_at = 0.0
        """When it last answered, by the clock of the loop."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection (called by the loop)."""
        self._quick_transport = cast(asyncio.Transport, transport)
        super().connection_made(transport)

    def wait(self) -> None:
        """Note that nothing of a request is here yet, and nothing of an answer to be sent."""
        self._is_between = True

    def data_received(self, data: bytes) -> None:
        """Answer ``data`` or hand it over (called by the loop)."""
        transport = self._quick_transport
        if self._is_between and transport is not None and data.endswith(END):
            found = None if transport.get_write_buffer_size() else self._quick_answer(data)
            if found is not None:
                transport.write(found)
                self.answered_at = asyncio.get_running_loop().time()
                return
        self._is_between = False
        super().data_received(data)


class QuickReader:
    """Reads usual requests and writes answers to them. One for all connections of a loop."""

    def __init__(self, is_host: Callable[[str], bool]) -> None:
        self._reader = HeadReader()
        self._is_host = is_host

    def read(self, data: bytes) -> Incoming | None:
        """Return the request that ``data`` is, None if it is unusual."""
        head = self._reader.read(bytes(data))
        if head is None or not head.target.startswith(b"/"):
            return None
        host = head.headers[b"host"].decode("latin-1")
        if not self._is_host(host):
            return None
        return Incoming(_request(head), host, None, _nobody)

    def write(self, answer: Answer) -> bytes | None:
        """Return ``answer`` as it is sent, None if it is too large for this."""
        head, body = answer.head, answer.body
        if body is not None and not isinstance(body, Iterator):
            return None
        if int(head.fields.only("content-length") or 0) > SIZE_MAX:
            return None
        lines = [f"HTTP/1.1 {head.status} {head.reason}\r\n"]
        lines += [f"{name}: {value}\r\n" for name, value in head.fields]
        lines.append("\r\n")
        return "".join(lines).encode("latin-1") + b"".join(body or ())


def _request(head: Head) -> RequestHead:
    pairs = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in head.headers.items()]
    if head.span is not None:
        pairs.append(("range", head.span.decode("latin-1")))
    method = "HEAD" if head.is_head else "GET"
    return RequestHead(method, head.target.decode("latin-1"), end_to_end(Fields(pairs)))


async def _nobody(_head: ResponseHead) -> None:
    """Take a 1xx: a hit has none."""
