"""Object storage behind a server's publishing API (``docs/format/publishing_api.md``).

The server decides what may be read and stored; here its answers become the port's. A large object
goes straight into the server's bucket, if it has one, and is handed in from there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar
from urllib.parse import quote

import msgspec

from kit.buffers import Buffer
from kit.errors import IntegrityError, InvalidInput, NotFound, Unauthenticated, Unavailable
from kit.http_client import HttpClient, HttpReply
from kit.http_problem import problem_of
from kit.object_storage import ObjectStat
from kit.object_storage.keys import check_key, check_prefix

BASE = "/publish/v1"
DIRECT_ABOVE = 256 << 10
"""Smaller ones come in one request; asking first would double it."""
KEYS_MAX = 1000
ANSWER_SIZE_MAX = 1 << 20
LINE_SIZE_MAX = 4096
MODIFIED_AT = "Playhead-Modified-At"

T = TypeVar("T")


class Credentials(Protocol):
    """What proves to a server who asks."""

    async def token(self) -> str:
        """Return a bearer token that is good for a while, renewed if need be."""

    async def renewed(self, refused: str) -> str:
        """Return another one, as the server refused ``refused``.

        Raises:
            Unauthenticated: There is none: log in again.
        """


class _Stored(msgspec.Struct, frozen=True):
    stored: bool


class _Put(msgspec.Struct, frozen=True):
    url: str
    headers: dict[str, str]


class _Direct(msgspec.Struct, frozen=True):
    upload: str
    put: _Put


class _Directed(msgspec.Struct, frozen=True):
    direct: _Direct | None
    offered: bool


class RemoteStorage:
    """Implements :class:`kit.object_storage.ObjectStorage`; ``client`` is open, and another's."""

    def __init__(self, url: str, client: HttpClient, credentials: Credentials) -> None:
        self._url = url.rstrip("/") + BASE
        self._client = client
        self._credentials = credentials
        self._may_be_direct = True

    async def get(self, key: str, *, size_max: int) -> bytes:
        """Return the whole object."""

        async def read(reply: HttpReply) -> bytes:
            return bytes(await reply.read(size_max=size_max))

        return await self._asked("GET", self._object(key), read)

    async def read(self, key: str, start: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``start``."""
        assert start >= 0
        assert length >= 0
        if length == 0:  # HTTP cannot ask for an empty range
            size = (await self.stat(key)).size
            if start > size:
                raise IntegrityError(f"{key}: asked for up to {start}, it ends at {size}")
            return b""

        async def read(reply: HttpReply) -> bytes:
            span = f"bytes {start}-{start + length - 1}/"
            if not reply.headers.get("Content-Range", "").startswith(span):
                found = reply.headers.get("Content-Range", "the whole")
                raise IntegrityError(f"{reply.url}: asked for {span[:-1]}, got {found}")
            return bytes(await reply.read_exactly(length))

        asked = {"Range": f"bytes={start}-{start + length - 1}"}
        return await self._asked("GET", self._object(key), read, headers=asked)

    async def stat(self, key: str) -> ObjectStat:
        """Return size and age of an object."""

        async def read(reply: HttpReply) -> ObjectStat:
            try:
                size = int(reply.headers["Content-Length"])
                return ObjectStat(key, size, float(reply.headers[MODIFIED_AT]))
            except (KeyError, ValueError) as error:
                raise Unavailable(f"{reply.url}: not answered by a publishing API") from error

        return await self._asked("HEAD", self._object(key), read)

    async def list(self, prefix: str) -> AsyncIterator[ObjectStat]:
        """Yield objects in order of key, as the server sends them."""
        url = f"{self._url}/list?prefix={quote(check_prefix(prefix), safe='/')}"
        count = 0
        async with self._answered("GET", url) as reply:
            async for line in _lines(reply):
                match _parsed(reply, line):
                    case [str(key), int(size), float() | int() as modified_at]:
                        count += 1
                        yield ObjectStat(key, size, float(modified_at))
                    case {"count": int(all_of_them)} if all_of_them == count:
                        return
                    case _:
                        raise Unavailable(f"{reply.url}: not a listing: {line[:80]!r}")
        raise Unavailable(f"{url}: the listing ended early, after {count}")

    async def put_if_absent(self, key: str, data: Buffer) -> bool:
        """Store ``data`` unless the key exists."""
        if self._may_be_direct and memoryview(data).nbytes >= DIRECT_ABOVE:
            direct = await self._begin_direct(check_key(key), memoryview(data).nbytes)
            if direct is not None:
                return await self._put_direct(key, direct, data)
        return await self._put(key, data, {"If-None-Match": "*"})

    async def put(self, key: str, data: Buffer) -> None:
        """Store ``data``, replacing what is there."""
        await self._put(key, data, {})

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete ``keys``, a thousand per request."""
        for start in range(0, len(keys), KEYS_MAX):
            batch = [check_key(key) for key in keys[start : start + KEYS_MAX]]
            await self.ask_json("POST", "/delete", {"keys": batch}, dict[str, int])

    async def ask_json(self, method: str, path: str, body: object, kind: type[T]) -> T:
        """Send ``body`` as JSON to a path of the API and return the answer, a ``kind``."""

        async def read(reply: HttpReply) -> T:
            content = await reply.read(size_max=ANSWER_SIZE_MAX)
            try:
                return msgspec.json.decode(content, type=kind)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise Unavailable(f"{reply.url}: not answered by a publishing API") from error

        content = None if body is None else msgspec.json.encode(body)
        return await self._asked(method, self._url + path, read, body=content)

    async def ask_bytes(
        self, method: str, path: str, body: bytes | None, size_max: int
    ) -> bytes | None:
        """Send ``body`` to a path of the API and return the answer; None if it says: nothing."""

        async def read(reply: HttpReply) -> bytes | None:
            return None if reply.status == 204 else bytes(await reply.read(size_max=size_max))

        return await self._asked(method, self._url + path, read, body=body)

    def _object(self, key: str) -> str:
        return f"{self._url}/objects/{check_key(key)}"

    async def _put(self, key: str, data: Buffer, headers: Mapping[str, str]) -> bool:
        async def read(reply: HttpReply) -> bool:
            content = await reply.read(size_max=ANSWER_SIZE_MAX)
            try:
                return msgspec.json.decode(content, type=_Stored).stored
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise Unavailable(f"{reply.url}: not answered by a publishing API") from error

        return await self._asked("PUT", self._object(key), read, headers=headers, body=data)

    async def _begin_direct(self, key: str, size: int) -> _Direct | None:
        asked = {"key": key, "size": size}
        answer = await self.ask_json("POST", "/uploads", asked, _Directed)
        self._may_be_direct = answer.offered
        return answer.direct

    async def _put_direct(self, key: str, direct: _Direct, data: Buffer) -> bool:
        """Put ``data`` into the server's bucket and hand it in; without our token, it is theirs."""
        put = direct.put
        async with self._client.send("PUT", put.url, headers=put.headers, body=data) as reply:
            if reply.status >= 300:
                where = put.url.partition("?")[0]  # what follows opens the bucket
                raise Unavailable(f"{where}: the storage answered {reply.status}")
        asked = {"key": key, "upload": direct.upload}
        try:
            return (await self.ask_json("POST", "/commits", asked, _Stored)).stored
        except NotFound as error:
            raise Unavailable(f"{key}: what was uploaded is gone; retrying may help") from error

    async def _asked(
        self,
        method: str,
        url: str,
        read: Callable[[HttpReply], Awaitable[T]],
        *,
        headers: Mapping[str, str] | None = None,
        body: Buffer | None = None,
    ) -> T:
        async with self._answered(method, url, headers=headers, body=body) as reply:
            return await read(reply)

    @asynccontextmanager
    async def _answered(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Buffer | None = None,
    ) -> AsyncIterator[HttpReply]:
        """Ask with a token, and once more with another if the server knows that one no longer."""
        token = await self._credentials.token()
        for attempt in (1, 2):
            named = {**(headers or {}), "Authorization": f"Bearer {token}"}
            async with self._client.send(method, url, headers=named, body=body) as reply:
                if reply.status < 400:
                    yield reply
                    return
                error = await _error_of(reply)
            if attempt == 2 or not isinstance(error, Unauthenticated):
                raise error
            token = await self._credentials.renewed(token)


async def _error_of(reply: HttpReply) -> Exception:
    if reply.status == 416:
        return IntegrityError(f"{reply.url}: the object ends before the bytes asked for")
    if reply.status == 404:
        return NotFound(f"{reply.url}: no such object")
    return await problem_of(reply)


async def _lines(reply: HttpReply) -> AsyncIterator[bytes]:
    rest = b""
    async for piece in reply.pieces():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line
        if len(rest) > LINE_SIZE_MAX:
            raise InvalidInput(f"{reply.url}: a line of more than {LINE_SIZE_MAX} bytes")


def _parsed(reply: HttpReply, line: bytes) -> object:
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unavailable(f"{reply.url}: not a listing: {line[:80]!r}") from error
