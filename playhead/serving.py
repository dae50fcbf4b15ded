"""What ``playhead serve`` can run: every role bound to its ports, each on its own address."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from random import SystemRandom

import msgspec

import edge.engines.gate
import edge.routes
import origin.routes
import services.entitlement.routes
from kit import service
from kit.clock import Clock, SystemClock
from kit.object_storage.wrappers import Measured
from kit.service import Binder
from origin.renewal import Renewal
from playhead import compose, publishing_service, trust
from playhead.engines import gate_socket
from playhead.gatekeeping import Gatekeeper, lease_keys
from playhead.local_secrets import OPERATOR_FILE, PLAYER_FILE, local_secret
from playhead.revocations import follow_revocations, ledger_file
from playhead.settings import Settings
from services.entitlement.local_ownership import LocalIdentity, LocalOwnership
from services.entitlement.service import Entitlement


def serve(names: Iterable[str], settings: Settings) -> None:
    """Run the named roles in this process until it is told to stop.

    Raises:
        SettingsError: An address cannot be listened on.
    """
    chosen = set(names)
    if "entitlement" in chosen:
        # What is revoked is on this machine, and told from here only once all roles are up.
        leases = msgspec.structs.replace(settings.leases, feed="")
        settings = msgspec.structs.replace(settings, leases=leases)
    # In the order of ROLES: an edge is drained before the origin it may fetch from.
    service.run([bind(settings) for name, bind in ROLES.items() if name in chosen])


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


def _edge(settings: Settings) -> Binder:
    binder = Binder("edge", settings.edge.listen)
    cache_dir = settings.data / settings.edge.cache_dir
    chosen = msgspec.structs.replace(settings.edge, cache_dir=cache_dir)
    clock = SystemClock()
    gatekeeper = _gatekeeper(binder, settings, clock)
    edge.routes.bind(binder, chosen, gatekeeper, gatekeeper.node_lease, clock)
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
    "edge": _edge,
    "gate": _gate,
}
"""By name, in the order in which they are bound."""
