"""What ``playhead serve`` can run: every role bound to its ports, each on its own address."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from random import SystemRandom

import msgspec

import edge.engines.gate
import edge.generic.bind
import edge.routes
import origin.routes
import services.entitlement.routes
from edge.crew import ALONE, Crew
from kit import service
from kit.clock import Clock, SystemClock
from kit.errors import SettingsError
from kit.http_settings import ListenSettings
from kit.object_storage.wrappers import Measured
from kit.service import Binder
from origin.renewal import Renewal
from playhead import compose, edge_operators, edge_workers, publishing_service, trust
from playhead.engines import gate_socket
from playhead.gatekeeping import Gatekeeper
from playhead.lease_files import lease_keys, ledger_file
from playhead.local_secrets import OPERATOR_FILE, PLAYER_FILE, local_secret
from playhead.revocations import follow_revocations
from playhead.settings import Settings
from services.entitlement.local_ownership import LocalIdentity, LocalOwnership
from services.entitlement.service import Entitlement


def serve(names: Iterable[str], settings: Settings) -> int:
    """Run the named roles until told to stop, and return the exit code of the process.

    They run in this process; an edge alone may have workers.

    Raises:
        SettingsError: An address cannot be listened on.
    """
    chosen = set(names)
    if chosen == {"edge"} and settings.edge.workers:
        return edge_workers.supervise(settings)
    if "entitlement" in chosen:
        # What is revoked is on this machine, and told from here only once all roles are up.
        leases = msgspec.structs.replace(settings.leases, feed="")
        settings = msgspec.structs.replace(settings, leases=leases)
    # In the order of ROLES: an edge is drained before the origin it may fetch from.
    service.run([bind(settings) for name, bind in ROLES.items() if name in chosen])
    return 0


def serve_generic(settings: Settings, *, upstream: str | None, listen: str | None) -> None:
    """Run the edge as a plain HTTP cache until it is told to stop.

    Args:
        settings: ``edge.generic`` of them.
        upstream: Base URL to cache, instead of the one in the settings.
        listen: ``HOST:PORT`` to listen on, instead of the one in the settings.

    Raises:
        SettingsError: There is no upstream, or an address cannot be listened on.
    """
    generic = settings.edge.generic
    if upstream is not None:
        generic = msgspec.structs.replace(generic, upstream=upstream)
    if listen is not None:
        generic = msgspec.structs.replace(generic, listen=_listen_on(listen, generic.listen))
    if not generic.upstream:
        raise SettingsError("edge.generic.upstream: name what to cache, or give --upstream URL")
    binder = Binder("generic", generic.operators)
    edge.generic.bind.bind(binder, generic, SystemClock())
    service.run([binder])


def _listen_on(text: str, listen: ListenSettings) -> ListenSettings:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise SettingsError(f"--listen {text}: expected HOST:PORT")
    return msgspec.structs.replace(listen, host=host.strip("[]") or "127.0.0.1", port=int(port))


def _origin(settings: Settings) -> Binder:
    binder = Binder("origin", settings.origin.listen)
    base = compose.backend(settings)
    binder.lifetime(partial(compose.closing, base))
    retrying = compose.with_retries(base, settings)
    clock = SystemClock()
    measured = Measured(retrying, registry=binder.registry, clock=clock)
    gatekeeper = _gatekeeper(binder, settings, clock)
    origin.routes.bind(binder, measured, settings.origin, gatekeeper, clock)
    publishing_service.bind(binder, settings, measured, compose.presigner(base))
    renewal = Renewal(
        partial(trust.registry_for_renewal, settings, measured),
        clock=clock,
        metrics=binder.registry,
    )
    binder.background("trust renewal", renewal.run)
    return binder


def edge_binder(settings: Settings, crew: Crew = ALONE) -> Binder:
    """Return the listener of an edge, or of one worker of it."""
    binder = Binder("edge", settings.edge.listen)
    cache_dir = settings.data / settings.edge.cache_dir
    chosen = msgspec.structs.replace(settings.edge, cache_dir=cache_dir)
    clock = SystemClock()
    gatekeeper = _gatekeeper(binder, settings, clock)
    node = edge.routes.bind(binder, chosen, gatekeeper, gatekeeper.node_lease, clock, crew=crew)
    edge_operators.bind(binder, settings, node)
    return binder


def _gate(settings: Settings) -> Binder:
    binder = Binder("gate", settings.gate.listen)
    chosen = msgspec.structs.replace(settings.gate, socket=gate_socket(settings))
    clock = SystemClock()
    gatekeeper = _gatekeeper(binder, settings, clock)
    edge.engines.gate.bind(binder, chosen, gatekeeper, gatekeeper.node_lease, clock)
    return binder


def _entitlement(settings: Settings) -> Binder:
    binder = Binder("entitlement", settings.entitlement.listen)
    clock = SystemClock()
    keys = lease_keys(settings, clock)
    gatekeeper = Gatekeeper(binder, keys, clock, replaces_keys=True)
    entitlement = Entitlement(
        settings.entitlement, ledger_file(settings), keys, clock=clock, random=SystemRandom()
    )
    services.entitlement.routes.bind(
        binder,
        entitlement,
        identity=LocalIdentity(
            player=local_secret(settings, PLAYER_FILE),
            operator=local_secret(settings, OPERATOR_FILE),
        ),
        ownership=LocalOwnership(entitlement.view),
        check_node=gatekeeper.gate.check_node,
    )
    return binder


def _gatekeeper(binder: Binder, settings: Settings, clock: Clock) -> Gatekeeper:
    """Return the gate of a node that serves content, which keeps up with keys and revocations."""
    replaces_keys = not settings.leases.feed
    keys = lease_keys(settings, clock)
    gatekeeper = Gatekeeper(binder, keys, clock, replaces_keys=replaces_keys)
    follow_revocations(binder, settings, gatekeeper, clock)
    return gatekeeper


ROLES: dict[str, Callable[[Settings], Binder]] = {
    "entitlement": _entitlement,
    "origin": _origin,
    "edge": edge_binder,
    "gate": _gate,
}
"""By name, in the order in which they are bound."""
