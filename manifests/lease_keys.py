"""The keys that leases are made with: the newest mints, those before it are still believed.

A key is made every day and believed for two, so at most a few are valid at once and a lease never
outlives its key. Whoever mints makes new keys; whoever checks only reads them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from kit.access_token import KEY_SIZE, KeyId
from kit.errors import SettingsError

FILE_SIZE_MAX = 16_384
KEYS_MAX = 16

MINTS_FOR_S = 86_400
"""How long a key mints before the next one is made."""
BELIEVED_FOR_S = 2 * MINTS_FOR_S
"""From when it was made; far longer than a lease lasts, so rotation is never felt."""


class LeaseKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key; times in seconds since the Unix epoch."""

    id: Annotated[str, Meta(pattern=r"^[0-9A-Za-z-]{1,23}\Z")]
    key: Annotated[str, Meta(pattern=rf"^[0-9a-f]{{{2 * KEY_SIZE}}}\Z")]
    made_at: Annotated[int, Meta(ge=0)]

    @property
    def raw_key(self) -> bytes:
        """The key as 32 bytes."""
        return bytes.fromhex(self.key)


class LeaseKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a file of keys holds."""

    format: Literal[1] = 1
    keys: Annotated[tuple[LeaseKey, ...], Meta(min_length=1, max_length=KEYS_MAX)]

    def believed(self, now_s: float) -> dict[KeyId, bytes]:
        """Return the keys that leases are checked by now."""
        return {
            KeyId(each.id): each.raw_key
            for each in self.keys
            if now_s < each.made_at + BELIEVED_FOR_S
        }

    @property
    def newest(self) -> LeaseKey:
        """The key that mints."""
        return max(self.keys, key=lambda each: each.made_at)

    def is_due(self, now_s: float) -> bool:
        """Tell whether it is time for a new key."""
        return now_s >= self.newest.made_at + MINTS_FOR_S


def first_keys(now_s: float, secret: bytes) -> LeaseKeys:
    """Return the first key; ``secret`` is 32 random bytes."""
    return LeaseKeys(keys=(_key(now_s, secret),))


def rotated(keys: LeaseKeys, now_s: float, secret: bytes) -> LeaseKeys:
    """Return ``keys`` with a new one, and without those that nobody needs to believe any more."""
    kept = [each for each in keys.keys if now_s < each.made_at + BELIEVED_FOR_S]
    return LeaseKeys(keys=(*kept[-(KEYS_MAX - 1) :], _key(now_s, secret)))


def encode_keys(keys: LeaseKeys) -> bytes:
    """Return what the file holds: for the eyes of this machine alone."""
    return msgspec.json.encode(keys)


def parse_keys(data: bytes, where: str) -> LeaseKeys:
    """Read a file of keys.

    Raises:
        SettingsError: It is none; the message names ``where``, and no secret.
    """
    try:
        return msgspec.json.decode(data, type=LeaseKeys)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise SettingsError(
            f"{where}: not a file of lease keys; copy the platform's again, or delete it on the"
            " machine that mints leases, which makes a new one"
        ) from None


def _key(now_s: float, secret: bytes) -> LeaseKey:
    assert len(secret) == KEY_SIZE
    # The second in it tells apart two that are made on one day.
    made = datetime.fromtimestamp(now_s, UTC).strftime("%Y%m%d-%H%M%S")
    return LeaseKey(id=made, key=secret.hex(), made_at=int(now_s))
