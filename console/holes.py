"""Order moves by filling, again and again, the hole that the last one left. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from console.script import Move, Part

Span: TypeAlias = tuple[int, int]
"""``[start, end)`` in a file, in bytes."""

HOLE_SIZE_MIN = 64 << 10
"""A smaller hole is widened if that costs nothing: a file shifted by 100 bytes is not to be moved
in steps of 100 bytes."""

HOLE_SIZE_LEAST = 4 << 10
"""A smaller one is not filled by itself."""


def follow_holes(moves: Sequence[Move], step_size: int) -> list[Move]:
    """Return ``moves``, cut where need be to at most ``step_size`` bytes, in such an order."""
    return list(_Follower(moves, step_size).run())


def merged(spans: Sequence[Span]) -> list[Span]:
    """Return what ``spans`` cover, sorted and disjoint."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def cut_move(move: Move, start: int, end: int) -> Move:
    """Return what of ``move`` becomes ``[start, end)`` of its file, which must be in its target."""
    parts = [(t, s) for t, s in _pairs(move) if t.offset < end and t.end > start]
    sources = tuple(_cut_source(t, s, start, end) for t, s in parts)
    return Move(_span(move.target.file, start, end), sources)


class Spans:
    """A set of bytes of one file, as sorted disjoint spans."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._spans = merged(spans)

    def __bool__(self) -> bool:
        return bool(self._spans)

    @property
    def first(self) -> Span:
        """The first span."""
        return self._spans[0]

    def within(self, start: int, end: int) -> list[Span]:
        """Return what lies in ``[start, end)``."""
        at = max(0, bisect_right(self._spans, (start, start)) - 1)
        found: list[Span] = []
        for own_start, own_end in self._spans[at:] if start < end else ():
            if own_start >= end:
                break
            if own_end > start:
                found.append((max(own_start, start), min(own_end, end)))
        return found

    def span_at(self, offset: int) -> Span:
        """Return the span that ``offset`` lies in."""
        return self._spans[bisect_right(self._spans, (offset, 1 << 63)) - 1]

    def remove(self, start: int, end: int) -> None:
        """Take ``[start, end)`` out, all of which must be in."""
        at = bisect_right(self._spans, (start, 1 << 63)) - 1
        own_start, own_end = self._spans[at]
        left = [(own_start, start), (end, own_end)]
        self._spans[at : at + 1] = [(s, e) for s, e in left if s < e]


class _Follower:
    def __init__(self, moves: Sequence[Move], step_size: int) -> None:
        self._step_size = step_size
        self._targets: dict[int, list[Move]] = {}
        for move in moves:
            self._targets.setdefault(move.target.file, []).append(move)
        for own in self._targets.values():
            own.sort(key=lambda move: move.target.offset)
        self._offsets = {f: [m.target.offset for m in own] for f, own in self._targets.items()}
        self._todo = {
            file: Spans([(m.target.offset, m.target.end) for m in own])
            for file, own in self._targets.items()
        }
        self._sources = {file: list[tuple[Part, Part]]() for file in self._targets}
        for move in moves:
            for target, source in _pairs(move):
                if source.file in self._sources:
                    self._sources[source.file].append((source, target))
        for pairs in self._sources.values():
            pairs.sort(key=lambda pair: pair[0].offset)
        self._starts = {f: [s.offset for s, _ in pairs] for f, pairs in self._sources.items()}
        sizes = [source.size for pairs in self._sources.values() for source, _ in pairs]
        self._source_size_max = max(sizes, default=0)

    def run(self) -> Iterator[Move]:
        """Yield every move, or pieces of it, once."""
        holes: list[Part] = []
        for file, todo in self._todo.items():
            for start, end in todo.within(0, 1 << 62):
                holes += self._free(file, start, end)
        small: list[Part] = []
        while True:
            step = self._next(holes, small)
            if step is None:
                return
            for start, end in self._todo[step.file].within(step.offset, step.end):
                for move in self._cut(step.file, start, end):
                    yield move
                self._todo[step.file].remove(start, end)
                for move in self._cut(step.file, start, end):
                    for source in move.sources:
                        if source.file in self._todo:
                            holes += self._free(source.file, source.offset, source.end)

    def _next(self, holes: list[Part], small: list[Part]) -> Part | None:
        """Return what to fill next; None if nothing is left."""
        while holes:
            hole = holes.pop()
            spans = self._todo[hole.file].within(hole.offset, hole.end)
            holes += [_span(hole.file, *span) for span in spans[1:]]
            if not spans:
                continue
            hole = _span(hole.file, *spans[0])
            if hole.size > self._step_size:
                rest = _span(hole.file, hole.offset, hole.end - self._step_size)
                holes.append(rest)
                return _span(hole.file, rest.end, hole.end)
            if hole.size >= HOLE_SIZE_MIN:
                return hole
            wide, cost = self._widened(hole)
            if cost == 0 or hole.size >= HOLE_SIZE_LEAST:
                return wide if cost == 0 else hole
            small.append(hole)
        while small:
            hole = small.pop()
            spans = self._todo[hole.file].within(hole.offset, hole.end)
            if spans:
                return self._widened(_span(hole.file, *spans[0]))[0]
        for file, todo in self._todo.items():
            if todo:
                start, end = todo.first
                return _span(file, start, min(end, start + self._step_size))
        return None

    def _widened(self, hole: Part) -> tuple[Part, int]:
        """Return a hole grown to a step, to the side where fewer bytes have to be saved; and
        how many those are."""
        start, end = self._todo[hole.file].span_at(hole.offset)
        right = _span(hole.file, hole.offset, min(end, hole.offset + self._step_size))
        left = _span(hole.file, max(start, hole.end - self._step_size), hole.end)
        costs = {each: self._needed_outside(each) for each in (right, left)}
        best = min(costs, key=lambda each: (costs[each], -each.size))
        return best, costs[best]

    def _needed_outside(self, hole: Part) -> int:
        """Return how many bytes of a hole somebody reads who is not in it."""
        spans: list[Span] = []
        for source, target in self._reading(hole.file, hole.offset, hole.end):
            for span in self._pending(source, target, hole.offset, hole.end):
                at = target.offset + span[0] - source.offset
                size = span[1] - span[0]
                is_inside = target.file == hole.file and (
                    hole.offset <= at and at + size <= hole.end
                )
                if not is_inside:
                    spans.append(span)
        return sum(end - start for start, end in merged(spans))

    def _free(self, file: int, start: int, end: int) -> list[Part]:
        """Return what is to be filled in ``[start, end)`` of a file and nobody reads any more."""
        needed: list[Span] = []
        for source, target in self._reading(file, start, end):
            needed += self._pending(source, target, start, end)
        found: list[Part] = []
        at = start
        for need_start, need_end in [*merged(needed), (end, end)]:
            found += [_span(file, *span) for span in self._todo[file].within(at, need_start)]
            at = max(at, need_end)
        return found

    def _pending(self, source: Part, target: Part, start: int, end: int) -> list[Span]:
        """Return what of ``source`` in ``[start, end)`` is still to be read for ``target``."""
        shift = target.offset - source.offset
        first, last = max(start, source.offset), min(end, source.end)
        todo = self._todo[target.file].within(first + shift, last + shift)
        return [(span[0] - shift, span[1] - shift) for span in todo]

    def _reading(self, file: int, start: int, end: int) -> Iterator[tuple[Part, Part]]:
        starts, pairs = self._starts[file], self._sources[file]
        first = bisect_right(starts, start - self._source_size_max)
        for pair in pairs[first : bisect_left(starts, end)]:
            if pair[0].end > start:
                yield pair

    def _cut(self, file: int, start: int, end: int) -> Iterator[Move]:
        """Yield the moves into ``[start, end)``, cut to it."""
        own = self._targets[file]
        at = max(0, bisect_right(self._offsets[file], start) - 1)
        for move in own[at:]:
            if move.target.offset >= end:
                return
            first, last = max(start, move.target.offset), min(end, move.target.end)
            if first < last:
                yield cut_move(move, first, last)


def _pairs(move: Move) -> Iterator[tuple[Part, Part]]:
    """Yield each source of a move, with the part of the target that it becomes before it."""
    at = move.target.offset
    for source in move.sources:
        yield Part(move.target.file, at, source.size), source
        at += source.size


def _cut_source(target: Part, source: Part, start: int, end: int) -> Part:
    first, last = max(start, target.offset), min(end, target.end)
    return Part(source.file, source.offset + first - target.offset, last - first)


def _span(file: int, start: int, end: int) -> Part:
    return Part(file, start, end - start)
