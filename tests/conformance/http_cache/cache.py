"""A cache in front of a scripted origin, whose clock the test moves."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

from prometheus_client import CollectorRegistry

from edge.generic.bind import GenericCache
from edge.generic.settings import GenericSettings
from kit.clock import ManualClock
from kit.http_settings import ListenSettings
from kit.units import Seconds
from tests.conformance.http_cache.origin import Origin
from tests.conformance.http_cache.wire import Response, read_response
from tests.polling import eventually

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
    registry: CollectorRegistry
    is_usual: bool = True
    """Whether requests are such as are answered where they arrive, if they can be."""

    def stored_bytes(self) -> float:
        """Return what the cache says that it holds."""
        return self._metric("playhead_generic_stored_bytes")

    def connections(self) -> float:
        """Return how many clients it says are connected."""
        return self._metric("playhead_generic_connections")

    def _metric(self, name: str) -> float:
        value = self.registry.get_sample_value(name)
        assert value is not None
        return value

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
        if not self.is_usual:
            lines.append("Keep-Alive: timeout=5")
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


async def until(is_so: Callable[[], bool]) -> None:
    """Return once ``is_so()``."""

    async def probe() -> bool:
        return is_so()

    await eventually(probe)


@asynccontextmanager
async def caching(**settings: Any) -> AsyncIterator[Cache]:
    """Serve a cache of a new origin; ``settings`` are those of the cache."""
    async with Origin().serving() as origin:
        clock = ManualClock(NOON)
        listen = ListenSettings(
            drain_for=Seconds(2),
            linger_for=Seconds(0),
            requests_max=1024,
            turn_within=Seconds(0),
        )
        chosen = GenericSettings(**{"upstream": origin.url, "listen": listen, **settings})
        registry = CollectorRegistry()
        made = GenericCache(chosen, clock, registry)
        async with made.open():
            assert made.address is not None
            yield Cache(origin, clock, made.address.host, made.address.port, registry)
