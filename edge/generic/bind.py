"""The generic cache as a service: its own listener, beside one for operators."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge

from edge.generic.answer import Answer, from_error, own
from edge.generic.client import Client, RequestRefused, is_host
from edge.generic.incoming import Incoming
from edge.generic.lookup import Lookup
from edge.generic.proxy import Proxy
from edge.generic.quick import QuickProtocol, QuickReader
from edge.generic.settings import GenericSettings
from edge.generic.store import ResponseStore
from edge.generic.upstream import READ_SIZE, Upstream
from kit.clock import Clock
from kit.http_server import Overloaded
from kit.listening import Listening
from kit.service import Address, Binder
from kit.sockets import open_sockets
from kit.telemetry import get_logger

log = get_logger("edge.generic")

NAME, SETTING = "generic", "edge.generic.listen"


def bind(binder: Binder, settings: GenericSettings, clock: Clock) -> GenericCache:
    """Serve a cache of ``settings.upstream`` at ``settings.listen`` while ``binder`` serves.

    Raises:
        SettingsError: The upstream is no base URL.
    """
    cache = GenericCache(settings, clock, binder.registry)
    binder.lifetime(cache.open)
    return cache


class GenericCache:
    """A cache and its listener. Open it before use."""

    def __init__(
        self, settings: GenericSettings, clock: Clock, registry: CollectorRegistry
    ) -> None:
        self.address: Address | None = None
        """Where it listens, once it does."""
        self._settings = settings
        self._registry = registry
        self._clock = clock
        self._store = ResponseStore(settings.max_bytes, settings.variants_max)
        self._upstream = Upstream(settings, clock)
        self._proxy = Proxy(settings, self._upstream, self._store, clock)
        self._metrics = _Metrics(registry, self._store)
        self._clients: dict[Client, asyncio.Task[None]] = {}
        self._quick = QuickReader(is_host)
        self._running = 0
        self._is_draining = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Listen; on leaving, let what is under way come to its end.

        Raises:
            SettingsError: The address cannot be listened on, or a certificate cannot be used; the
                message names its setting.
        """
        listen = self._settings.listen
        sockets = await asyncio.to_thread(open_sockets, listen, SETTING)
        listening = Listening(
            NAME, listen, sockets, self._connection, self._registry, setting=SETTING
        )
        await self._upstream.open()
        await listening.start()
        watching = asyncio.create_task(listening.watch())
        port = sockets[0].getsockname()[1]
        self.address = Address("edge", listen.host, port, is_tls=listen.tls is not None)
        log.info("listening", service="edge", url=self.address.url, host=listen.host, port=port)
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            listening.stop()
            await self._drain()
            await self._proxy.close()

    async def _drain(self) -> None:
        """Close idle connections, and give the others their time."""
        self._is_draining = True
        for client in list(self._clients):
            if client.is_idle:
                client.close()
        tasks = list(self._clients.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._settings.listen.drain_for)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _connection(self) -> asyncio.Protocol:
        """Return what takes a new connection's bytes."""
        reader = asyncio.StreamReader(limit=READ_SIZE)
        return QuickProtocol(reader, self._connected, self._quickly)

    def _quickly(self, data: bytes) -> bytes | None:
        """Return the answer to a usual request for what is stored, None for any other."""
        incoming = None if self._is_draining else self._quick.read(data)
        if incoming is None:
            return None
        found = self._proxy.at_once(incoming)
        sent = self._quick.write(found) if isinstance(found, Answer) else None
        if sent is not None:
            self._metrics.requests.labels("hit").inc()
        return sent

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) >= self._settings.listen.connections_max or self._is_draining:
            writer.close()
            return
        client = Client(reader, writer, self._settings)
        task = asyncio.current_task()
        assert task is not None
        self._clients[client] = task
        self._metrics.connections.inc()
        try:
            await client.serve(self._answer, self._refuse, lambda: self._is_draining)
        except asyncio.CancelledError:
            client.close()  # draining took too long; the server that began this task awaits it not
        except Exception:
            log.exception("connection.failed")
        finally:
            self._metrics.connections.dec()
            del self._clients[client]

    def _answer(self, incoming: Incoming) -> Answer | Coroutine[None, None, Answer]:
        found = self._proxy.at_once(incoming)
        if not isinstance(found, Answer):
            return self._find(found, incoming)
        self._metrics.requests.labels(found.result).inc()
        return found

    async def _find(self, found: Lookup | None, incoming: Incoming) -> Answer:
        if self._running >= self._settings.listen.requests_max:
            error = Overloaded(f"{self._running} requests are being served, the most there may be")
            answer = from_error(error, 503, self._clock.now(), has_body=True)
        else:
            self._running += 1
            try:
                answer = await self._proxy.answer(found, incoming)
            finally:
                self._running -= 1
        self._metrics.requests.labels(answer.result).inc()
        return answer

    def _refuse(self, refused: RequestRefused) -> Answer:
        self._metrics.requests.labels("refused").inc()
        text: dict[str, object] = {"code": "bad-request", "status": refused.status}
        now = self._clock.now()
        return own(refused.status, text | {"detail": str(refused)}, now, has_body=True)


class _Metrics:
    """What the cache counts."""

    def __init__(self, registry: CollectorRegistry, store: ResponseStore) -> None:
        self.requests = Counter(
            "playhead_generic_requests_total",
            "Answers: hit, or why it was none.",
            ["result"],
            registry=registry,
        )
        self.connections = Gauge(
            "playhead_generic_connections", "Clients connected.", registry=registry
        )
        stored = Gauge("playhead_generic_stored_bytes", "Responses held.", registry=registry)
        stored.set_function(lambda: store.size)
        count = Gauge("playhead_generic_stored", "How many responses are held.", registry=registry)
        count.set_function(lambda: len(store))
