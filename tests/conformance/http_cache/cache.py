"""A cache in front of a scripted origin, whose clock the test moves."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import formatdate

from prometheus_client import CollectorRegistry

from edge.generic.bind import GenericCache
from edge.generic.settings import GenericSettings
from kit.clock import ManualClock
from kit.http_settings import ListenSettings
from tests.conformance.http_cache.origin import Origin
from tests.conformance.http_cache.wire import Response, read_response

NOON = 1_800_000_000.0
_MOMENT = re.compile(r"@([+-]?[0-9]+)@")


def dates_in(value: str, now: float) -> str:
    """Replace each ``@-10@`` by the date ten seconds ago, in the one good format."""
    return _MOMENT.sub(lambda match: formatdate(now + int(match[1]), usegmt=True), value)


@dataclass
class Cache:
    """What a test holds."""

    origin: Origin
    clock: ManualClock
    host: str
    port: int

    async def ask(
        self,
        target: str = "/",
        headers: Iterable[tuple[str, str]] = (),
        *,
        method: str = "GET",
        body: bytes = b"",
    ) -> Response:
        """Send one request on a connection of its own; return the answer."""
        lines = [f"{method} {target} HTTP/1.1", "Host: example.org"]
        lines += [f"{name}: {dates_in(value, self.clock.now())}" for name, value in headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        raw = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body
        return await self.send(raw, method)

    async def send(self, raw: bytes, method: str = "GET") -> Response:
        """Send ``raw`` as it is; return the answer."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(raw)
            async with asyncio.timeout(10):
                return await read_response(reader, method)
        finally:
            writer.close()


@asynccontextmanager
async def caching(**settings: object) -> AsyncIterator[Cache]:
    """Serve a cache of a new origin; ``settings`` are those of the cache."""
    async with Origin().serving() as origin:
        clock = ManualClock(NOON)
        chosen = {"listen": ListenSettings(drain_for=2.0), **settings}  # type: ignore[arg-type]
        made = GenericCache(
            GenericSettings(upstream=origin.url, **chosen),  # type: ignore[arg-type]
            clock,
            CollectorRegistry(),
        )
        async with made.open():
            assert made.address is not None
            yield Cache(origin, clock, made.address.host, made.address.port)
