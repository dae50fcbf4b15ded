"""Names become addresses without a wait where they are known; what is known is looked up meanwhile.

A connection is tried at the address that answered last, and a quarter of a second later at the next
one too (RFC 8305, which aiohttp does): an address that is gone costs no more than that.
"""

from __future__ import annotations

import socket

from aiohttp.abc import AbstractResolver, ResolveResult

from kit.address_book import AddressBook
from kit.single_flight import SingleFlight


class PinnedResolver(AbstractResolver):
    """Answers from ``book`` first, else from ``names``. Belongs to one event loop; close it."""

    def __init__(self, book: AddressBook, names: AbstractResolver) -> None:
        self._book = book
        self._names = names
        self._flights: SingleFlight[tuple[str, int], list[ResolveResult]] = SingleFlight()
        self._looked_up: set[str] = set()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of ``host``, the one to try first first.

        Raises:
            OSError: The name is unknown, or who knows names does not answer.
        """
        key = (host, int(family))
        pinned = self._book.addresses(host)
        if not pinned:
            found = await self._flights.run(key, lambda: self._look_up(host, family))
            pinned = self._book.addresses(host) or tuple(result["host"] for result in found)
        elif host not in self._looked_up:  # by an earlier process
            self._looked_up.add(host)
            self._flights.join(key, lambda: self._look_up(host, family))
        return [_result(host, address, port) for address in pinned if _is_of(address, family)]

    async def close(self) -> None:
        """Give up look-ups that are under way."""
        await self._flights.close()
        await self._names.close()

    async def _look_up(self, host: str, family: socket.AddressFamily) -> list[ResolveResult]:
        found = await self._names.resolve(host, 0, family)
        self._looked_up.add(host)
        self._book.found(host, [result["host"] for result in found])
        return found


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _is_of(address: str, family: socket.AddressFamily) -> bool:
    return family in {socket.AF_UNSPEC, _family(address)}


def _result(host: str, address: str, port: int) -> ResolveResult:
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(
        hostname=host, host=address, port=port, family=_family(address), proto=0, flags=flags
    )
