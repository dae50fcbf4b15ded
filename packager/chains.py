"""Follow the delta sets that take a console from one build to another, and say what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chunks.plan import range_requests
from manifests.changes import missing_rows
from manifests.delta_index import DeltaIndex
from manifests.delta_plan import (
    DEPTH_MAX,
    Patches,
    Step,
    choose_patches,
    made_by,
    step_from,
    unmade_bases,
)
from manifests.documents import DeltaRef, ObjectRef
from manifests.model import Build
from packager.explain import wanted_of
from packager.title_store import TitleStore

Link = tuple[ObjectRef, DeltaIndex]
"""A delta set's index: how it is named, and what it says."""


@dataclass(frozen=True, slots=True)
class Chain:
    """The delta sets that a console goes by, the last step first, as it fetches them."""

    links: tuple[Link, ...]
    is_whole: bool
    """Whether they lead all the way."""

    @property
    def indexes(self) -> list[DeltaIndex]:
        """What their indexes say."""
        return [index for _, index in self.links]

    @property
    def index_size(self) -> int:
        """Bytes of all indexes."""
        return sum(ref.size for ref, _ in self.links)


@dataclass(frozen=True, slots=True)
class Cost:
    """What an update downloads; sizes in bytes, gaps included."""

    patches: Patches
    undelta_rows: tuple[int, ...]
    """Rows that come as plain chunks."""
    undelta_size: int
    request_count: int
    plain_size: int
    """What it would be without deltas."""

    @property
    def size(self) -> int:
        """Of deltas and plain chunks."""
        return self.patches.download_size + self.undelta_size

    @property
    def detour_size(self) -> int:
        """Of deltas, as far as they make what the new build has not: stepping stones above all."""
        return sum(map(_detour_size, self.patches.steps()))


async def follow(
    store: TitleStore,
    refs: Sequence[DeltaRef],
    old: Build,
    new: Build,
    *,
    base: int,
    at: int,
    first: Link | None = None,
) -> Chain:
    """Return the delta sets that a console fetches on its way from ``old`` to ``new``.

    Args:
        store: Holds the indexes.
        refs: Sets that a head names.
        old: What the console has.
        new: What it shall have.
        base: Counter of the release that ``old`` is.
        at: Counter of the release that the first of ``refs`` to be followed leads to.
        first: The last step, if that is taken already; no head names it yet.

    Raises:
        NotFound, IntegrityError, FormatError: An index is missing or damaged.
    """
    missing = missing_rows(new, old.row_of.__contains__).tolist()
    wanted = {new.chunks.chunk_id(row) for row in missing}
    links: list[Link] = []

    def take(link: Link) -> None:
        nonlocal wanted
        links.append(link)
        needed = unmade_bases(link[1], wanted, old.row_of)
        wanted = needed | (wanted - made_by(link[1]))

    if first is not None:
        take(first)
    while wanted and len(links) < DEPTH_MAX and at != base:
        ref = step_from(refs, at, base)
        if ref is None:
            break
        take((ref.index, await store.delta_index(ref.index)))
        at = ref.base
    return Chain(tuple(links), is_whole=at == base)


def cost_of(old: Build, new: Build, indexes: Sequence[DeltaIndex]) -> Cost:
    """Return what a console downloads that has ``old`` and is told of these delta sets."""
    rows = missing_rows(new, old.row_of.__contains__).tolist()
    patches = choose_patches(new, rows, indexes, old.row_of)
    left = [row for row in rows if row not in patches.rows]
    undelta_size, undelta_count = _requested(new, left)
    return Cost(
        patches=patches,
        undelta_rows=tuple(left),
        undelta_size=undelta_size,
        request_count=patches.request_count + undelta_count,
        plain_size=_requested(new, rows)[0],
    )


def _detour_size(step: Step) -> int:
    wanted_size = sum(size for size, row in zip(step.sizes, step.rows, strict=True) if row >= 0)
    return step.delta.size * (step.target_size - wanted_size) // step.target_size


def _requested(build: Build, rows: Sequence[int]) -> tuple[int, int]:
    """Return bytes and number of the requests for plain chunks."""
    requests = list(range_requests(wanted_of(build, np.array(rows, np.uint32))))
    return sum(request.size for request in requests), len(requests)
