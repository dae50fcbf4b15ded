"""Decide what to unfold before a delta is made: the streams that changed, and those they came from.

A stream that target and base have byte for byte alike stays folded in both: the delta copies it,
and the console need not deflate it. Every other stream of the target is unfolded if zlib can make
it again. If that holds for all of them, so are all of the base's: nothing else would come of
them. Otherwise the base's are probed too: a stream that stays folded in the target can at best be
copied from one that stays folded in the base.

A stream that reaches out of the wanted span must be made whole to fold a part of it, and the delta
pays for all of it. So it is unfolded only if enough of it is wanted and there is something in the
base that it may come from.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from chunks.archives import (
    FOLDED_SIZE_MAX,
    STREAM_COUNT_MAX,
    UNFOLDED_SIZE_MAX,
    Fold,
    Folds,
    Recipe,
)
from chunks.chunk_id import Digest, digest_of
from chunks.deflate import Parameters, inflate
from chunks.deflate_search import ParameterSearch
from chunks.deflate_streams import DeflateStream, find_streams
from kit.buffers import Buffer

WANTED_PERCENT_MIN = 33
"""Share of a stream that must lie in the wanted span. The delta of a recompiled library's stream
is about a third of the stream, so below this the folded bytes themselves are the smaller."""

_SAMPLE_SIZE = 32
_LARGE_SIZE = 1 << 20
"""A stream that inflates to this much takes longer to probe than a sample of it to be looked for in
the whole base."""

_Named: TypeAlias = tuple[Digest, DeflateStream]


@dataclass(frozen=True, slots=True)
class UnfoldingPlan:
    """What to unfold for one delta.

    Attributes:
        start, end: The span of the target to unfold. It is the wanted one, and reaches past it
            where that begins or ends in the middle of a stream.
        recipe: Folds those bytes again and returns the wanted span. Its ``folds`` unfold them.
        base_folds: Unfold the whole base.
        hints: Parameters that worked, for the plan of the next delta of the same file.
    """

    start: int
    end: int
    recipe: Recipe
    base_folds: Folds
    hints: tuple[Parameters, ...]


def plan_unfolding(
    target: Buffer,
    start: int,
    end: int,
    base: Buffer,
    *,
    hints: Iterable[Parameters] = (),
) -> UnfoldingPlan | None:
    """Plan a delta that makes ``target[start:end]`` from ``base``; None if folded bytes will do.

    Args:
        target: The wanted span, and as many bytes before and after it as are at hand: only a
            stream that is whole in them can be unfolded.
        start, end: The wanted span, not empty.
        base: All bytes that the delta may use; streams cut off at its edges stay folded.
        hints: What worked for the delta before.

    What the recipe folds to was compared, stream by stream: with the zlib of this process it is
    exactly the wanted span, so nobody need fold it again to see. Mostly releases the GIL.
    """
    assert 0 <= start < end <= len(target) <= FOLDED_SIZE_MAX
    assert len(base) <= FOLDED_SIZE_MAX
    in_target = _named(target, find_streams(target, start, end))
    in_base = _named(base, find_streams(base)) if in_target else []
    sources = _unlike(in_base, in_target)
    searchable = bytes(base)  # no copy if it is bytes already
    changed = [
        stream
        for stream in _unlike(in_target, in_base)
        if _is_worth_making(stream, start, end, has_sources=bool(sources))
        and not _ends_alike(target, stream, start, end, searchable)
    ]
    search = ParameterSearch(hints)
    kept = _reproducible(target, _fitting(changed, end - start), search)
    if not kept:
        return None
    if len(kept) < len(changed):
        sources = list(_reproducible(base, sources, search))
    base_folds = _folds(_fitting(sources, len(base)), 0, len(base))
    region_start = min([start, *(stream.start for stream in kept)])
    region_end = max([end, *(stream.end for stream in kept)])
    recipe = Recipe(
        _folds(kept, region_start, region_end),
        tuple(kept.values()),
        start - region_start,
        region_end - end,
    )
    return UnfoldingPlan(region_start, region_end, recipe, base_folds, search.known)


def whole_streams(data: Buffer, start: int, end: int) -> tuple[int, int]:
    """Return ``[start, end)`` widened to all of every stream it has a byte of, headers too.

    For the base of a delta: a stream of which it has only a part cannot be unfolded.
    """
    streams = find_streams(data, start, end)
    header_starts = [stream.header_start for stream in streams]
    return min([start, *header_starts]), max([end, *(stream.end for stream in streams)])


def _named(data: Buffer, streams: Iterable[DeflateStream]) -> list[_Named]:
    view = memoryview(data)
    return [(digest_of(view[stream.start : stream.end]), stream) for stream in streams]


def _unlike(streams: Iterable[_Named], others: Iterable[_Named]) -> list[DeflateStream]:
    """Return the streams that are not, byte for byte, among ``others``."""
    known = {name for name, _ in others}
    return [stream for name, stream in streams if name not in known]


def _is_worth_making(stream: DeflateStream, start: int, end: int, *, has_sources: bool) -> bool:
    wanted_size = min(stream.end, end) - max(stream.start, start)
    if wanted_size == stream.folded_size:
        return True  # even without a source: unfolded bytes compress better than deflated ones
    return has_sources and wanted_size * 100 >= stream.folded_size * WANTED_PERCENT_MIN


def _ends_alike(target: Buffer, stream: DeflateStream, start: int, end: int, base: bytes) -> bool:
    """Return whether the last wanted bytes of a stream stand in the base, if asking is cheap.

    If they do, so, nearly always, do those before them: one change alters all that follows. It
    finds what has no name in common: a stream that base or span hold only a part of.
    """
    is_cut = stream.start < start or stream.end > end
    if not is_cut and stream.unfolded_size < _LARGE_SIZE:
        return False
    sample_end = min(stream.end, end)
    sample_start = max(stream.start, start, sample_end - _SAMPLE_SIZE)
    return bytes(memoryview(target)[sample_start:sample_end]) in base


def _fitting(streams: Iterable[DeflateStream], span_size: int) -> list[DeflateStream]:
    """Return the streams that can be unfolded together, with ``span_size`` bytes around them.

    A stream may reach out of the span, so all of its unfolded bytes count.
    """
    left_size = UNFOLDED_SIZE_MAX - span_size
    fitting: list[DeflateStream] = []
    for stream in streams:
        if stream.unfolded_size <= left_size and len(fitting) < STREAM_COUNT_MAX:
            left_size -= stream.unfolded_size
            fitting.append(stream)
    return fitting


def _reproducible(
    data: Buffer, streams: Iterable[DeflateStream], search: ParameterSearch
) -> dict[DeflateStream, Parameters]:
    """Return the streams that zlib makes again, in order, and how."""
    view = memoryview(data)
    found: dict[DeflateStream, Parameters] = {}
    for stream in streams:
        deflated = view[stream.start : stream.end]
        unfolded = inflate(deflated, stream.unfolded_size)
        parameters = search.probe(unfolded, deflated, stream.window_bits)
        if parameters is not None:
            found[stream] = parameters
    return found


def _folds(streams: Iterable[DeflateStream], start: int, end: int) -> Folds:
    """Describe the streams as they lie in ``[start, end)``."""
    folds: list[Fold] = []
    at = start
    for stream in streams:
        folds.append(Fold(stream.start - at, stream.folded_size, stream.unfolded_size))
        at = stream.end
    return Folds(tuple(folds), end - at)
