"""Choose which deltas to fetch instead of plain chunks. Pure.

A delta makes chunks of others. Those it needs are on this console, or another delta makes them:
a *stepping stone*, which nobody plays and which is thrown away in the end. So what is chosen is
sorted into levels; a level needs only what is here and what the levels before it made.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from chunks.chunk_id import ChunkId
from chunks.delta import FLAT_BASE_SIZE_MAX, FLAT_TARGET_SIZE_MAX, Method
from chunks.plan import RangeRequest, Wanted, range_requests
from manifests.delta_index import DeltaIndex, StoredDelta
from manifests.documents import DeltaRef
from manifests.model import Build, BundleRef

DEPTH_MAX = 3
"""Deltas in a row. Every further one is applied to make what a plain chunk gives at once."""

REQUEST_SIZE_MAX = 4 << 20
"""Half of that for plain chunks: for each byte of a delta twenty are read and hashed."""


NEEDS_MAX = 1_000_000
"""How many deltas all chosen ones together may stand on, each counted for each that stands on it:
some 64 MiB. An honest title has a few for each; what goes beyond is fetched as plain chunks."""

ROUNDS_MAX = 16
"""Each round drops what does not pay, so that others have more to pay. Two or three are usual; an
index could be made that drops one in each."""

STONE_SLACK = 4096
"""What the file of a stepping stone takes beyond its bytes, at most, with blocks of 4 KiB."""


@dataclass(frozen=True)
class Step:
    """One delta to be applied, and which rows of the new build it brings."""

    delta: StoredDelta
    sizes: tuple[int, ...]
    """Plain sizes of its targets."""
    base_size: int
    rows: tuple[int, ...]
    """The new build's row of each target, -1 for those not wanted there."""
    is_stone: bool
    """Whether a later step needs what it makes."""

    @property
    def target_size(self) -> int:
        """Plain bytes it makes."""
        return sum(self.sizes)

    @property
    def wanted_rows(self) -> list[int]:
        """The rows it brings."""
        return [row for row in self.rows if row >= 0]

    @property
    def memory(self) -> int:
        """Bytes held while it is applied: base, what the delta opens to, and target; of an archive
        the same unfolded besides."""
        open_size = min(2 * self.delta.size, self.target_size) + self.target_size
        if self.delta.method is Method.UNFOLDED:
            open_size += FLAT_BASE_SIZE_MAX + 2 * FLAT_TARGET_SIZE_MAX
        return self.base_size + open_size


@dataclass(frozen=True)
class Patches:
    """The chosen deltas, by level."""

    levels: tuple[tuple[Step, ...], ...] = ()

    @cached_property
    def rows(self) -> frozenset[int]:
        """All rows of the new build they bring."""
        return frozenset(row for step in self.steps() for row in step.wanted_rows)

    @property
    def count(self) -> int:
        """How many deltas are fetched."""
        return sum(map(len, self.levels))

    @property
    def stone_size(self) -> int:
        """Bytes written to disk that are no part of the new build."""
        return sum(step.target_size for step in self.steps() if step.is_stone)

    @property
    def stone_slack(self) -> int:
        """What the files that these are written to take beyond them, at most."""
        return sum(step.is_stone for step in self.steps()) * STONE_SLACK

    def steps(self) -> Iterator[Step]:
        """Yield every step, level by level."""
        for level in self.levels:
            yield from level

    @cached_property
    def requests(self) -> tuple[tuple[DeltaRequest, ...], ...]:
        """What is asked for, by level."""
        return tuple(tuple(_requests(level)) for level in self.levels)

    @property
    def download_size(self) -> int:
        """Bytes of all requests."""
        return sum(request.span.size for level in self.requests for request in level)

    @property
    def request_count(self) -> int:
        """How many requests there are."""
        return sum(map(len, self.requests))


@dataclass(frozen=True)
class DeltaRequest:
    """A span of one bundle, and the deltas it brings with where each lies in the bundle."""

    bundle: BundleRef
    span: RangeRequest
    steps: tuple[Step, ...]

    def payload(self, step: Step, stored: memoryview) -> memoryview:
        """Return the bytes of one of its deltas; ``stored`` are those of the span."""
        start = step.delta.offset - self.span.start
        return stored[start : start + step.delta.size]


@dataclass(frozen=True, slots=True)
class Stones:
    """Which stepping stones deltas may stand on."""

    room: int | None = None
    """What fresh ones may take on the disk, in bytes; None for as much as pays."""
    may_use_left: bool = True
    """Whether those may be used that an earlier attempt left."""


def no_patches(_rows: Sequence[int], _stones: Stones) -> Patches:
    """Choose none."""
    return Patches()


def choose_patches(
    new: Build,
    rows: Sequence[int],
    indexes: Sequence[DeltaIndex],
    here: Container[ChunkId],
    stones: Container[bytes] = frozenset(),
    *,
    stone_room: int | None = None,
) -> Patches:
    """Return the deltas that bring some of ``rows`` for fewer bytes than these chunks take.

    Args:
        new: The build to be.
        rows: Its chunks that would have to be fetched.
        indexes: Delta sets, the preferred first.
        here: Chunks that can be read on this console.
        stones: Checks of deltas whose targets an earlier attempt left in staging.
        stone_room: What stepping stones may take on the disk, in bytes; None for as much as pays.
    """
    if not indexes:
        return Patches()
    return _Choice(new, rows, indexes, here, stones).patches(stone_room)


_Key = tuple[int, int]
"""A delta: which index, and which of it."""


class _Choice:
    def __init__(
        self,
        new: Build,
        rows: Sequence[int],
        indexes: Sequence[DeltaIndex],
        here: Container[ChunkId],
        stones: Container[bytes],
    ) -> None:
        self._new = new
        self._indexes = indexes
        self._here = here
        self._stones = stones
        self._row_of = {new.chunks.chunk_id(row): row for row in rows}
        self._makers = [_makers(index) for index in indexes]
        self._plain_sizes: dict[_Key, int] = {}
        """What the rows that a chosen delta is the first to bring take as plain chunks."""
        self._first_makers: dict[ChunkId, _Key] = {}
        """Who that is, for each chunk."""
        self._needs: dict[tuple[_Key, int], frozenset[_Key] | None] = {}
        self._needs_left = NEEDS_MAX
        self._heights: dict[_Key, int] = {}
        self._target_sizes: dict[_Key, int] = {}

    def patches(self, stone_room: int | None) -> Patches:
        chosen = self._paying(self._wanted())
        if stone_room is not None:
            chosen = self._paying(self._within(stone_room, chosen))
        return self._sorted(chosen)

    def _paying(self, chosen: dict[_Key, frozenset[_Key]]) -> dict[_Key, frozenset[_Key]]:
        """Return ``chosen`` without what costs more than it spares."""
        for _ in range(ROUNDS_MAX):
            poor = self._poor(chosen)
            if not poor:
                return chosen
            for key in poor:
                del chosen[key]
        # What stands on nothing pays by itself: it would have been dropped in the first round.
        return {key: needs for key, needs in chosen.items() if not needs}

    def _within(
        self, room: int, chosen: Mapping[_Key, frozenset[_Key]]
    ) -> dict[_Key, frozenset[_Key]]:
        """Return of ``chosen`` those whose stepping stones fit into ``room``.

        Those come first that spare most for each byte of their stones; what several stand on takes
        of each its part.
        """
        uses = Counter(need for needs in chosen.values() for need in needs)
        parts = {
            key: sum(self._stone_room(need) / uses[need] for need in needs)
            for key, needs in chosen.items()
        }
        kept = {key: chosen[key] for key, part in parts.items() if not part}
        taken: set[_Key] = set()
        costly = [key for key, part in parts.items() if part]
        for key in sorted(costly, key=lambda key: (-self._spared(key) / parts[key], key)):
            fresh = chosen[key] - taken
            size = sum(map(self._stone_room, fresh))
            if size <= room:
                room -= size
                taken |= fresh
                kept[key] = chosen[key]
        return kept

    def _stone_room(self, key: _Key) -> int:
        """Return what a stepping stone takes on the disk: nothing more if it is there."""
        is_there = self._check(key) in self._stones
        return 0 if is_there else self._target_size(key) + STONE_SLACK

    def _target_size(self, key: _Key) -> int:
        if key not in self._target_sizes:
            index = self._indexes[key[0]]
            self._target_sizes[key] = int(index.sizes[index.target_rows(key[1])].sum())
        return self._target_sizes[key]

    def _wanted(self) -> dict[_Key, frozenset[_Key]]:
        """Return every possible delta that makes a wanted row, with all deltas it stands on."""
        chosen: dict[_Key, frozenset[_Key]] = {}
        brought: set[ChunkId] = set()
        for number, makers in enumerate(self._makers):
            for chunk_id in self._row_of:
                delta = makers.get(chunk_id)
                if delta is None or chunk_id in brought:
                    continue
                key = (number, delta)
                needs = self._needed(key, DEPTH_MAX)
                if needs is not None:
                    chosen[key] = needs
                    fresh = set(self._targets(key)) - brought
                    self._plain_sizes[key] = self._plain_size(fresh)
                    self._first_makers |= dict.fromkeys(fresh, key)
                    brought |= fresh
        return chosen

    def _needed(self, key: _Key, depth: int) -> frozenset[_Key] | None:
        """Return the deltas that make what delta ``key`` needs; None if it cannot be had."""
        if (key, depth) not in self._needs:
            self._needs[key, depth] = self._found_needs(key, depth)
        return self._needs[key, depth]

    def _found_needs(self, key: _Key, depth: int) -> frozenset[_Key] | None:
        makers: dict[_Key, None] = {}
        for chunk_id in self._bases(key):
            if chunk_id in self._here:
                continue
            maker = self._maker_of(chunk_id, key[0] + 1)
            if maker is None or depth == 1:
                return None
            makers[maker] = None
        needs = set(makers)
        for maker in makers:
            is_there = self._check(maker) in self._stones
            below = frozenset[_Key]() if is_there else self._needed(maker, depth - 1)
            if below is None:
                return None
            self._needs_left -= 1 + len(below)
            if self._needs_left < 0:
                return None
            needs |= below
        return frozenset(needs)

    def _maker_of(self, chunk_id: ChunkId, first: int) -> _Key | None:
        """Return the delta that makes a chunk. Only later indexes are asked: no circles."""
        for number in range(first, len(self._makers)):
            delta = self._makers[number].get(chunk_id)
            if delta is not None:
                return number, delta
        return None

    def _poor(self, chosen: Mapping[_Key, frozenset[_Key]]) -> list[_Key]:
        """Return the deltas that cost more than the plain chunks they spare.

        What several deltas stand on they pay together, each as much as it spares.
        """
        spared = {key: self._spared(key) for key in chosen}
        weights: defaultdict[_Key, int] = defaultdict(int)
        for key, needs in chosen.items():
            for need in needs:
                weights[need] += max(spared[key], 1)

        def shares(key: _Key) -> float:
            paid = (need for need in chosen[key] if need not in chosen)
            return sum(self._cost(need) * max(spared[key], 1) / weights[need] for need in paid)

        return [key for key in chosen if spared[key] <= shares(key)]

    def _spared(self, key: _Key) -> int:
        """Return how many bytes a delta spares if what it stands on costs nothing."""
        return self._plain_sizes[key] - self._size(key)

    def _cost(self, key: _Key) -> int:
        """Return what a stepping stone costs: nothing if it lies in staging."""
        return 0 if self._check(key) in self._stones else self._size(key)

    def _size(self, key: _Key) -> int:
        return int(self._indexes[key[0]].delta_sizes[key[1]])

    def _plain_size(self, targets: Iterable[ChunkId]) -> int:
        stored_sizes = self._new.chunks.stored_sizes
        rows = (self._row_of.get(chunk_id) for chunk_id in targets)
        return sum(int(stored_sizes[row]) for row in rows if row is not None)

    def _sorted(self, chosen: Mapping[_Key, frozenset[_Key]]) -> Patches:
        needed = {need for needs in chosen.values() for need in needs}
        heights = {key: self._height(key) for key in {*chosen, *needed}}
        levels: list[list[_Key]] = [[] for _ in range(max(heights.values(), default=0))]
        for key in sorted(heights):
            if key in chosen or self._check(key) not in self._stones:
                levels[heights[key] - 1].append(key)
        owners = {chunk: key for chunk, key in self._first_makers.items() if key in chosen}
        fresh = {key for key in needed if self._check(key) not in self._stones}
        taken: set[int] = set()
        steps = [
            tuple([self._step(key, key in fresh, owners, taken) for key in keys]) for keys in levels
        ]
        return Patches(tuple(level for level in steps if level))

    def _height(self, key: _Key) -> int:
        """Return how many deltas in a row end in this one, those not counted that left a stone."""
        if key not in self._heights:
            away = (chunk_id for chunk_id in self._bases(key) if chunk_id not in self._here)
            makers = {self._maker_of(chunk_id, key[0] + 1) for chunk_id in away}
            below = [m for m in makers if m and self._check(m) not in self._stones]
            self._heights[key] = 1 + max(map(self._height, below), default=0)
        return self._heights[key]

    def _step(
        self, key: _Key, is_stone: bool, owners: Mapping[ChunkId, _Key], taken: set[int]
    ) -> Step:
        """Describe a delta; it brings what nobody else brings or has been chosen for."""
        index = self._indexes[key[0]]
        delta = index.delta(key[1])
        rows: list[int] = []
        for chunk_id in delta.targets:
            row = self._row_of.get(chunk_id, -1)
            is_ours = row not in taken and owners.get(chunk_id, key) == key
            rows.append(row if is_ours else -1)
        taken.update(rows)
        taken.discard(-1)
        return Step(
            delta=delta,
            sizes=tuple(index.sizes[index.target_rows(key[1])].tolist()),
            base_size=int(index.sizes[index.base_rows(key[1])].sum()),
            rows=tuple(rows),
            is_stone=is_stone,
        )

    def _check(self, key: _Key) -> bytes:
        check: bytes = self._indexes[key[0]].checks[key[1]].tobytes()
        return check

    def _targets(self, key: _Key) -> list[ChunkId]:
        index = self._indexes[key[0]]
        return [index.all_ids[row] for row in index.target_rows(key[1]).tolist()]

    def _bases(self, key: _Key) -> list[ChunkId]:
        index = self._indexes[key[0]]
        return [index.all_ids[row] for row in index.base_rows(key[1]).tolist()]


def step_from(refs: Sequence[DeltaRef], target: int, own_counter: int) -> DeltaRef | None:
    """Return the set that leads to release ``target``: from one's own release if there is one."""
    leading = [ref for ref in refs if ref.target == target]
    own = (ref for ref in leading if ref.base == own_counter)
    return next(own, leading[0] if leading else None)


def unmade_bases(
    index: DeltaIndex, wanted: Container[ChunkId], here: Container[ChunkId]
) -> set[ChunkId]:
    """Return what deltas that make ``wanted`` chunks need and this console has not."""
    ids, found = index.all_ids, set[ChunkId]()
    for delta in range(len(index)):
        if any(ids[row] in wanted for row in index.target_rows(delta).tolist()):
            found.update(
                ids[row] for row in index.base_rows(delta).tolist() if ids[row] not in here
            )
    return found


def made_by(index: DeltaIndex) -> frozenset[ChunkId]:
    """Return the chunks that the deltas of ``index`` make."""
    return frozenset(_makers(index))


def _makers(index: DeltaIndex) -> dict[ChunkId, int]:
    ids = index.all_ids
    return {
        ids[row]: delta for delta in range(len(index)) for row in index.target_rows(delta).tolist()
    }


def _requests(level: Sequence[Step]) -> Iterator[DeltaRequest]:
    bundles: dict[BundleRef, int] = {}
    wanted = [
        Wanted(
            number,
            bundles.setdefault(step.delta.bundle, len(bundles)),
            step.delta.offset,
            step.delta.offset + step.delta.size,
        )
        for number, step in enumerate(level)
    ]
    by_index = list(bundles)
    size_max = REQUEST_SIZE_MAX
    for span in range_requests(wanted, size_max=size_max, first_size=size_max):
        steps = tuple(level[chunk.row] for chunk in span.chunks)
        yield DeltaRequest(by_index[span.bundle_index], span, steps)
