"""A ring of secret keys that are replaced daily: the newest signs, those before it are believed.

A key is made every day, signs for a day and a half at most and is believed for two, so nothing
that was signed for up to half a day is refused for a rotation. Whoever signs makes new keys;
whoever checks only reads them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from kit.access_token import KEY_SIZE, KeyId
from kit.errors import SettingsError

KEYS_MAX = 16

SIGNS_FOR_S = 86_400
"""How long a key signs before the next one is made."""
SIGNS_AT_MOST_S = SIGNS_FOR_S + SIGNS_FOR_S // 2
"""From when it was made, if none was made after it: who was away must not sign with what ends."""
BELIEVED_FOR_S = 2 * SIGNS_FOR_S
"""From when it was made."""
SIGNED_FOR_AT_MOST_S = BELIEVED_FOR_S - SIGNS_AT_MOST_S
"""What is signed may last so long."""
SETTLED_AFTER_S = 60
"""A new key signs only after all who check have had so long to hear of it."""


class RingKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key."""

    id: Annotated[str, Meta(pattern=r"^[0-9A-Za-z-]{1,23}\Z")]
    key: Annotated[str, Meta(pattern=rf"^[0-9a-f]{{{2 * KEY_SIZE}}}\Z")]
    made_at: Annotated[int, Meta(ge=0)]
    """Seconds since the Unix epoch."""

    @property
    def key_id(self) -> KeyId:
        """What tokens call it."""
        return KeyId(self.id)

    @property
    def raw_key(self) -> bytes:
        """The key as 32 bytes."""
        return bytes.fromhex(self.key)


class KeyRing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All keys that may still matter; also what a file of them holds."""

    format: Literal[1] = 1
    keys: Annotated[tuple[RingKey, ...], Meta(max_length=KEYS_MAX)] = ()

    def believed(self, now_s: float) -> dict[KeyId, bytes]:
        """Return the keys by which tokens are checked now."""
        return {each.key_id: each.raw_key for each in self._believed(now_s)}

    def signing(self, now_s: float) -> RingKey | None:
        """Return the key to sign with now: the newest that all have heard of; None if none is left.

        Of keys that are all new, the oldest: it is the one most likely known.
        """
        young = [each for each in self.keys if now_s < each.made_at + SIGNS_AT_MOST_S]
        young.sort(key=lambda each: each.made_at)
        settled = [each for each in young if now_s >= each.made_at + SETTLED_AFTER_S]
        return settled[-1] if settled else next(iter(young), None)

    def is_due(self, now_s: float) -> bool:
        """Tell whether it is time for a new key."""
        return all(now_s >= each.made_at + SIGNS_FOR_S for each in self.keys)

    def rotated(self, now_s: float, secret: bytes) -> KeyRing:
        """Return the ring with a new key of 32 random bytes, without those that are over."""
        assert len(secret) == KEY_SIZE
        # With the second in it two that are made on one day differ.
        name = datetime.fromtimestamp(now_s, UTC).strftime("%Y%m%d-%H%M%S")
        added = RingKey(id=name, key=secret.hex(), made_at=int(now_s))
        kept = [each for each in self._believed(now_s) if each.id != name]
        return KeyRing(keys=(*kept[-(KEYS_MAX - 1) :], added))

    def encode(self) -> bytes:
        """Return what the file holds."""
        return msgspec.json.encode(self)

    def _believed(self, now_s: float) -> list[RingKey]:
        return [each for each in self.keys if now_s < each.made_at + BELIEVED_FOR_S]


def parse_ring(data: bytes, where: str) -> KeyRing:
    """Read a file of keys.

    Raises:
        SettingsError: It is none; the message names ``where``, and no secret.
    """
    try:
        return msgspec.json.decode(data, type=KeyRing)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise SettingsError(
            f"{where}: not a ring of keys; copy it again from the machine that makes them, or "
            "delete it there and it is made anew"
        ) from None
