"""A server that answers what the test says, byte by byte, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.conformance.http_cache.wire import Head, read_chunked, read_head


@dataclass(frozen=True)
class Reply:
    """An answer as it is written."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    reason: str = "OK"
    is_framed: bool = True
    """Whether Content-Length is added."""
    before: bytes = b""
    """Written first: informational responses."""
    cut_at: int | None = None
    """Bytes of the body after which the connection is ended."""
    stays: bool = False
    """Send no more after the body, whatever length was said, and stay connected."""
    resets: bool = False
    """End the connection without an answer."""


@dataclass
class Asked:
    """A request as it came."""

    head: Head
    body: bytes


@dataclass
class Origin:
    """Answers with ``reply``; ``gate`` holds answers back while it is not set."""

    reply: Reply = field(default_factory=Reply)
    asked: list[Asked] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""
    connections: int = 0
    left: int = 0
    """Requests whose client left before they were answered whole."""

    def __post_init__(self) -> None:
        self.gate.set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Origin]:
        """Listen on a free port."""
        tasks: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            self.connections += 1
            try:
                while await self._serve_one(reader, writer):
                    pass
            except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass
            finally:
                writer.close()
                tasks.discard(task)

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for task in list(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await read_head(reader)
        if head is None:
            return False
        body = b""
        if head.get("transfer-encoding") == "chunked":
            body, _ = await read_chunked(reader)
        elif length := head.get("content-length"):
            body = await reader.readexactly(int(length))
        self.asked.append(Asked(head, body))
        reply = self.reply
        if not self.gate.is_set() and not await self._is_there(reader):
            return False
        if reply.resets:
            return False
        if reply.stays:
            await _write(writer, reply, is_head=False)
            await reader.read()
            self.left += 1
            return False
        return await _write(writer, reply, is_head=head.first.startswith("HEAD "))

    async def _is_there(self, reader: asyncio.StreamReader) -> bool:
        """Wait for the gate; tell whether the client did as well."""
        leaving = asyncio.create_task(reader.read(1))
        opening = asyncio.create_task(self.gate.wait())
        await asyncio.wait({leaving, opening}, return_when=asyncio.FIRST_COMPLETED)
        is_there = not leaving.done()
        self.left += not is_there
        leaving.cancel()
        opening.cancel()
        await asyncio.gather(leaving, opening, return_exceptions=True)
        return is_there


async def _write(writer: asyncio.StreamWriter, reply: Reply, *, is_head: bool) -> bool:
    headers = list(reply.headers)
    names = {name.lower() for name, _ in headers}
    has_body = not is_head and reply.status not in {204, 304}
    if (
        reply.is_framed
        and reply.status not in {204, 304}
        and not names
        & {
            "content-length",
            "transfer-encoding",
        }
    ):
        headers.append(("Content-Length", str(len(reply.body))))
    lines = [f"HTTP/1.1 {reply.status} {reply.reason}"]
    lines += [f"{name}: {value}" for name, value in headers]
    body = reply.body if has_body else b""
    if reply.cut_at is not None:
        body = body[: reply.cut_at]
    writer.write(reply.before + ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body)
    await writer.drain()
    return reply.is_framed and reply.cut_at is None
