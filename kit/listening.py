"""Serves the sockets of one listener, and takes up new certificates without losing anybody."""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from prometheus_client import CollectorRegistry, Gauge

from kit.errors import PlayheadError
from kit.http_settings import ListenSettings
from kit.telemetry import get_logger
from kit.tls_certificate import ServerTls, load_server_tls, stamp_of

try:
    import aiofastnet
except ImportError:  # where it has no wheel: asyncio's own transports do the same, slower
    aiofastnet = None  # type: ignore[assignment,unused-ignore]

log = get_logger("service")

LOOK_EVERY_S = 1.0
"""Whether a certificate was replaced: two looks at the file system, by a thread."""

ACCEPTED_AT_ONCE = 16
"""More would hold up connections that are open: one costs some 30 us."""

GOODBYE_S = 1.0
"""Of TLS: a client that does not say goodbye after us has had enough of our time."""

EXPIRES_SOON = timedelta(days=14)

ACCEPTED_WITHIN_S = 1.0
"""Whoever waits to be accepted when we stop; who still comes then is refused."""

Factory = Callable[[], asyncio.Protocol]


def quicken(loop: asyncio.AbstractEventLoop) -> None:
    """Have all connections of ``loop``, those of clients too, use the faster transports."""
    if aiofastnet is not None:
        aiofastnet.patch_loop(loop)


class Listening:
    """Sockets that are served, by TLS if settings say so. Belongs to one event loop."""

    def __init__(
        self,
        name: str,
        settings: ListenSettings,
        sockets: list[socket.socket],
        factory: Factory,
        registry: CollectorRegistry,
        *,
        setting: str | None = None,
    ) -> None:
        """Serve ``sockets``; errors call the settings ``setting``, else ``{name}.listen``."""
        self._name = name
        self._setting = f"{setting or f'{name}.listen'}.tls"
        self._settings = settings
        self._sockets = sockets
        self._factory = factory
        self._servers: list[asyncio.AbstractServer] = []
        self._tls: ServerTls | None = None
        self._refused: object = None
        if settings.tls is not None:
            Gauge(
                f"playhead_{name}_tls_not_after_seconds",
                "When the certificate in use ends, since 1970.",
                registry=registry,
            ).set_function(lambda: self._tls.not_after.timestamp() if self._tls else 0.0)

    async def start(self) -> None:
        """Accept connections from now on.

        Raises:
            SettingsError: The certificate cannot be used; the message names its setting.
        """
        if self._settings.tls is not None:
            self._tls = await asyncio.to_thread(load_server_tls, self._settings.tls, self._setting)
            self._told("tls.certificate", self._tls)
        await self._serve(self._tls.context if self._tls else None)

    async def accept_waiting(self) -> None:
        """Return once nobody waits to be accepted: who does when we stop is hung up on unheard."""
        loop = asyncio.get_running_loop()
        waiting, until = select.poll(), loop.time() + ACCEPTED_WITHIN_S
        for sock in self._sockets:
            waiting.register(sock, select.POLLIN)
        while waiting.poll(0) and loop.time() < until:  # noqa: ASYNC110 - no event tells it
            await asyncio.sleep(0)  # the servers accept some

    def stop(self) -> None:
        """Accept no more; connections that are open stay so."""
        for sock in self._sockets:
            sock.close()
        self._close(self._servers)

    async def watch(self) -> None:
        """Take up new certificates, for as long as this is awaited."""
        while self._tls is not None:
            await asyncio.sleep(LOOK_EVERY_S)
            await self.look()

    async def look(self) -> None:
        """Take up a new certificate if there is one; what is wrong with it is logged once."""
        settings, setting = self._settings.tls, self._setting
        assert settings is not None
        assert self._tls is not None
        stamp: object = "missing"
        try:
            stamp = await asyncio.to_thread(stamp_of, settings, setting)
            if stamp in (self._tls.stamp, self._refused):
                return
            fresh = await asyncio.to_thread(load_server_tls, settings, setting)
        except PlayheadError as error:
            if stamp != self._refused:
                log.warning("tls.refused", service=self._name, detail=str(error))
            self._refused = stamp
            return
        before = self._servers
        await self._serve(fresh.context)
        # Both served for a moment, on the same queue: no connection finds nobody.
        self._close(before)
        self._tls, self._refused = fresh, None
        self._told("tls.replaced", fresh)

    async def _serve(self, context: ssl.SSLContext | None) -> None:
        """Serve the same sockets by ``context``, under descriptors of their own."""
        self._servers = [await self._server(sock.dup(), context) for sock in self._sockets]
        for sock in self._sockets:
            # The event loop takes one number for how many wait and how many it accepts at once.
            sock.listen(self._settings.backlog)

    async def _server(
        self, sock: socket.socket, context: ssl.SSLContext | None
    ) -> asyncio.AbstractServer:
        loop = asyncio.get_running_loop()
        # asyncio refuses both deadlines where there is no TLS.
        shakes_s = None if context is None else float(self._settings.head_within)
        ends_s = None if context is None else GOODBYE_S
        if aiofastnet is None:
            return await loop.create_server(
                self._factory,
                sock=sock,
                ssl=context,
                backlog=ACCEPTED_AT_ONCE,
                ssl_handshake_timeout=shakes_s,
                ssl_shutdown_timeout=ends_s,
            )
        made: asyncio.AbstractServer = await aiofastnet.create_server(
            loop,
            self._factory,
            sock=sock,
            ssl=context,
            backlog=ACCEPTED_AT_ONCE,
            ssl_handshake_timeout=shakes_s,
            ssl_shutdown_timeout=ends_s,
        )
        return made

    def _close(self, servers: list[asyncio.AbstractServer]) -> None:
        for server in servers:
            server.close()

    def _told(self, event: str, tls: ServerTls) -> None:
        names, until = ",".join(tls.names), tls.not_after.isoformat()
        if tls.not_after - datetime.now(UTC) < EXPIRES_SOON:
            log.warning(event, service=self._name, names=names, until=until, note="ends soon")
        else:
            log.info(event, service=self._name, names=names, until=until)
