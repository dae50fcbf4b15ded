"""The content of stored responses: all of it, or spans that ranges brought."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeAlias

from kit.http_semantics.ranges import Full, Partial, Unsatisfiable, span_of

SPANS_MAX = 64
"""Spans kept of one object; one more that touches none replaces them."""


@dataclass(frozen=True, slots=True)
class Whole:
    """All of it, in pieces as they came: large ones are never joined, which would take long."""

    pieces: tuple[bytes, ...]
    ends: tuple[int, ...]
    """Where each piece ends."""

    @classmethod
    def of(cls, pieces: Sequence[bytes]) -> Whole:
        """Return the content that ``pieces`` make together."""
        kept = tuple(piece for piece in pieces if piece)
        return cls(kept, tuple(accumulate(map(len, kept))))

    @property
    def size(self) -> int:
        """In bytes."""
        return self.ends[-1] if self.ends else 0

    def cut(self, start: int, end: int) -> Iterator[bytes]:
        """Yield ``[start, end)``."""
        index = bisect_right(self.ends, start)
        while start < end:
            piece = self.pieces[index]
            begins = self.ends[index] - len(piece)
            part = piece[start - begins : end - begins]
            yield part
            start += len(part)
            index += 1


@dataclass(frozen=True, slots=True)
class Spans:
    """Parts of it: disjoint, in order, not touching."""

    spans: tuple[tuple[int, Whole], ...]
    """Where each begins, and its bytes."""
    size_of_all: int | None
    """Of the whole object, if anybody said."""

    @property
    def size(self) -> int:
        """Of what is here, in bytes."""
        return sum(part.size for _, part in self.spans)

    def holding(self, start: int, end: int) -> tuple[int, Whole] | None:
        """Return the span that has ``[start, end)``, if one has."""
        for begins, part in self.spans:
            if begins <= start and end <= begins + part.size:
                return begins, part
        return None

    def wanted(self, range_: str) -> Partial | Unsatisfiable | None:
        """Return the span that ``range_`` asks for, None if that is not here or not certain."""
        if self.size_of_all is None:
            return None  # where it ends is not known, hence not what a range is cut to
        match span_of(range_, self.size_of_all):
            case Full():
                return None
            case Unsatisfiable():
                return Unsatisfiable()
            case Partial(start, end) as part:
                return part if self.holding(start, end) else None


Content: TypeAlias = Whole | Spans


def combined(earlier: Spans, later: Spans) -> Content:
    """Return both as one: RFC 9111, section 3.4. They must be of one representation.

    Where both have a byte it is the same, so it matters not whose is kept.
    """
    size_of_all = later.size_of_all if later.size_of_all is not None else earlier.size_of_all
    merged: list[tuple[int, list[bytes], int]] = []
    for start, part in sorted((*earlier.spans, *later.spans), key=lambda span: span[0]):
        if merged and start <= merged[-1][2]:
            begins, pieces, end = merged[-1]
            if start + part.size > end:
                pieces += part.cut(end - start, part.size)
                merged[-1] = (begins, pieces, start + part.size)
        else:
            merged.append((start, list(part.pieces), start + part.size))
    if size_of_all is not None and [(m[0], m[2]) for m in merged] == [(0, size_of_all)]:
        return Whole.of(merged[0][1])
    if len(merged) > SPANS_MAX:
        return later
    return Spans(tuple((start, Whole.of(pieces)) for start, pieces, _ in merged), size_of_all)
