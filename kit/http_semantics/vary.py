"""Which requests a stored response was chosen for: ``Vary``, RFC 9111, section 4.1."""

from __future__ import annotations

from typing import TypeAlias

from kit.http_semantics.fields import Fields, split_list

Varied: TypeAlias = tuple[tuple[str, str | None], ...]
"""Each field that ``Vary`` names, in lower case, and its value in a request; None if absent."""

# Of these the order of members means nothing, and their names know no case: RFC 9110, 8.4.1 and
# 12.5.3. In Accept-Language and Accept order may mean preference to whoever reads them.
_UNORDERED = frozenset({"accept-encoding"})
_CASELESS = frozenset({"accept-encoding", "accept-language", "accept-charset"})


def varies_beyond_request(response: Fields) -> bool:
    """Tell whether no request will ever match: ``Vary: *``."""
    return "*" in response.members("vary")


def varied(response: Fields, request: Fields) -> Varied:
    """Return the fields of ``request`` that ``response`` was chosen by, in their normal form."""
    names = sorted({name.lower() for name in response.members("vary")})
    return tuple((name, _normal(name, request.get(name))) for name in names)


def matches(stored: Varied, request: Fields) -> bool:
    """Tell whether ``request`` has what the response was chosen by."""
    return all(_normal(name, request.get(name)) == value for name, value in stored)


def _normal(name: str, value: str | None) -> str | None:
    """Return ``value`` as all that mean the same are written; absence is a value of its own."""
    if value is None:
        return None
    members = split_list(value)
    if name in _CASELESS:
        members = [member.lower() for member in members]
    if name in _UNORDERED:
        members = sorted(members)
    return ",".join(members)
