"""Make a lease for who may have one."""

from __future__ import annotations

from typing import Protocol

import msgspec

from kit.key_ring import RingKey
from manifests.lease import Lease, Subject, encode_lease
from manifests.names import TitleId


class MintingKey(Protocol):
    """Knows the key to mint with; keys change daily."""

    def signing(self) -> RingKey:
        """Return the key to mint with, made if it is time for one. Blocks.

        Raises:
            SettingsError: The file of keys is damaged, or others may read it.
        """


class Minted(msgspec.Struct, frozen=True):
    """A lease, as it is handed to a console."""

    lease: str
    title: str
    expires_in_s: int
    """Counted from now, so that the console's clock does not matter."""


def mint(
    key: RingKey,
    subject: Subject,
    title: TitleId,
    *,
    epoch: int,
    lifetime_s: int,
    now_s: float,
    token_id: bytes,
) -> Minted:
    """Return a lease of ``subject`` for ``title``."""
    lease = Lease(subject, title, int(now_s), int(now_s) + lifetime_s, epoch, token_id)
    return Minted(encode_lease(lease, key.key_id, key.raw_key), title, lifetime_s)
