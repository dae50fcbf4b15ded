"""What ``Cache-Control`` and its targeted kin say: RFC 9111, section 5.2, and RFC 9213.

What is malformed never makes a response fresher: a directive that restricts counts although its
argument is wrong, one that names seconds then names none, one that permits is not there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import http_sf

from kit.http_semantics.fields import Fields, is_token, split_list, unquote

SECONDS_MAX = 2**31
"""Stands for anything larger: RFC 9111, section 1.2.2."""

TARGETED = ("cdn-cache-control",)
"""The targeted fields that are for us, the first that is valid deciding: RFC 9213, section 2.2."""

_DIRECTIVE = re.compile(r"""([!#$%&'*+\-.^_`|~0-9a-z]+)(?:=(.*))?""", re.IGNORECASE | re.DOTALL)
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+", re.IGNORECASE)
_ARGUMENT = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_DIGITS = re.compile(r"[0-9]+")

# Of these, one that cannot be read is one that is not there: they permit.
_PERMITS = frozenset({"public", "must-understand", "immutable", "max-stale", "only-if-cached"})


@dataclass(frozen=True, slots=True)
class Directives:
    """The directives of one message. Names are in lower case."""

    arguments: Mapping[str, str | None] = field(default_factory=dict)
    """Of what could be read, the first of each name; None for one without an argument."""
    malformed: frozenset[str] = frozenset()
    is_unqualified: frozenset[str] = frozenset()
    """Names that were there at least once without an argument."""

    def has(self, name: str) -> bool:
        """Tell whether ``name`` counts, whatever its argument."""
        return name in self.arguments or (name in self.malformed and name not in _PERMITS)

    def seconds(self, name: str) -> int | None:
        """Return the argument of ``name``: None if it is absent, 0 if it names no seconds.

        Source: RFC 9111, sections 1.2.2 and 4.2.1. The first of several counts.
        """
        if name in self.malformed:
            return 0
        if name not in self.arguments:
            return None
        text = self.arguments[name]
        if text is None or not _DIGITS.fullmatch(text):
            return 0
        return SECONDS_MAX if len(text.lstrip("0")) > 10 else min(int(text), SECONDS_MAX)

    def has_unqualified(self, name: str) -> bool:
        """Tell whether ``name``, no-cache or private, is about the whole response.

        It also is where the fields it names cannot be read: RFC 9111, sections 5.2.2.4 and 5.2.2.7.
        """
        if name in self.malformed or name in self.is_unqualified:
            return True
        return name in self.arguments and not self.fields_of(name)

    def fields_of(self, name: str) -> frozenset[str]:
        """Return the fields that ``name`` names in its argument, in lower case."""
        text = self.arguments.get(name)
        names = split_list(text) if text else []
        if not all(map(is_token, names)):
            return frozenset()
        return frozenset(map(str.lower, names))


NONE = Directives()


def parse_directives(lines: Iterable[str]) -> Directives:
    """Read the lines of ``Cache-Control``, together one list."""
    arguments: dict[str, str | None] = {}
    malformed: set[str] = set()
    unqualified: set[str] = set()
    for member in (member for line in lines for member in split_list(line)):
        match = _DIRECTIVE.fullmatch(member)
        if match is None:
            malformed |= _named_first(member)
            continue
        name, text = match[1].lower(), match[2]
        if text is None:
            unqualified.add(name)
        elif _ARGUMENT.fullmatch(text):
            text = unquote(text)
        elif not is_token(text):
            malformed.add(name)
            continue
        arguments.setdefault(name, text)
    return Directives(arguments, frozenset(malformed), frozenset(unqualified))


def response_directives(fields: Fields) -> tuple[Directives, bool]:
    """Return what counts for us in a response, and whether it is from a targeted field.

    If it is, ``Cache-Control`` and ``Expires`` do not count: RFC 9213, section 2.2.
    """
    for name in TARGETED:
        if name in fields:
            targeted = _targeted(fields.get(name) or "")
            if targeted is not None:
                return targeted, True
    return parse_directives(fields.all("cache-control")), False


def request_directives(fields: Fields) -> Directives:
    """Return what a request asks of caches.

    ``Pragma: no-cache`` counts only where there is no ``Cache-Control``: RFC 9111, section 5.4.
    """
    if "cache-control" in fields:
        return parse_directives(fields.all("cache-control"))
    if "pragma" in fields and parse_directives(fields.all("pragma")).has("no-cache"):
        return _NO_CACHE
    return NONE


def _named_first(member: str) -> frozenset[str]:
    """Return the name that a member which is no directive begins with, as ``max-age = 1`` does."""
    match = _NAME.match(member)
    return frozenset({match[0].lower()}) if match else frozenset()


def _targeted(value: str) -> Directives | None:
    """Read a dictionary of RFC 9213, section 2.1; None if it is empty or invalid."""
    try:
        members = http_sf.parse(value.encode("latin-1"), tltype="dictionary")
    except http_sf.StructuredFieldError:
        return None
    if not isinstance(members, dict) or not members:
        return None
    arguments: dict[str, str | None] = {}
    malformed: set[str] = set()
    unqualified: set[str] = set()
    for name, member in members.items():
        bare = member[0] if isinstance(member, tuple) else member  # parameters are ignored
        match bare:
            case True:
                arguments[name] = None
                unqualified.add(name)
            case False:
                pass  # says that it does not hold
            case int():
                arguments[name] = str(bare)
            case str() if not _DIGITS.fullmatch(bare):
                arguments[name] = bare
            case http_sf.Token():
                arguments[name] = str(bare)
            case _:
                malformed.add(name)
    return Directives(arguments, frozenset(malformed), frozenset(unqualified))


_NO_CACHE = Directives({"no-cache": None}, frozenset(), frozenset({"no-cache"}))
