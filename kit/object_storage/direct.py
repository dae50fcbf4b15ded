"""Uploads that go straight to storage, for those storages that have an address of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class DirectPut:
    """One HTTP ``PUT`` that stores an object: where, and with which headers."""

    url: str
    headers: Mapping[str, str]


class Presigner(Protocol):
    """A storage to which whoever is given an address may put one object, without a key of its own.

    Only for keys that nobody reads before what was put there was verified: the address can be used
    again, and with other bytes, for as long as it is good.
    """

    async def direct_put(self, key: str, size: int, good_for_s: float) -> DirectPut:
        """Return how to put exactly ``size`` bytes under ``key`` within ``good_for_s`` seconds."""
