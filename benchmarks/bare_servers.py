"""The least that a Python server of files can do: the steps from there to an edge, each alone.

``python -m benchmarks.bare_servers HOW FOLDER PORT`` serves the files below ``FOLDER`` over plain
HTTP, without leases, limits, deadlines, metrics or traces. ``HOW`` is one of :class:`How`.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import socket
import sys
from enum import Enum
from pathlib import Path
from typing import cast

import aiofastnet
import httptools

from kit.writability import Writability

PIECE_SIZE = 256 << 10
_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nServer: bare\r\n"
    b"Date: Mon, 05 Jan 2026 00:00:00 GMT\r\nContent-Type: application/octet-stream\r\n\r\n"
)


class How(Enum):
    """How the bytes of a file come to the socket."""

    BYTES = "bytes"
    """All are in memory as they are."""
    MAPPED = "mapped"
    """The file is mapped, and its pages are given to the socket, which copies them."""
    READ = "read"
    """Read from the page cache in pieces, and those given to the socket: two copies."""
    SENDFILE = "sendfile"
    """The kernel does it all, without a copy."""


class _File:
    def __init__(self, path: Path, how: How) -> None:
        self.number = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self.number).st_size
        self.content = memoryview(b"")
        if how is How.BYTES:
            self.content = memoryview(path.read_bytes())
        elif how is How.MAPPED:
            mapped = mmap.mmap(self.number, self.size, prot=mmap.PROT_READ)
            self.content = memoryview(mapped)


class _Connection(asyncio.Protocol):
    def __init__(self, how: How, files: dict[bytes, _File], writability: Writability) -> None:
        self._how = how
        self._files = files
        self._writability = writability
        self._parser = httptools.HttpRequestParser(self)
        self._path = self._range = b""
        self._is_paused = self._is_watched = False
        self._at = self._end = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        found = transport.get_extra_info("socket")
        self._number = found.fileno()
        self._socket = socket.socket(found.family, found.type, found.proto, self._number)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._is_watched:
            self._writability.forget(self._number)
        self._socket.detach()
        self._at = self._end

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._read_on()

    def on_url(self, url: bytes) -> None:
        self._path, self._range = url, b""

    def on_header(self, name: bytes, value: bytes) -> None:
        if name == b"Range":
            self._range = value

    def on_message_complete(self) -> None:
        file = self._file = self._files[self._path]
        start, end = 0, file.size
        if self._range:
            first, _, last = self._range[len(b"bytes=") :].partition(b"-")
            start, end = int(first), int(last) + 1
        head = _HEAD % (end - start)
        match self._how:
            case How.BYTES | How.MAPPED:
                self._transport.writelines((head, file.content[start:end]))
            case How.READ:
                self._transport.write(head)
                self._at, self._end = start, end
                self._read_on()
            case How.SENDFILE:
                self._socket.send(head, socket.MSG_MORE)
                self._at, self._end = start, end
                self._send_on()

    def _read_on(self) -> None:
        while self._at < self._end and not self._is_paused:
            piece = bytearray(min(PIECE_SIZE, self._end - self._at))
            self._at += os.preadv(self._file.number, [piece], self._at)
            self._transport.write(piece)

    def _send_on(self) -> None:
        try:
            while self._at < self._end:
                left = self._end - self._at
                self._at += os.sendfile(self._number, self._file.number, self._at, left)
        except BlockingIOError:
            if not self._is_watched:
                self._is_watched = True
                self._writability.watch(self._number, self._send_on)
        except OSError:
            self._transport.abort()


def _files(how: How, folder: Path) -> dict[bytes, _File]:
    return {
        b"/" + str(path.relative_to(folder)).encode(): _File(path, how)
        for path in folder.rglob("*")
        if path.is_file()
    }


async def _serve(how: How, files: dict[bytes, _File], port: int) -> None:
    loop = asyncio.get_running_loop()
    writability = Writability(loop)
    server = await aiofastnet.create_server(
        loop, lambda: _Connection(how, files, writability), "127.0.0.1", port
    )
    await server.serve_forever()


if __name__ == "__main__":
    chosen = How(sys.argv[1])
    asyncio.run(_serve(chosen, _files(chosen, Path(sys.argv[2])), int(sys.argv[3])))
