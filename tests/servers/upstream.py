"""An upstream that serves what it is given, counts who asks, and misbehaves when told to.

Written on bare sockets, because no HTTP server would send what these answers hold.
"""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from enum import Enum, auto
from socket import SO_LINGER, SOL_SOCKET

from chunks.chunk_id import digest_of
from tests.titles import PublishedTitle


class Fault(Enum):
    """How an answer is spoiled."""

    FLIPPED = auto()
    """One bit of the body is wrong."""
    CUT = auto()
    """The connection is closed politely in mid-body."""
    RESET = auto()
    """The connection is reset in mid-body."""
    STALLED = auto()
    """Half of the body comes, and nothing after it."""
    SHORTER = auto()
    """A shorter body than there is, declared as such."""
    LONGER = auto()
    """More bytes than there are, declared as such."""
    HUGE = auto()
    """A terabyte is declared."""
    PAGE = auto()
    """200, and a page of some captive portal."""
    BROKEN = auto()
    """500."""
    ANOTHER_SPAN = auto()
    """206, which nobody asked for."""
    SILENT = auto()
    """The connection is accepted, and that was all."""
    NONSENSE = auto()
    """Not HTTP."""


class Upstream:
    """Serves ``objects`` by path; the answer to a path in ``faults`` is spoiled."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.faults: dict[str, Fault] = {}
        self.asked: Counter[str] = Counter()
        self.confirmed: Counter[str] = Counter()
        """Answers that said that the client has the object already."""
        self.confirms: dict[str, str] = {}
        """Tags that are named instead of the right ones, to whoever asks about any."""
        self.gate = asyncio.Event()
        """Answers wait for it; open unless cleared."""
        self.gate.set()
        self.url = ""

    def publish(self, title: PublishedTitle) -> None:
        bundle = title.bundle_address
        self.objects |= {
            title.head_address.path: title.head,
            title.release_address.path: title.release,
            title.manifest_address.path: title.manifest,
            title.slice_list_address.path: title.slices.encode(),
            **{bundle.slice(i).path: title.slice(i) for i in range(len(title.slices.digests))},
        }

    def spoil(self, fault: Fault) -> None:
        """Spoil every answer."""
        self.faults = dict.fromkeys(self.objects, fault)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Upstream]:
        """Serve until the block is left."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        tasks = self._tasks = set[asyncio.Task[None]]()
        try:
            yield self
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await server.wait_closed()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while True:
                    request = await reader.readuntil(b"\r\n\r\n")
                    path = request.split(b" ", 2)[1].decode()
                    self.asked[path] += 1
                    await self.gate.wait()
                    if self._is_known(path, request):
                        self.confirmed[path] += 1
                        tag = self.confirms.get(path) or _tag(self.objects[path])
                        writer.write(f"HTTP/1.1 304 Not Modified\r\nETag: {tag}\r\n\r\n".encode())
                    elif not await self._answer(path, writer):
                        return
        finally:
            writer.close()

    def _is_known(self, path: str, request: bytes) -> bool:
        """Tell whether the client has the object by its tag, and is told so."""
        if path not in self.objects or path in self.faults:
            return False
        asked = f"\r\nIf-None-Match: {_tag(self.objects[path])}\r\n".encode()
        return asked in request or (path in self.confirms and b"\r\nIf-None-Match: " in request)

    async def _answer(self, path: str, writer: asyncio.StreamWriter) -> bool:
        """Answer, and return whether the connection is still good."""
        if path not in self.objects:
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return True
        fault = self.faults.get(path)
        writer.write(_answer(self.objects[path], fault))
        await writer.drain()
        if fault in {Fault.STALLED, Fault.SILENT}:
            await asyncio.Event().wait()
        if fault is Fault.RESET:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        return fault is None


def _answer(body: bytes, fault: Fault | None) -> bytes:
    if fault is Fault.SILENT:
        return b""
    if fault is Fault.NONSENSE:
        return b"SSH-2.0-OpenSSH_9.6\r\n"
    sent = _SPOILED.get(fault, bytes)(body)
    declared = _DECLARED.get(fault, len)(body if fault in _CUT else sent)
    return _head(body, _STATUS.get(fault, "200 OK"), declared) + sent


_CUT = {Fault.CUT, Fault.RESET, Fault.STALLED}
_SPOILED: dict[Fault | None, Callable[[bytes], bytes]] = {
    Fault.FLIPPED: lambda body: bytes([body[0] ^ 1]) + body[1:],
    Fault.SHORTER: lambda body: body[:-1],
    Fault.LONGER: lambda body: body + b"!",
    Fault.PAGE: lambda body: b"<html>Please sign in.</html>",
    **dict.fromkeys(_CUT, lambda body: body[: len(body) // 2]),
}
_DECLARED: dict[Fault | None, Callable[[bytes], int]] = {Fault.HUGE: lambda body: 1 << 40}
_STATUS: dict[Fault | None, str] = {
    Fault.BROKEN: "500 Internal Server Error",
    Fault.ANOTHER_SPAN: "206 Partial Content",
}


def _head(body: bytes, status: str, declared: int) -> bytes:
    tag = _tag(body)
    return f"HTTP/1.1 {status}\r\nContent-Length: {declared}\r\nETag: {tag}\r\n\r\n".encode()


def _tag(body: bytes) -> str:
    return f'"{digest_of(body).hex()}"'
