"""Put new chunks together that one delta shall make, within what it may make and take."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chunks.delta import BASE_SIZE_MAX, DELTA_SIZE_MAX, TARGET_SIZE_MAX
from manifests.model import Build
from packager.chunk_source import ChunkSource
from packager.delta_sources import Sources

ALONE_SIZE_MAX = 8 << 20
"""Plain bytes packed together that have no base: more would not fit the packer's window."""

DEFLATED_RUN_SIZE_MAX = 2 << 20
DEFLATED_BASE_SIZE_MAX = 5 << 20
"""What is deflated may unfold to a few times its size, and that has the same limits."""


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

    Rows need not be neighbours: what is packed together is packed better. Three kinds make runs of
    their own: those that are deflated, for one looks into archives only where rows follow each
    other; those compressed in another way, of which only repeats are found, so that they would but
    take room from others; and those that have nothing to be made of, for any console can use these.
    """
    dense = _dense_rows(new)
    deflated = _deflated_rows(new, sources, dense)
    based = [each for each in sources if each.old_rows]
    whole = Limits(TARGET_SIZE_MAX, BASE_SIZE_MAX)
    for is_dense in (False, True):
        found = (s for s in based if s.row not in deflated and dense[s.row] == is_dense)
        yield from runs_within(old, new, found, whole)
    limits = Limits(DEFLATED_RUN_SIZE_MAX, DEFLATED_BASE_SIZE_MAX, follow_each_other=True)
    for run in runs_within(old, new, (s for s in based if s.row in deflated), limits):
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


def _deflated_rows(
    new: ChunkSource, sources: Sequence[Sources], dense: NDArray[np.bool_]
) -> set[int]:
    """Return the rows that hold deflate streams, or may be the rest of one."""
    first_of_file = _first_rows(new.build)
    found = {each.row for each in sources if each.holds_streams}
    fresh = {each.row for each in sources}
    for each in sources:
        before = each.row - 1
        if before < 0 or not dense[each.row] or each.row in first_of_file:
            continue
        # A row that stays was not looked into: a stream may have begun in it.
        if before in found if before in fresh else dense[before]:
            found.add(each.row)
    return found


def _first_rows(build: Build) -> set[int]:
    """Return the rows with which a file begins somewhere."""
    found: set[int] = set()
    for shard in build.shards:
        starts = shard.chunk_starts[: len(shard.occurrences)]
        found.update(shard.occurrences[np.isin(starts, shard.entry_starts)].tolist())
    return found


def _with_neighbours(new: ChunkSource, run: Run) -> Run:
    """Return ``run`` with the row before and the one after it, where there are such."""
    before = range(max(run.rows[0] - 1, 0), run.rows[0])
    after = range(run.rows[-1] + 1, min(run.rows[-1] + 2, len(new.sizes)))
    return dataclasses.replace(run, before=tuple(before), after=tuple(after))


def size_of(source: ChunkSource, rows: Iterable[int]) -> int:
    """Return the plain bytes of ``rows``."""
    return sum(source.sizes[row] for row in rows)
