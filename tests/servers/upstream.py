"""An upstream that serves what it is given, counts who asks, and misbehaves when told to.

Written on bare sockets, because no HTTP server would send what these answers hold.
"""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from collections.abc import AsyncIterator
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
                    if not await self._answer(path, writer):
                        return
        finally:
            writer.close()

    async def _answer(self, path: str, writer: asyncio.StreamWriter) -> bool:
        """Answer, and return whether the connection is still good."""
        if path not in self.objects:
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return True
        body = self.objects[path]
        fault = self.faults.get(path)
        status, sent, declared = "200 OK", body, len(body)
        match fault:
            case Fault.FLIPPED:
                sent = bytes([body[0] ^ 1]) + body[1:]
            case Fault.CUT | Fault.RESET | Fault.STALLED:
                sent = body[: len(body) // 2]
            case Fault.SHORTER:
                sent, declared = body[:-1], len(body) - 1
            case Fault.LONGER:
                sent, declared = body + b"!", len(body) + 1
            case Fault.HUGE:
                declared = 1 << 40
            case Fault.PAGE:
                sent = b"<html>Please sign in.</html>"
                declared = len(sent)
            case Fault.BROKEN:
                status = "500 Internal Server Error"
            case Fault.ANOTHER_SPAN:
                status = "206 Partial Content"
            case Fault.SILENT:
                sent = b""
            case Fault.NONSENSE | None:
                pass
        if fault is Fault.NONSENSE:
            writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        elif fault is not Fault.SILENT:
            tag = digest_of(body).hex()
            head = f'HTTP/1.1 {status}\r\nContent-Length: {declared}\r\nETag: "{tag}"\r\n\r\n'
            writer.write(head.encode() + sent)
        await writer.drain()
        if fault in {Fault.STALLED, Fault.SILENT}:
            await asyncio.Event().wait()
        if fault is Fault.RESET:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        return fault is None
