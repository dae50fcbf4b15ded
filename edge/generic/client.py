"""One client's connection: its requests by h11, one after another, and the answers to them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import h11

from edge.generic.answer import Answer
from edge.generic.errors import ClientLeft
from edge.generic.incoming import Incoming
from edge.generic.quick import QuickProtocol
from edge.generic.settings import GenericSettings
from edge.generic.upstream import READ_SIZE, decoded, encoded
from kit.errors import Unavailable
from kit.http_semantics.fields import Fields
from kit.http_semantics.messages import RequestHead, ResponseHead, end_to_end

WRITE_SIZE = 256 * 1024
"""Bytes handed to the kernel at once; a client that takes fewer in ``drop_stalled_after`` goes."""


# A name or an address, and a port: RFC 9110, section 4.2. What holds more, as a user or a blank,
# would be one host to us and another to whom we pass it on.
_HOST = re.compile(
    r"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\]|\[v[0-9A-Fa-f]+\.[\w.~:-]+\])(?::[0-9]*)?"
)


class RequestRefused(Exception):  # noqa: N818 - the client's mistake
    """What a client sent is no request that can be passed on."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Client:
    """A connection from its first byte to its last."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, settings: GenericSettings
    ) -> None:
        self.is_idle = True
        """Between requests: it may be closed without anybody losing anything."""
        self._reader = reader
        self._writer = writer
        self._settings = settings
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=settings.head_max_bytes)
        self._early = 0
        """Bytes taken before the answer was sent that they may have to wait for."""
        writer.transport.set_write_buffer_limits(high=WRITE_SIZE)

    async def serve(
        self,
        answer: Callable[[Incoming], Answer | Coroutine[None, None, Answer]],
        refuse: Callable[[RequestRefused], Answer],
        is_draining: Callable[[], bool],
    ) -> None:
        """Answer requests until either side has enough.

        Args:
            answer: Returns the answer to a request, or if it needs somebody else, what finds it,
                which is cancelled if the client leaves.
            refuse: Returns the answer to what is no request.
            is_draining: Tells whether to serve no further requests.
        """
        try:
            while (request := await self._next(refuse)) is not None:
                self.is_idle = False
                found = answer(request)
                if isinstance(found, Answer):
                    await self._send(found, closes=is_draining())
                else:
                    await self._while_there(self._send_found(found, is_draining), request)
                self.is_idle = True
                if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                    return  # it said so, or there is a body that nobody wanted
                self._http.start_next_cycle()
        except (ClientLeft, OSError, TimeoutError):
            pass
        finally:
            self._writer.close()

    def close(self) -> None:
        """End the connection."""
        self._writer.close()

    async def _send_found(
        self, finding: Coroutine[None, None, Answer], is_draining: Callable[[], bool]
    ) -> None:
        found = await finding
        await self._send(found, closes=is_draining())

    async def _while_there(self, work: Coroutine[None, None, None], request: Incoming) -> None:
        """Do ``work`` for as long as the client is there: one that has left wants no answer.

        A request with a body is read by whoever passes it on, which notices by itself.
        """
        if request.body is not None:
            return await work
        doing, leaving = asyncio.create_task(work), asyncio.create_task(self._left())
        try:
            await asyncio.wait({doing, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                raise ClientLeft
        finally:
            doing.cancel()
            leaving.cancel()
            await asyncio.gather(doing, leaving, return_exceptions=True)
        return doing.result()

    async def _left(self) -> None:
        """Return once the client has closed its side.

        What it sends instead is kept, if it is not too much: a request before its time.
        """
        with suppress(OSError):
            while came := await self._reader.read(READ_SIZE):
                self._http.receive_data(came)
                self._early += len(came)
                if self._early > READ_SIZE:
                    await asyncio.Event().wait()
            self._http.receive_data(b"")

    async def _next(self, refuse: Callable[[RequestRefused], Answer]) -> Incoming | None:
        """Return the next request, None if there is none; one that is wrong is answered here."""
        try:
            event = await self._first_event()
            if not isinstance(event, h11.Request):
                return None
            return self._incoming(event)
        except h11.RemoteProtocolError as error:
            refused = RequestRefused(error.error_status_hint, str(error))
        except RequestRefused as error:
            refused = error
        if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            await self._send(refuse(refused), closes=True)
        return None

    async def _first_event(self) -> object:
        """Return the head of the next request, which must be here soon once it has begun."""
        listen = self._settings.listen
        event = self._http.next_event()
        if event is not h11.NEED_DATA:
            return event
        has_begun = bool(self._http.trailing_data[0])
        within_s = listen.head_within if has_begun else listen.close_idle_after
        async with asyncio.timeout(within_s) as limit:
            while event is h11.NEED_DATA:
                self._http.receive_data(await self._some(limit, is_between=not has_begun))
                if not has_begun:
                    has_begun = True
                    limit.reschedule(asyncio.get_running_loop().time() + listen.head_within)
                event = self._http.next_event()
        self._early = 0
        return event

    async def _some(self, limit: asyncio.Timeout, *, is_between: bool) -> bytes:
        """Return what comes; requests that are answered before they get here put ``limit`` off."""
        quick = self._writer.transport.get_protocol()
        if not is_between or not isinstance(quick, QuickProtocol):
            return await self._reader.read(READ_SIZE)
        loop, idle_s = asyncio.get_running_loop(), self._settings.listen.close_idle_after
        limit.reschedule(None)
        quick.wait()
        reading = asyncio.ensure_future(self._reader.read(READ_SIZE))
        try:
            since = loop.time()
            while not reading.done():
                left_s = max(since, quick.answered_at) + idle_s - loop.time()
                if left_s <= 0:
                    raise TimeoutError
                await asyncio.wait([reading], timeout=left_s)
            return reading.result()
        finally:
            reading.cancel()

    def _incoming(self, event: h11.Request) -> Incoming:
        if not event.http_version.startswith(b"1."):
            raise RequestRefused(505, "HTTP/1.1 is spoken here")
        fields = decoded(event)
        if sum(len(n) + len(v) for n, v in fields) > self._settings.head_max_bytes:
            raise RequestRefused(431, "the head of the request is too large")
        if "transfer-encoding" in fields and "content-length" in fields:
            # Whoever reads the one is deceived by the other: RFC 9112, section 6.1.
            raise RequestRefused(400, "both Transfer-Encoding and Content-Length")
        has_body = "transfer-encoding" in fields or fields.get("content-length") not in {None, "0"}
        target, host = event.target.decode("latin-1"), fields.only("host") or ""
        if not is_host(host):
            raise RequestRefused(400, f"Host {host[:200]!r} is no host")
        if not target.startswith("/") and target != "*" and event.method != b"CONNECT":
            target, host = _origin_form(target)
            fields = _with_host(fields, host)
        if not has_body:
            self._http.next_event()  # its end
        head = RequestHead(event.method.decode("latin-1"), target, end_to_end(fields))
        return Incoming(head, host, self._body() if has_body else None, self._interim)

    async def _body(self) -> AsyncIterator[bytes]:
        """Yield the content of the request; its trailers are dropped."""
        stall_s = self._settings.listen.drop_stalled_after
        while True:
            try:
                async with asyncio.timeout(stall_s):
                    event = await self._event()
            except (TimeoutError, OSError, h11.RemoteProtocolError) as error:
                raise ClientLeft from error
            match event:
                case h11.Data(data=data):
                    yield bytes(data)
                case h11.EndOfMessage():
                    return
                case _:
                    raise ClientLeft

    async def _event(self) -> object:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            self._http.receive_data(await self._reader.read(READ_SIZE))
            self._early = 0

    async def _interim(self, head: ResponseHead) -> None:
        """Pass a 1xx on: RFC 9110, section 15.2. A client of HTTP/1.0 knows none."""
        if self._http.their_http_version == b"1.1" and head.status != 101:
            event = h11.InformationalResponse(
                status_code=head.status,
                headers=encoded(end_to_end(head.fields)),
                reason=head.reason.encode("latin-1"),
            )
            await self._write(self._http.send(event))

    async def _send(self, answer: Answer, *, closes: bool) -> None:
        """Send an answer whole, or so that the client sees that it is not."""
        body = answer.body
        try:
            head = self._head_bytes(answer.head, closes=closes)
            if body is None:
                await self._write(head + self._http.send(h11.EndOfMessage()))
            elif isinstance(body, Iterator):
                await self._write_all(head, body)
            else:
                await self._write(head)
                while piece := await body.read():
                    await self._write_piece(piece)
                await self._write(self._http.send(h11.EndOfMessage()))
        except Unavailable:
            self._break_off(answer.head)
            raise ClientLeft from None
        except h11.LocalProtocolError as error:
            self._break_off(answer.head)
            raise ClientLeft from error
        finally:
            if body is not None and not isinstance(body, Iterator):
                await body.close()

    def _head_bytes(self, head: ResponseHead, *, closes: bool) -> bytes:
        fields = head.fields
        if closes or self._http.their_state is h11.SEND_BODY:
            fields = fields.plus(("Connection", "close"))
        event = h11.Response(
            status_code=head.status,
            headers=encoded(fields),
            reason=head.reason.encode("latin-1"),
        )
        return self._http.send(event)

    async def _write_all(self, head: bytes, pieces: Iterator[bytes]) -> None:
        """Send what is all here; a small answer in one write."""
        pending = head
        for piece in pieces:
            if len(pending) + len(piece) < WRITE_SIZE:
                pending += self._http.send(h11.Data(data=piece))
                continue
            await self._write(pending)
            pending = b""
            await self._write_piece(piece)
        await self._write(pending + self._http.send(h11.EndOfMessage()))

    async def _write_piece(self, piece: bytes) -> None:
        for data in self._http.send_with_data_passthrough(h11.Data(data=piece)) or ():
            for start in range(0, len(data), WRITE_SIZE):
                await self._write(data[start : start + WRITE_SIZE])

    async def _write(self, data: bytes) -> None:
        """Hand ``data`` to the kernel, waiting for a client that is slower than we are."""
        self._writer.write(data)
        try:
            async with asyncio.timeout(self._settings.listen.drop_stalled_after):
                await self._writer.drain()
        except TimeoutError as error:
            self._writer.transport.abort()
            raise ClientLeft from error

    def _break_off(self, head: ResponseHead) -> None:
        """End the connection so that nobody takes what was sent for all of it.

        Where only the end of the connection tells the end of the content, it must not be orderly.
        """
        if "content-length" not in head.fields and self._http.their_http_version != b"1.1":
            self._writer.transport.abort()


def is_host(text: str) -> bool:
    """Tell whether ``text`` may stand in ``Host``."""
    return _HOST.fullmatch(text) is not None


def _origin_form(target: str) -> tuple[str, str]:
    """Return the target and host of an absolute URL: RFC 9112, section 3.2.2."""
    try:
        parts = urlsplit(target)
    except ValueError as error:
        raise RequestRefused(400, f"target {target[:200]!r}: {error}") from error
    is_http = parts.scheme.lower() in {"http", "https"}
    if not is_http or not parts.netloc or not is_host(parts.netloc):
        raise RequestRefused(400, f"target {target[:200]!r} is neither a path nor an http URL")
    _, _, rest = target.partition("://")
    path = rest[len(parts.netloc) :]
    return (path if path.startswith("/") else f"/{path}"), parts.netloc


def _with_host(fields: Fields, host: str) -> Fields:
    """Return ``fields`` with the host that the target says, which counts alone."""
    if "host" not in fields:
        return fields.plus(("Host", host))
    return Fields((name, host if name.lower() == "host" else value) for name, value in fields)
