"""Leases as tests mint them, by a key of their own."""

from __future__ import annotations

from console.leases import GrantedLease
from kit.access_token import KEY_SIZE, KeyId
from kit.clock import Clock
from manifests.lease import Lease, Subject, encode_lease
from manifests.lease_gate import Gate
from manifests.names import TitleId

KEY_ID, KEY = KeyId("a-key"), bytes(range(KEY_SIZE))
ANN = Subject("ann")


def gate_at(clock: Clock) -> Gate:
    """A gate that believes the key of tests."""
    gate = Gate(clock)
    gate.use_keys({KEY_ID: KEY})
    return gate


def lease_at(clock: Clock, title: TitleId | None, *, lasts_s: int = 900, key: bytes = KEY) -> str:
    """A lease minted now."""
    now_s = clock.now()
    lease = Lease(ANN, title, int(now_s), int(now_s) + lasts_s, int(now_s * 1000), b"id")
    return encode_lease(lease, KEY_ID, key)


class AnyLease:
    """Gives leases to anyone: for edges that ask for none."""

    async def lease(self, title: TitleId) -> GrantedLease:
        return GrantedLease(f"a-lease-for-{title}", 900)
