"""The fields of a message, in order, and how their values are taken apart: RFC 9110, section 5."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

Pair: TypeAlias = tuple[str, str]

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_ESCAPED = re.compile(r"\\(.)")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_MARK = re.compile('[",]')


class Fields:
    """Names and values as they came: in order, in their case, repeated where they were.

    Values are text in which each character is one octet (ISO-8859-1), without blanks around it.
    """

    __slots__ = ("_index", "pairs")

    def __init__(self, pairs: Iterable[Pair] = ()) -> None:
        self.pairs = tuple(pairs)
        self._index: dict[str, list[str]] | None = None

    def __repr__(self) -> str:
        return f"Fields({list(self.pairs)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fields) and self.pairs == other.pairs

    def __hash__(self) -> int:
        return hash(self.pairs)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)

    def __contains__(self, name: str) -> bool:
        return name in self._indexed()

    def all(self, name: str) -> list[str]:
        """Return the values of every line called ``name``, which is in lower case."""
        return self._indexed().get(name, [])

    def get(self, name: str) -> str | None:
        """Return the lines called ``name`` as one (section 5.3), None if there is none."""
        values = self._indexed().get(name)
        if values is None:
            return None
        return values[0] if len(values) == 1 else ", ".join(values)

    def only(self, name: str) -> str | None:
        """Return the value of the single line called ``name``; None if there is no or another."""
        values = self._indexed().get(name)
        return values[0] if values is not None and len(values) == 1 else None

    def members(self, name: str) -> list[str]:
        """Return the members of the list that the lines called ``name`` make together."""
        return [member for value in self.all(name) for member in split_list(value)]

    def without(self, names: Iterable[str]) -> Fields:
        """Return the fields but those called ``names``, which are in lower case."""
        left_out = frozenset(names)
        return self.keep(lambda name: name not in left_out)

    def keep(self, wants: Callable[[str], bool]) -> Fields:
        """Return the fields of whose name, in lower case, ``wants`` says so."""
        return Fields(pair for pair in self.pairs if wants(pair[0].lower()))

    def plus(self, *pairs: Pair) -> Fields:
        """Return the fields with ``pairs`` after them."""
        return Fields((*self.pairs, *pairs))

    def replaced(self, name: str, value: str) -> Fields:
        """Return the fields with one line ``name`` instead of any it had."""
        return self.without([name.lower()]).plus((name, value))

    def _indexed(self) -> dict[str, list[str]]:
        if self._index is None:
            self._index = {}
            for name, value in self.pairs:
                self._index.setdefault(name.lower(), []).append(value)
        return self._index


def split_list(value: str) -> list[str]:
    """Return the members of a list, blanks around them removed, empty ones left out.

    Source: RFC 9110, section 5.6.1.2. A comma in a quoted string parts nothing.
    """
    if '"' not in value:
        return [member for part in value.split(",") if (member := part.strip(" \t"))]
    return [member for part in _parts(value) if (member := part.strip(" \t"))]


def _parts(value: str) -> list[str]:
    """Split ``value`` at commas that are in no quoted string. A quote never closed opens none."""
    parts: list[str] = []
    begins = at = 0
    while (mark := _MARK.search(value, at)) is not None:
        at = mark.end()
        if mark[0] == ",":
            parts.append(value[begins : mark.start()])
            begins = at
        elif (closed := _QUOTED.match(value, mark.start())) is not None:
            at = closed.end()
        else:
            break  # any quote after it is one that it has escaped, hence never closed either
    else:
        at = len(value)
    first, *others = value[at:].split(",")
    return [*parts, value[begins:at] + first, *others]


def is_token(text: str) -> bool:
    """Tell whether ``text`` is a token: RFC 9110, section 5.6.2."""
    return _TOKEN.fullmatch(text) is not None


def is_quoted(text: str) -> bool:
    """Tell whether ``text`` is a quoted string: RFC 9110, section 5.6.4."""
    return _QUOTED.fullmatch(text) is not None


def unquote(text: str) -> str:
    """Return what a quoted string says: RFC 9110, section 5.6.4."""
    return _ESCAPED.sub(r"\1", text[1:-1])
