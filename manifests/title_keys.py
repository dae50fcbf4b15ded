"""Which keys a title's objects have: the left column of ``docs/format/urls.md``, read back.

One spelling each. Whatever is not one of these is no object of any title.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from chunks.chunk_id import Digest
from kit.errors import InvalidInput
from manifests.names import TITLE_PATTERN, Channel, TitleId

Kind: TypeAlias = Literal["head", "release", "manifest", "bundle", "slices", "deltas", "claim"]

_NAME = TITLE_PATTERN.removeprefix("^").removesuffix(r"\Z")
_HEX = "[0-9a-f]{64}"
_KINDS: dict[str, tuple[Kind, str]] = {
    "h": ("head", _NAME),
    "r": ("release", "[0-9]{10}"),
    "m": ("manifest", _HEX),
    "b": ("bundle", _HEX),
    "s": ("slices", _HEX),
    "d": ("deltas", "[0-9]{10}-[0-9]{10}"),
    "w": ("claim", "[0-9]{10}-[0-9a-f]{16}"),
}
_KEY = re.compile(rf"t/(?P<title>{_NAME})/(?P<letter>[{''.join(_KINDS)}])/(?P<name>[0-9a-z-]+)")
_PREFIX = re.compile(rf"t/(?P<title>{_NAME})/")


@dataclass(frozen=True, slots=True)
class TitleKey:
    """The key of one object of a title."""

    key: str
    title: TitleId
    kind: Kind
    name: str

    @property
    def digest(self) -> Digest:
        """What a manifest's, bundle's or slice list's key names."""
        return Digest(bytes.fromhex(self.name))

    @property
    def counter(self) -> int:
        """The release's."""
        return int(self.name)

    @property
    def channel(self) -> Channel:
        """The head's."""
        return Channel(self.name)

    @property
    def counters(self) -> tuple[int, int]:
        """Base and target of a delta set."""
        target, _, base = self.name.partition("-")
        return int(base), int(target)


def parse_title_key(key: str) -> TitleKey:
    """Read the key of an object of a title.

    Raises:
        InvalidInput: It is no such key.
    """
    found = _KEY.fullmatch(key)
    if found is not None:
        kind, pattern = _KINDS[found["letter"]]
        if re.fullmatch(pattern, found["name"]):
            return TitleKey(key, TitleId(found["title"]), kind, found["name"])
    raise InvalidInput(f"key {key[:120]!r} is none of a title's objects")


def title_of_prefix(prefix: str) -> TitleId:
    """Return the one title that keys with this prefix can be of.

    Raises:
        InvalidInput: They could be of several, or of none.
    """
    found = _PREFIX.match(prefix)
    if found is None:
        raise InvalidInput(f"prefix {prefix[:120]!r}: expected t/TITLE/ and what follows")
    return TitleId(found["title"])
