"""Put new chunks together that one delta shall make, within what it may make and take."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chunks.delta import BASE_SIZE_MAX, DELTA_SIZE_MAX, TARGET_SIZE_MAX
from packager.chunk_source import ChunkSource
from packager.delta_sources import Sources

ALONE_SIZE_MAX = 8 << 20
"""Plain bytes packed together that have no base: more would not fit the packer's window."""

DENSE_RUN_SIZE_MAX = 2 << 20
DENSE_BASE_SIZE_MAX = 5 << 20
"""What looks compressed may unfold to a few times its size, and that has the same limits."""


@dataclass(frozen=True, slots=True)
class Run:
    """New rows to be made together, and the old rows they are made of."""

    rows: tuple[int, ...]
    old_rows: tuple[int, ...]
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    """Rows around them, to see deflate streams whole that begin or end there."""


def runs_of(old: ChunkSource, new: ChunkSource, sources: Sequence[Sources]) -> Iterator[Run]:
    """Yield runs of rows, whose targets and bases keep to the limits of a delta.

    Rows need not be neighbours: what is packed together is packed better. Two kinds make runs of
    their own: those that look or are compressed, for one looks into archives only where rows follow
    each other; and those that have nothing to be made of, for any console can use these.
    """
    dense = _dense_rows(new)
    based = [each for each in sources if each.old_rows]
    plain = [each for each in based if not (dense[each.row] or each.holds_streams)]
    yield from runs_within(old, new, plain, Limits(TARGET_SIZE_MAX, BASE_SIZE_MAX))
    compressed = [each for each in based if dense[each.row] or each.holds_streams]
    limits = Limits(DENSE_RUN_SIZE_MAX, DENSE_BASE_SIZE_MAX, follow_each_other=True)
    for run in runs_within(old, new, compressed, limits):
        yield _with_neighbours(new, run)
    alone = [each for each in sources if not each.old_rows]
    yield from runs_within(old, new, alone, Limits(ALONE_SIZE_MAX, 0))


class Limits(NamedTuple):
    """How much a run may make, of how much, in bytes; and whether its rows are neighbours."""

    size: int
    base_size: int
    follow_each_other: bool = False


def runs_within(
    old: ChunkSource, new: ChunkSource, sources: Iterable[Sources], limits: Limits
) -> Iterator[Run]:
    """Yield ``sources`` in order, as many together as ``limits`` allow; at least one."""
    rows: list[int] = []
    old_rows: set[int] = set()
    size = plain_size = base_size = 0
    for found in sources:
        added = [row for row in found.old_rows if row not in old_rows]
        row_plain_size = int(new.build.chunks.stored_sizes[found.row])
        size += new.sizes[found.row]
        plain_size += row_plain_size
        base_size += size_of(old, added)
        is_apart = limits.follow_each_other and rows and rows[-1] + 1 != found.row
        # A payload larger than the plain chunks would not pay: so none is beyond its limit.
        is_much = size > limits.size or plain_size > DELTA_SIZE_MAX
        if rows and (is_apart or is_much or base_size > limits.base_size):
            yield Run(tuple(rows), tuple(sorted(old_rows)))
            rows, old_rows, added = [], set(), list(found.old_rows)
            size, plain_size = new.sizes[found.row], row_plain_size
            base_size = size_of(old, added)
        rows.append(found.row)
        old_rows.update(added)
    if rows:
        yield Run(tuple(rows), tuple(sorted(old_rows)))


def _dense_rows(source: ChunkSource) -> NDArray[np.bool_]:
    """Return which rows gained nothing when they were stored: they are compressed already."""
    chunks = source.build.chunks
    dense: NDArray[np.bool_] = chunks.sizes == chunks.stored_sizes
    return dense


def _with_neighbours(new: ChunkSource, run: Run) -> Run:
    """Return ``run`` with the row before and the one after it, where there are such."""
    before = range(max(run.rows[0] - 1, 0), run.rows[0])
    after = range(run.rows[-1] + 1, min(run.rows[-1] + 2, len(new.sizes)))
    return dataclasses.replace(run, before=tuple(before), after=tuple(after))


def size_of(source: ChunkSource, rows: Iterable[int]) -> int:
    """Return the plain bytes of ``rows``."""
    return sum(source.sizes[row] for row in rows)
