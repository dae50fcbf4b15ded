"""Which addresses hosts had, the one that answered last first: so nobody waits for a name. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from kit.clock import Clock

HOSTS_MAX = 64
ADDRESSES_MAX = 8
"""Of one host; who has more is fine with these."""
KEPT_S = 24 * 3600.0
"""An address that nobody has looked up for so long may be somebody else's by now."""

Address: TypeAlias = Annotated[str, Meta(min_length=2, max_length=45)]
"""IPv4 or IPv6, as text."""


class KnownHost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A host and its addresses, as kept from one process to the next."""

    name: Annotated[str, Meta(min_length=1, max_length=255)]
    addresses: Annotated[tuple[Address, ...], Meta(min_length=1, max_length=ADDRESSES_MAX)]
    found_at: float
    """When they were looked up: Unix epoch, seconds."""


class AddressBook:
    """Belongs to one event loop. What is in it is a hint: whoever fails by it looks names up."""

    def __init__(self, clock: Clock, known: Iterable[KnownHost] = ()) -> None:
        """Begin with what is ``known`` from before."""
        self._clock = clock
        self._hosts = OrderedDict((host.name, host) for host in known)

    def addresses(self, host: str) -> tuple[str, ...]:
        """Return the addresses to try, in this order; none if they have to be looked up."""
        known = self._hosts.get(host)
        if known is None or not 0 <= self._clock.now() - known.found_at < KEPT_S:
            return ()
        return known.addresses

    def found(self, host: str, addresses: Iterable[str]) -> None:
        """Take what a look-up brought; the address that answered last stays the first."""
        wanted = tuple(dict.fromkeys(addresses))[:ADDRESSES_MAX]
        if not wanted:
            return
        preferred = self.addresses(host)[:1]
        if preferred and preferred[0] in wanted:
            wanted = (*preferred, *(address for address in wanted if address != preferred[0]))
        self._put(KnownHost(host, wanted, self._clock.now()))

    def answered(self, host: str, address: str) -> None:
        """Try ``address`` first from now on, if it is one of the host's."""
        known = self._hosts.get(host)
        if known is None or address not in known.addresses or known.addresses[0] == address:
            return
        others = tuple(other for other in known.addresses if other != address)
        self._put(KnownHost(host, (address, *others), known.found_at))

    def forget(self, host: str) -> bool:
        """Have ``host`` looked up next time; tell whether anything was known of it."""
        return self._hosts.pop(host, None) is not None

    def known(self) -> tuple[KnownHost, ...]:
        """Return all of it, the latest used last."""
        return tuple(self._hosts.values())

    def _put(self, host: KnownHost) -> None:
        self._hosts[host.name] = host
        self._hosts.move_to_end(host.name)
        while len(self._hosts) > HOSTS_MAX:
            self._hosts.popitem(last=False)
