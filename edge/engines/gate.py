"""The gate: tells the engine of this machine whether a lease holds, and how long to believe that.

An engine asks once for each lease and title, keeps the answer as it keeps anything, and asks
again when it is over; so no request of a player waits for this process but the first of a few
seconds. With the answer comes the lease by which the engine itself fetches: it opens every title,
so the gate listens at a unix socket, which has an owner, a group, and no address in a network.
"""

from __future__ import annotations

import asyncio
import grp
import os
import re
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter

from edge.engines.settings import GateSettings
from edge.upstream.upstreams import NodeLease
from kit.clock import Clock
from kit.errors import Denied, NotFound, PlayheadError, SettingsError, Unavailable
from kit.http_server import problem, protocol_logger
from kit.service import Binder
from kit.telemetry import get_logger
from manifests.lease import HEADER, SKEW_S, Lease
from manifests.lease_gate import Guard
from manifests.names import TITLE_NAME, TitleId

log = get_logger("gate")

LEASES = "/gate/v1/leases/"
"""A title follows."""
NODE = "/gate/v1/node"
NODE_HEADER = "Playhead-Node-Lease"
CODE_HEADER = "Playhead-Code"
"""Why not: engines cannot read the problem document that says it as well."""

NODE_REMEMBERED_S = 60
"""A node's lease is renewed when half of its 15 minutes are over, so it holds for longer."""

PATH_SIZE_MAX = 107
"""Linux: ``sun_path`` has 108 bytes, the last of which is 0."""
BACKLOG = 1024

_LEASE_PATH = re.compile(rf"{LEASES}({TITLE_NAME})")


def bind(
    binder: Binder, settings: GateSettings, guard: Guard, node_lease: NodeLease, clock: Clock
) -> None:
    """Listen at the socket of ``settings`` for as long as ``binder`` serves."""
    gate = Gate(settings.remember_for, guard, node_lease, clock, binder.registry)
    binder.lifetime(lambda: _serving(settings, gate))


class Gate:
    """Answers engines."""

    def __init__(
        self,
        remember_s: float,
        guard: Guard,
        node_lease: NodeLease,
        clock: Clock,
        registry: CollectorRegistry,
    ) -> None:
        self._remember_s = remember_s
        self._guard = guard
        self._node_lease = node_lease
        self._clock = clock
        checks = Counter(
            "playhead_gate_checks_total",
            "Leases that engines asked about, by whether they hold.",
            ["outcome"],
            registry=registry,
        )
        self._held, self._refused = checks.labels("holds"), checks.labels("refused")

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; refusals are problem documents that also say why in a header."""
        try:
            return self._answer(request)
        except Denied as error:
            self._refused.inc()
            return problem(error, {CODE_HEADER: error.code})
        except PlayheadError as error:
            return problem(error, {CODE_HEADER: error.code})

    def _answer(self, request: web.BaseRequest) -> web.Response:
        if request.path == NODE:
            return self._open_for(NODE_REMEMBERED_S)
        asked = _LEASE_PATH.fullmatch(request.path)
        if asked is None:
            raise NotFound(f"{request.path[:200]}: the gate knows {LEASES} and a title, and {NODE}")
        lease = self._guard.check(request.headers.get(HEADER), TitleId(asked[1]))
        self._held.inc()
        return self._open_for(self._believed_s(lease))

    def _believed_s(self, lease: object) -> int:
        """Return for how many seconds the answer may be used: not beyond the end of the lease."""
        if not isinstance(lease, Lease):
            return int(self._remember_s)
        left_s = lease.expires_at + SKEW_S - self._clock.now()
        return int(max(0.0, min(self._remember_s, left_s)))

    def _open_for(self, seconds: int) -> web.Response:
        token = self._node_lease()
        if not token:
            raise Unavailable("this node has no key to fetch by yet")
        kept = f"max-age={seconds}" if seconds else "no-store"
        return web.Response(status=204, headers={NODE_HEADER: token, "Cache-Control": kept})


@asynccontextmanager
async def _serving(settings: GateSettings, gate: Gate) -> AsyncIterator[None]:
    """Serve ``gate`` at its socket.

    Raises:
        SettingsError: The socket cannot be made, or another gate listens there.
    """
    # No application around it: no route, no middleware, no line of log for each check.
    server = web.Server(gate.answer, access_log=None, logger=protocol_logger())
    listener = await asyncio.to_thread(_listener, settings)
    runner = web.ServerRunner(server)
    await runner.setup()
    try:
        await web.SockSite(runner, listener, backlog=BACKLOG).start()
        log.info("gate.opened", socket=str(settings.socket))
        yield
    finally:
        await runner.cleanup()
        await asyncio.to_thread(_unlink, settings.socket)


def _listener(settings: GateSettings) -> socket.socket:
    """Return a socket at its path that only owner and group can connect to. Blocks."""
    path = settings.socket
    if len(os.fsencode(path)) > PATH_SIZE_MAX:
        raise SettingsError(f"gate.socket: {path} is longer than {PATH_SIZE_MAX} bytes")
    group_id = _group_id(settings.group)
    listener = socket.socket(socket.AF_UNIX)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _unlink_dead(path)
        listener.bind(os.fspath(path))
        # Nobody can connect before it listens, so the rights are set in time.
        path.chmod(stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP | stat.S_IWGRP)
        os.chown(path, -1, group_id)
    except OSError as error:
        listener.close()
        raise SettingsError(f"gate.socket: {path}: {error.strerror or error}") from error
    except BaseException:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def _group_id(name: str) -> int:
    """Return the number of a group; -1, which changes nothing, for none."""
    if not name:
        return -1
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise SettingsError(f"gate.group: there is no group {name!r} on this machine") from error


def _unlink_dead(path: Path) -> None:
    """Delete a socket that nobody listens at: what a kill leaves behind."""
    with suppress(FileNotFoundError), socket.socket(socket.AF_UNIX) as trial:
        try:
            trial.connect(os.fspath(path))
        except ConnectionRefusedError:
            if stat.S_ISSOCK(path.stat().st_mode):
                path.unlink()
            return
        raise SettingsError(f"gate.socket: another gate listens at {path}; stop it first")


def _unlink(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
