"""Requests to the upstream: HTTP/1.1 by h11, over connections that are kept and used again."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit

import h11

from edge.generic.errors import ClientLeft, UpstreamBroken, UpstreamSlow
from edge.generic.settings import GenericSettings
from kit.clock import Clock
from kit.errors import SettingsError
from kit.http_semantics.fields import Fields
from kit.http_semantics.messages import (
    IDEMPOTENT_METHODS,
    RequestHead,
    ResponseHead,
    end_to_end,
)
from kit.tls import client_context

READ_SIZE = 256 * 1024
"""Bytes taken at once: few calls for large contents, yet little memory for each request."""
VIA = "1.1 playhead"

Interim: TypeAlias = Callable[[ResponseHead], Awaitable[None]]
"""Told each 1xx as it comes."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the upstream is."""

    host: str
    port: int
    is_tls: bool
    authority: str

    @classmethod
    def parse(cls, url: str) -> Place:
        """Read a base URL.

        Raises:
            SettingsError: It is none.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise SettingsError(f"edge.generic.upstream: {url!r}: {error}") from error
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SettingsError(
                f"edge.generic.upstream: {url!r}: expected a URL like http://127.0.0.1:8080"
            )
        if parts.path not in {"", "/"} or parts.query or parts.fragment or "@" in parts.netloc:
            raise SettingsError(
                f"edge.generic.upstream: {url!r}: expected no path, targets stay as they are"
            )
        is_tls = parts.scheme == "https"
        return cls(parts.hostname, port or (443 if is_tls else 80), is_tls, parts.netloc)


class _Connection:
    """One connection, and where h11 sees it."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head_max: int
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.http = h11.Connection(h11.CLIENT, max_incomplete_event_size=head_max)
        self.idle_since: float | None = None
        """None while it was never used before."""

    def is_usable(self, now: float, keep_s: float) -> bool:
        if self.reader.at_eof() or self.writer.transport.is_closing():
            return False
        return self.idle_since is None or now - self.idle_since < keep_s

    def close(self) -> None:
        self.writer.close()


class Reply:
    """A response under way. Close it in any case; only then its connection is free."""

    def __init__(
        self,
        upstream: Upstream,
        connection: _Connection,
        upload: asyncio.Task[None] | None,
        head: ResponseHead,
        *,
        asked_at: float,
        received_at: float,
    ) -> None:
        self.head = head
        self.asked_at = asked_at
        self.received_at = received_at
        self._upstream = upstream
        self._connection: _Connection | None = connection
        self._upload = upload

    @property
    def upstream_status(self) -> int:
        """What the upstream said."""
        return self.head.status

    @property
    def content_length(self) -> int | None:
        """What it says its content's size is; None if only its end will tell."""
        if "transfer-encoding" in self.head.fields:
            return None
        value = self.head.fields.only("content-length")
        return int(value) if value is not None else None

    async def read(self) -> bytes:
        """Return the next piece of the content, nothing at its end.

        Raises:
            UpstreamBroken: It ended too early.
            UpstreamSlow: Nothing came for too long.
        """
        assert self._connection is not None
        event = await self._upstream.next_event(self._connection)
        return bytes(event.data) if isinstance(event, h11.Data) else b""

    async def close(self) -> None:
        """Give the connection back if the response was read to its end, else end it."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._upload is not None:
            if not self._upload.done():
                self._upload.cancel()
            await asyncio.gather(self._upload, return_exceptions=True)
        self._upstream.give_back(connection)


class Upstream:
    """The server that is cached. Belongs to one event loop."""

    def __init__(self, settings: GenericSettings, clock: Clock) -> None:
        """Raise SettingsError if ``settings.upstream`` is no base URL."""
        self.place = Place.parse(settings.upstream)
        self._settings = settings
        self._clock = clock
        self._idle: list[_Connection] = []
        self._room = asyncio.Semaphore(settings.client.connections_max)
        self._tls: ssl.SSLContext | None = None

    async def open(self) -> None:
        """Read which authorities are believed, if the upstream speaks TLS.

        Raises:
            SettingsError: Their file holds no certificate.
        """
        if not self.place.is_tls:
            return
        ca_file = self._settings.client.ca_file
        if ca_file is None:
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        else:
            self._tls = await asyncio.to_thread(client_context, ca_file)

    async def send(
        self, head: RequestHead, body: AsyncIterator[bytes] | None, interim: Interim
    ) -> Reply:
        """Send a request as it is, but for what belongs to one hop, and return the final response.

        One that can be repeated is, once, if a connection that was kept turns out to be dead.

        Raises:
            UpstreamBroken: No response came.
            UpstreamSlow: Nor will one.
            ClientLeft: ``body`` ended too early.
        """
        can_repeat = body is None and head.method in IDEMPOTENT_METHODS
        while True:
            connection = await self._connection(fresh=not can_repeat)
            was_used = connection.idle_since is not None
            try:
                return await self._exchange(connection, head, body, interim)
            except UpstreamBroken:
                self._end(connection)
                if not (was_used and can_repeat):
                    raise
                can_repeat = False  # the next one is new
            except BaseException:
                self._end(connection)
                raise

    async def next_event(self, connection: _Connection) -> object:
        """Return what the upstream sends next.

        Raises:
            UpstreamBroken: It is no HTTP, or ends too early.
            UpstreamSlow: Nothing came for too long.
        """
        stall_s = self._settings.client.stall_after
        while True:
            try:
                event = connection.http.next_event()
            except h11.RemoteProtocolError as error:
                ended = "closed the connection before its answer was complete"
                said = ended if connection.reader.at_eof() else error
                raise UpstreamBroken(f"{self.place.authority}: {said}") from error
            if event is not h11.NEED_DATA:
                return event
            try:
                async with asyncio.timeout(stall_s):
                    came = await connection.reader.read(READ_SIZE)
            except TimeoutError as error:
                raise UpstreamSlow(f"{self.place.authority}: nothing for {stall_s:g} s") from error
            except OSError as error:
                raise UpstreamBroken(f"{self.place.authority}: {error}") from error
            connection.http.receive_data(came)

    def give_back(self, connection: _Connection) -> None:
        """Keep a connection for the next request, if this one went to its end."""
        http = connection.http
        has_ended = http.our_state is h11.DONE and http.their_state is h11.DONE
        if not has_ended or http.trailing_data[0]:  # more than was asked for is nobody's answer
            self._end(connection)
            return
        http.start_next_cycle()
        connection.idle_since = self._clock.monotonic()
        self._idle.append(connection)
        self._room.release()

    def close(self) -> None:
        """End every connection that is kept."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    def _end(self, connection: _Connection) -> None:
        connection.close()
        self._room.release()

    async def _connection(self, *, fresh: bool) -> _Connection:
        """Return a connection, one more of those there may be."""
        within_s = self._settings.client.connect_within
        try:
            async with asyncio.timeout(within_s):
                await self._room.acquire()
        except TimeoutError as error:
            raise UpstreamSlow(f"{self.place.authority}: every connection is in use") from error
        try:
            return (None if fresh else self._kept()) or await self._connect(within_s)
        except BaseException:
            self._room.release()
            raise

    def _kept(self) -> _Connection | None:
        now = self._clock.monotonic()
        while self._idle:
            connection = self._idle.pop()  # the one used last is the likeliest to be alive
            if connection.is_usable(now, self._settings.keep_upstream_for):
                return connection
            connection.close()
        return None

    async def _connect(self, within_s: float) -> _Connection:
        place = self.place
        if len(self._idle) >= self._settings.client.connections_max:
            self._idle.pop(0).close()
        try:
            async with asyncio.timeout(within_s):
                reader, writer = await asyncio.open_connection(
                    place.host,
                    place.port,
                    ssl=self._tls,
                    limit=READ_SIZE,
                    server_hostname=(self._settings.host or place.host) if self._tls else None,
                )
        except TimeoutError as error:
            raise UpstreamSlow(f"{place.authority}: no connection in {within_s:g} s") from error
        except OSError as error:
            raise UpstreamBroken(f"{place.authority}: {error}") from error
        return _Connection(reader, writer, self._settings.head_max_bytes)

    async def _exchange(
        self,
        connection: _Connection,
        head: RequestHead,
        body: AsyncIterator[bytes] | None,
        interim: Interim,
    ) -> Reply:
        asked_at = self._clock.now()
        self._write_head(connection, head, has_body=body is not None)
        upload = None if body is None else asyncio.create_task(_upload(connection, body))
        if upload is None:
            connection.writer.write(connection.http.send(h11.EndOfMessage()))
        try:
            final = await self._final(connection, interim)
        except BaseException as error:
            left = await _stopped(upload)
            if left is not None and isinstance(error, UpstreamBroken):
                raise left from error  # we ended the connection, for the client did
            raise
        return Reply(
            self, connection, upload, final, asked_at=asked_at, received_at=self._clock.now()
        )

    def _write_head(self, connection: _Connection, head: RequestHead, *, has_body: bool) -> None:
        fields = self._fields(head.fields, has_body=has_body)
        try:
            request = h11.Request(
                method=head.method.encode("latin-1"),
                target=head.target.encode("latin-1"),
                headers=encoded(fields),
            )
            connection.writer.write(connection.http.send(request))
        except h11.LocalProtocolError as error:
            raise UpstreamBroken(f"request cannot be passed on: {error}") from error

    def _fields(self, fields: Fields, *, has_body: bool) -> Fields:
        sent = end_to_end(fields)
        if self._settings.host:
            sent = sent.replaced("Host", self._settings.host)
        elif "host" not in sent:
            sent = sent.plus(("Host", self.place.authority))
        if has_body and "content-length" not in sent:
            sent = sent.plus(("Transfer-Encoding", "chunked"))
        return with_via(sent)

    async def _final(self, connection: _Connection, interim: Interim) -> ResponseHead:
        while True:
            event = await self.next_event(connection)
            match event:
                case h11.InformationalResponse():
                    await interim(_head(event))
                case h11.Response():
                    return _head(event)
                case _:
                    raise UpstreamBroken(f"{self.place.authority}: ended without a response")


def with_via(fields: Fields) -> Fields:
    """Return ``fields`` with us on the message's way: RFC 9110, section 7.6.3."""
    return fields.plus(("Via", VIA))


def encoded(fields: Fields) -> list[tuple[bytes, bytes]]:
    """Return ``fields`` as octets."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]


def decoded(event: h11.Request | h11.InformationalResponse | h11.Response) -> Fields:
    """Return the fields of what h11 read, each name in the case it came in."""
    raw = event.headers.raw_items()
    return Fields((name.decode("latin-1"), value.decode("latin-1")) for name, value in raw)


def _head(event: h11.InformationalResponse | h11.Response) -> ResponseHead:
    fields = decoded(event)
    if "transfer-encoding" in fields:
        fields = fields.without({"content-length"})  # does not count beside it: RFC 9112, 6.3
    return ResponseHead(event.status_code, bytes(event.reason).decode("latin-1"), fields)


async def _upload(connection: _Connection, body: AsyncIterator[bytes]) -> None:
    """Send the content of a request; if the client fails us, no response is to be had."""
    try:
        async for piece in body:
            connection.writer.write(connection.http.send(h11.Data(data=piece)))
            await connection.writer.drain()
        connection.writer.write(connection.http.send(h11.EndOfMessage()))
        await connection.writer.drain()
    except ClientLeft:
        connection.close()
        raise
    except (OSError, h11.LocalProtocolError):
        pass  # the upstream wants no more of it; what it answers is on its way


async def _stopped(upload: asyncio.Task[None] | None) -> ClientLeft | None:
    """End an upload; return its client's leaving, if that is how it had ended."""
    if upload is None:
        return None
    upload.cancel()
    with suppress(asyncio.CancelledError, OSError):
        try:
            await upload
        except ClientLeft as left:
            return left
    return None
