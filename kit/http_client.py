"""The one place that makes HTTP requests: limits, deadlines, and errors that name the URL."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import TracebackType

import aiohttp
from aiohttp.connector import Connection
from yarl import URL

from kit import trace
from kit.address_book import AddressBook
from kit.buffers import Buffer
from kit.errors import IntegrityError, NotFound, Unavailable
from kit.http_semantics import content_range
from kit.http_semantics.retry_after import retry_after_s
from kit.http_settings import ClientSettings
from kit.pinned_resolver import PinnedResolver
from kit.tls import client_context

READ_BUFFER_SIZE = 1 << 20
"""aiohttp stops reading the socket at twice this; its own 64 KiB would stall every slice often."""

WRITE_SIZE = 256 << 10
"""Handed to the socket at a time."""


class HttpReply:
    """An answer whose body is still to be read. Valid inside ``async with client.get(...)``."""

    def __init__(self, response: aiohttp.ClientResponse, span: tuple[int, int] | None) -> None:
        self._response = response
        self._span = span
        self.url = str(response.url)
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    def require_content(self) -> None:
        """Do nothing if the body is what was asked for: 200, or 206 with exactly the span.

        Raises:
            NotFound: The server says 404.
            IntegrityError: The server answers with another span.
            Unavailable: Any other status.
        """
        expected = 200 if self._span is None else 206
        if self.status == 404:
            raise NotFound(f"{self.url}: not found")
        if self.status != expected:
            raise self.unavailable(f"answered {self.status}, expected {expected}")
        if self._span is not None:
            self._require_span(*self._span)

    def unavailable(self, why: str) -> Unavailable:
        """Return the error that this answer is, with how long to wait if it says so."""
        asked_s = retry_after_s(
            self.headers.get("Retry-After"), self.headers.get("Date"), time.time()
        )
        return Unavailable(f"{self.url}: {why}", retry_after_s=asked_s)

    async def read(self, *, size_max: int) -> bytearray:
        """Return the whole body, of at most ``size_max`` bytes.

        Raises:
            IntegrityError: It has more, or not as many as it declares.
            Unavailable: The connection broke or stalled.
        """
        declared = self._response.content_length
        if declared is None:
            return await self._read_undeclared(size_max)
        if declared > size_max:
            raise IntegrityError(f"{self.url}: {declared} bytes declared, at most {size_max}")
        return await self.read_exactly(declared)

    async def read_exactly(self, size: int) -> bytearray:
        """Return a body that must have ``size`` bytes; nothing is allocated if it declares others.

        Raises:
            IntegrityError: It has more or fewer.
            Unavailable: The connection broke or stalled.
        """
        self.require_size(size)
        body, at = bytearray(size), 0
        while piece := await self._next():
            if at + len(piece) > size:
                raise IntegrityError(f"{self.url}: more than the {size} bytes expected")
            body[at : at + len(piece)] = piece
            at += len(piece)
        if at != size:
            raise IntegrityError(f"{self.url}: ended after {at} of {size} bytes")
        return body

    def require_size(self, size: int) -> None:
        """Do nothing unless another size is declared.

        Raises:
            IntegrityError: It is.
        """
        declared = self._response.content_length
        if declared is not None and declared != size:
            raise IntegrityError(f"{self.url}: {declared} bytes declared, expected {size}")

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives.

        Raises:
            Unavailable: The connection broke or stalled.
        """
        while piece := await self._next():
            yield piece

    async def _next(self) -> bytes:
        with _naming(self.url):
            return await self._response.content.readany()

    async def _read_undeclared(self, size_max: int) -> bytearray:
        body = bytearray()
        while piece := await self._next():
            if len(body) + len(piece) > size_max:
                raise IntegrityError(f"{self.url}: more than {size_max} bytes")
            body += piece
        return body

    def _require_span(self, start: int, end: int) -> None:
        found = self.headers.get("Content-Range", "")
        prefix = content_range(start, end, 0).removesuffix("0")
        if not found.startswith(prefix):
            raise IntegrityError(f"{self.url}: sent {found[:80]!r}, expected {prefix}...")


class HttpClient:
    """A pool of connections. Use as an async context manager; belongs to one event loop.

    Follows no redirects and reads no environment: where bytes come from is for settings to say.
    """

    def __init__(
        self,
        settings: ClientSettings,
        unix_socket: Path | None = None,
        *,
        addresses: AddressBook | None = None,
    ) -> None:
        """Connect to the hosts of URLs, or always to ``unix_socket``.

        With a book of ``addresses``, names that are in it are not waited for, and the address of
        a host that answered is the first that is tried again.
        """
        self._settings = settings
        self._unix_socket = unix_socket
        self._addresses = addresses
        self._resolver: PinnedResolver | None = None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> HttpClient:
        settings = self._settings
        believed: ssl.SSLContext | bool = True
        if settings.ca_file is not None:
            believed = await asyncio.to_thread(client_context, settings.ca_file)
        if self._addresses is not None:
            self._resolver = PinnedResolver(self._addresses, aiohttp.ThreadedResolver())
        self._session = aiohttp.ClientSession(
            connector=self._connector(settings.connections_max, believed),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=settings.connect_within, sock_read=settings.stall_after
            ),
            # Bytes are named by digest as they are: nobody on the way may pack them.
            headers={"Accept-Encoding": "identity", "User-Agent": "playhead"},
            auto_decompress=False,
            read_bufsize=READ_BUFFER_SIZE,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            response_class=_telling(self._addresses),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()
        if self._resolver is not None:
            await self._resolver.close()

    def _connector(
        self, connections_max: int, believed: ssl.SSLContext | bool
    ) -> aiohttp.BaseConnector:
        if self._unix_socket is not None:
            return aiohttp.UnixConnector(str(self._unix_socket), limit=connections_max)
        # The book is the cache; aiohttp's own would have each address take its turn.
        return aiohttp.TCPConnector(
            limit=connections_max,
            ssl=believed,
            resolver=self._resolver,
            use_dns_cache=self._resolver is None,
        )

    @asynccontextmanager
    async def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        span: tuple[int, int] | None = None,
    ) -> AsyncIterator[HttpReply]:
        """Ask for ``url``, or for the bytes ``span = (start, end)`` of it.

        Leaving the block before the body's end closes the connection.

        Raises:
            Unavailable: No answer: the message names the URL and what went wrong.
        """
        asked = dict(headers or {})
        if span is not None:
            asked["Range"] = f"bytes={span[0]}-{span[1] - 1}"
        async with await self._request("GET", url, asked) as response:
            yield HttpReply(response, span)

    @asynccontextmanager
    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Buffer | None = None,
    ) -> AsyncIterator[HttpReply]:
        """Ask for anything but plain content; ``body`` must not change until the block is left.

        Raises:
            Unavailable: No answer: the message names the URL and what went wrong.
        """
        asked, content = dict(headers or {}), None
        if body is not None:
            content = memoryview(body).cast("B")
            asked["Content-Length"] = str(content.nbytes)
        async with await self._request(method, url, asked, content) as response:
            yield HttpReply(response, None)

    async def _request(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        content: memoryview | None = None,
    ) -> aiohttp.ClientResponse:
        here = trace.current.get()
        if here is not None:
            headers["traceparent"] = here.header
        with _naming(url):
            try:
                return await self._once(method, url, headers, content)
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
                # Nothing was sent. What is remembered of the host may be out of date.
                host = URL(url).host
                if self._addresses is None or host is None or not self._addresses.forget(host):
                    raise
                return await self._once(method, url, headers, content)

    async def _once(
        self, method: str, url: str, headers: Mapping[str, str], content: memoryview | None
    ) -> aiohttp.ClientResponse:
        assert self._session is not None, "use as an async context manager"
        data = None if content is None else _in_pieces(content)
        return await self._session.request(
            method, url, headers=headers, data=data, allow_redirects=False
        )


def _telling(addresses: AddressBook | None) -> type[aiohttp.ClientResponse]:
    """Return the kind of response that tells ``addresses`` which one answered."""
    if addresses is None:
        return aiohttp.ClientResponse
    book = addresses

    class Telling(aiohttp.ClientResponse):
        async def start(self, connection: Connection) -> aiohttp.ClientResponse:
            peer = connection.transport and connection.transport.get_extra_info("peername")
            response = await super().start(connection)
            if peer and self.url.host is not None:
                book.answered(self.url.host, peer[0])
            return response

    return Telling


async def _in_pieces(body: memoryview) -> AsyncIterator[memoryview]:
    """Yield ``body`` so that neither a copy of all of it is made nor the loop is held up."""
    for at in range(0, len(body), WRITE_SIZE):
        yield body[at : at + WRITE_SIZE]


@contextmanager
def _naming(url: str) -> Iterator[None]:
    """Turn what aiohttp raises into one error that names ``url``."""
    try:
        yield
    except TimeoutError as error:
        raise Unavailable(f"{url}: no byte in time ({type(error).__name__})") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise Unavailable(f"{url}: {str(error) or type(error).__name__}") from error
