"""Decide whether a build a few releases back deserves a delta set of its own. Pure.

A console that skipped a release goes by the sets of the releases between. Where these changed
different chunks that costs next to nothing more; where each changed the same ones again, as in
recompiled programs, it pays for stepping stones. What an own set can spare it is known before one
is made: at most the stones, and what comes as plain chunks though there is a delta for it.

What the sets on the way make of chunks that the older build has as well is borrowed from them, not
made again. What one of them was made for and found no delta that pays is not tried again.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from chunks.chunk_id import ChunkId
from manifests.changes import missing_rows
from manifests.delta_index import DeltaIndex, StoredDelta
from manifests.delta_plan import made_by
from manifests.model import Build
from packager.chains import Chain, Cost
from packager.patches import SAVED_SIZE_MIN, Borrowed

OVERHEAD_PERCENT_MAX = 3
"""What a way in steps may cost beyond a set of its own before one is made."""

Reason = Literal["few-stones", "no-time", "spares-little"]
"""Why there is no own set. ``few-stones``: known before anything was made. ``no-time``: it would
take more of it than there is. ``spares-little``: it was made and then was not worth naming."""


class OwnSetOmitted(msgspec.Struct, frozen=True, kw_only=True):
    """Why a build has no delta set of its own; sizes in bytes, indexes included."""

    reason: Reason
    way_size: int
    """What consoles that have it download now, going by the sets of the releases between."""
    spared_size: int
    """What of that an own set would spare them; before it is made, at most."""


@dataclass(frozen=True, slots=True)
class Prospect:
    """What an own set may be worth; sizes in bytes, indexes included."""

    way_size: int
    """What is downloaded without it."""
    spared_size_max: int
    borrowed: Borrowed

    @property
    def would_pay(self) -> bool:
        """Whether it is worth trying."""
        return is_worth(self.way_size, self.spared_size_max)

    def omitted(self, reason: Reason, spared_size: int | None = None) -> OwnSetOmitted:
        """Return that none was made or named, and why."""
        spared = self.spared_size_max if spared_size is None else spared_size
        return OwnSetOmitted(reason=reason, way_size=self.way_size, spared_size=spared)


def is_worth(way_size: int, spared_size: int) -> bool:
    """Tell whether a way without these bytes is enough smaller: what is left, and 3 %, is less."""
    is_much = spared_size * 100 > (way_size - spared_size) * OVERHEAD_PERCENT_MAX
    return is_much and spared_size >= SAVED_SIZE_MIN


def prospect(
    chain: Chain, cost: Cost, others: Iterable[DeltaIndex], builds: tuple[Build, Build, Build]
) -> Prospect:
    """Judge what a set of its own would be worth to a build.

    Args:
        chain: The sets its consoles go by.
        cost: What that costs them.
        others: More sets to borrow from.
        builds: The build itself, the one that the last step of the chain leads from, and the new.
    """
    old, before, new = builds
    made = {chunk_id for index in chain.indexes for chunk_id in made_by(index)}

    def is_open(row: int) -> bool:
        """Tell whether a delta might be found: not if a set on the way was made for it in vain."""
        chunk_id = new.chunks.chunk_id(row)
        return chunk_id in made or (not chain.is_whole and chunk_id in before.row_of)

    rows = missing_rows(new, old.row_of.__contains__).tolist()
    deltas = borrowed_deltas([*chain.indexes, *others], old, new)
    brought = {new.row_of[chunk_id] for delta in deltas for chunk_id in delta.targets}
    left = tuple(row for row in rows if row not in brought and is_open(row))
    plain_size = _stored_size(new, filter(is_open, cost.undelta_rows))
    later_index_size = chain.index_size - (chain.links[0][0].size if chain.links else 0)
    return Prospect(
        way_size=cost.size + chain.index_size,
        spared_size_max=cost.detour_size + plain_size + later_index_size,
        borrowed=Borrowed(deltas, left),
    )


def borrowed_deltas(
    indexes: Iterable[DeltaIndex], old: Build, new: Build
) -> tuple[StoredDelta, ...]:
    """Return the deltas that make, of chunks of ``old`` alone, chunks that only ``new`` has.

    None makes what another made before it, or anything else: that would be downloaded in vain.
    """
    wanted = set(new.row_of) - set(old.row_of)
    found: list[StoredDelta] = []
    for index in indexes:
        for number in range(len(index)):
            if _leads(index, number, old.row_of, wanted):
                found.append(index.delta(number))
                wanted.difference_update(found[-1].targets)
    return tuple(found)


def _leads(
    index: DeltaIndex, number: int, here: Container[ChunkId], wanted: Container[ChunkId]
) -> bool:
    ids = index.all_ids
    targets, bases = index.target_rows(number).tolist(), index.base_rows(number).tolist()
    return all(ids[row] in wanted for row in targets) and all(ids[row] in here for row in bases)


def _stored_size(build: Build, rows: Iterable[int]) -> int:
    return int(build.chunks.stored_sizes[list(rows)].sum(dtype=np.uint64))
