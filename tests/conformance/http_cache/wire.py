"""HTTP/1.1 as bytes, read without any library: what is tested must not be what tests."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass


@dataclass(frozen=True)
class Head:
    """A first line and the lines after it."""

    first: str
    lines: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str | None:
        """Return the lines called ``name`` as one."""
        values = self.all(name)
        return ", ".join(values) if values else None

    def all(self, name: str) -> list[str]:
        """Return the value of each line called ``name``."""
        return [value for key, value in self.lines if key.lower() == name.lower()]

    @property
    def status(self) -> int:
        """Of a response."""
        return int(self.first.split(" ", 2)[1])


@dataclass(frozen=True)
class Response:
    """An answer, and what came before it."""

    head: Head
    body: bytes
    interim: tuple[Head, ...] = ()
    is_complete: bool = True
    trailers: tuple[bytes, ...] = ()

    @property
    def status(self) -> int:
        """Its status code."""
        return self.head.status

    def get(self, name: str) -> str | None:
        """Return a field."""
        return self.head.get(name)


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """Return the next head, None at the end of the connection."""
    lines: list[str] = []
    while True:
        line = await reader.readline()
        if not line:
            return None
        text = line.decode("latin-1").rstrip("\r\n")
        if text:
            lines.append(text)
        elif lines:
            pairs = [line.partition(":") for line in lines[1:]]
            return Head(lines[0], tuple((name, value.strip()) for name, _, value in pairs))


async def read_chunked(reader: asyncio.StreamReader) -> tuple[bytes, tuple[bytes, ...]]:
    """Return a chunked body and its trailers."""
    body = b""
    while size := int((await _line(reader)).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    trailers: list[bytes] = []
    while (line := await _line(reader)).strip():
        trailers.append(line.strip())
    return body, tuple(trailers)


async def read_response(reader: asyncio.StreamReader, method: str = "GET") -> Response:
    """Return the next response; one that breaks off says so."""
    interim: list[Head] = []
    while True:
        head = await read_head(reader)
        if head is None:
            raise EOFError("the connection ended before the response")
        if head.status >= 200:
            break
        interim.append(head)
    trailers: tuple[bytes, ...] = ()
    is_complete = True
    if method == "HEAD" or head.status in {204, 304}:
        body = b""
    elif head.get("transfer-encoding") == "chunked":
        try:
            body, trailers = await read_chunked(reader)
        except (asyncio.IncompleteReadError, ValueError):
            body, is_complete = b"", False
    elif (length := head.get("content-length")) is not None:
        try:
            body = await reader.readexactly(int(length))
        except asyncio.IncompleteReadError as error:
            body, is_complete = error.partial, False
    else:
        body = await reader.read()
    return Response(head, body, tuple(interim), is_complete, trailers)


async def _line(reader: asyncio.StreamReader) -> bytes:
    line = await reader.readline()
    if not line.endswith(b"\n"):
        raise asyncio.IncompleteReadError(line, None)
    return line
