"""``Cache-Status``: what a cache did about a request. RFC 9211."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import http_sf

from kit.http_semantics.fields import Fields

Forwarded: TypeAlias = Literal[
    "bypass", "method", "uri-miss", "vary-miss", "miss", "request", "stale", "partial"
]
"""Why a request went upstream: RFC 9211, section 2.2."""


@dataclass(frozen=True, slots=True)
class CacheStatus:
    """What one cache says: RFC 9211, section 2. Without ``forwarded`` it was a hit."""

    forwarded: Forwarded | None = None
    upstream_status: int | None = None
    is_stored: bool = False
    is_collapsed: bool | None = None
    """Whether another's request brought it too; False if one was waited for in vain."""
    ttl_s: int | None = None
    """Left before it is stale; negative after."""
    detail: str | None = None
    key: str | None = None
    """What it is stored under, if that is told."""

    def member(self, cache_name: str) -> str:
        """Return the member of the list that is ours."""
        parameters: dict[str, http_sf.types.BareItemType] = {}
        if self.forwarded is None:
            parameters["hit"] = True
        else:
            parameters["fwd"] = http_sf.Token(self.forwarded)
        if self.upstream_status is not None:
            parameters["fwd-status"] = self.upstream_status
        if self.ttl_s is not None:
            parameters["ttl"] = self.ttl_s
        if self.is_stored:
            parameters["stored"] = True
        if self.is_collapsed is not None:
            parameters["collapsed"] = self.is_collapsed
        if self.key is not None and self.key.isascii() and self.key.isprintable():
            parameters["key"] = self.key
        if self.detail is not None:
            parameters["detail"] = http_sf.Token(self.detail)
        return http_sf.ser([(http_sf.Token(cache_name), parameters)])


def with_cache_status(fields: Fields, member: str) -> Fields:
    """Return ``fields`` with ``member`` as the last of the list: caches nearer to us come later."""
    lines = fields.all("cache-status")
    if not lines:
        return fields.plus(("Cache-Status", member))
    at = max(i for i, (name, _) in enumerate(fields.pairs) if name.lower() == "cache-status")
    pairs = list(fields.pairs)
    pairs[at] = (pairs[at][0], f"{pairs[at][1]}, {member}" if pairs[at][1] else member)
    return Fields(pairs)
