"""The heads of requests and responses, and which of their fields go past one hop.

Source: RFC 9110, sections 6, 7.6.1 and 9.2; RFC 9111, section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from kit.http_semantics.fields import Fields

SAFE_METHODS = frozenset(
    {"GET", "HEAD", "OPTIONS", "TRACE", "PRI", "PROPFIND", "REPORT", "SEARCH", "QUERY"}
)
"""Those registered as safe; of any other, safety is unknown: RFC 9110, section 9.2.1."""
IDEMPOTENT_METHODS = SAFE_METHODS | {"PUT", "DELETE"}
"""May be repeated when a connection broke: RFC 9110, section 9.2.2."""

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",  # trailers are dropped, so none are announced
        "transfer-encoding",
        "upgrade",
    }
)
FOR_THE_PROXY = frozenset(
    {"proxy-authenticate", "proxy-authentication-info", "proxy-authorization"}
)
"""Not stored: RFC 9111, section 3.1."""
# Connection may not name what a recipient needs to understand the message (section 7.6.1: fields
# for all recipients of the content), lest a client take them away from others.
_ALWAYS_KEPT = frozenset({"cache-control", "host", "content-length", "date"})


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request without its content. The target is in origin form, as it was spelled."""

    method: str
    target: str
    fields: Fields


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """A response without its content."""

    status: int
    reason: str
    fields: Fields

    def with_fields(self, fields: Fields) -> ResponseHead:
        """Return the same with other fields."""
        return replace(self, fields=fields)


def is_safe(method: str) -> bool:
    """Tell whether ``method`` changes nothing, so that caches need not forget: section 9.2.1."""
    return method in SAFE_METHODS


def end_to_end(fields: Fields) -> Fields:
    """Return what goes past this hop: neither hop-by-hop nor listed in ``Connection``."""
    dropped = HOP_BY_HOP
    if "connection" in fields:
        listed = {name.lower() for name in fields.members("connection")}
        dropped = dropped | (listed - _ALWAYS_KEPT)
    return fields.without(dropped)


def storable_fields(fields: Fields) -> Fields:
    """Return what of a response may be stored: RFC 9111, section 3.1."""
    return end_to_end(fields).without(FOR_THE_PROXY)
