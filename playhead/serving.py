"""What ``playhead serve`` can run: every role bound to its ports, each on its own address."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import msgspec

import edge.routes
import origin.routes
from kit import service
from kit.clock import SystemClock
from kit.object_storage.wrappers import Measured
from kit.service import Binder
from origin.renewal import Renewal
from playhead import compose, trust
from playhead.gatekeeping import Gatekeeper, lease_keys
from playhead.settings import Settings


def serve(names: Iterable[str], settings: Settings) -> None:
    """Run the named roles in this process until it is told to stop.

    Raises:
        SettingsError: An address cannot be listened on.
    """
    chosen = set(names)
    # In the order of ROLES: an edge is drained before the origin it may fetch from.
    service.run([bind(settings) for name, bind in ROLES.items() if name in chosen])


def _origin(settings: Settings) -> Binder:
    binder = Binder("origin", settings.origin.listen)
    base = compose.backend(settings)
    binder.lifetime(partial(compose.closing, base))
    retrying = compose.with_retries(base, settings)
    measured = Measured(retrying, registry=binder.registry, clock=SystemClock())
    clock = SystemClock()
    gatekeeper = Gatekeeper(binder, lease_keys(settings, clock), clock)
    origin.routes.bind(binder, measured, settings.origin, gatekeeper)
    renewal = Renewal(
        partial(trust.registry_for_renewal, settings, measured),
        clock=SystemClock(),
        metrics=binder.registry,
    )
    binder.background("trust renewal", renewal.run)
    return binder


def _edge(settings: Settings) -> Binder:
    binder = Binder("edge", settings.edge.listen)
    cache_dir = settings.data / settings.edge.cache_dir
    chosen = msgspec.structs.replace(settings.edge, cache_dir=cache_dir)
    clock = SystemClock()
    gatekeeper = Gatekeeper(binder, lease_keys(settings, clock), clock)
    edge.routes.bind(binder, chosen, gatekeeper, gatekeeper.node_lease, clock)
    return binder


ROLES: dict[str, Callable[[Settings], Binder]] = {"origin": _origin, "edge": _edge}
"""By name, in the order in which they are bound."""
