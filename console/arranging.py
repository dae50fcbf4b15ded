"""Order moves within files that are both read and overwritten, and save what would be lost. Pure.

Any order is safe: before a batch overwrites bytes that it or a later one still reads, they are
saved to a file of their own, and read from there. The order only decides how much is saved, and
so how much room it takes. Three are tried:

* **sweeping**: each file from its start, or from its end if more of it moves that way;
* **ascending**: each from its start, so that stored chunks give their room back before a file
  grows;
* **following holes**: whatever nobody reads any more is overwritten next. What moved there leaves
  a hole that is filled next, and so on; only where that ends in a circle something is saved.

Source: R. Burns, D. Long, "In-Place Reconstruction of Delta Compressed Files", PODC 1998.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from console.holes import Span, cut_move, follow_holes, merged
from console.script import Batch, File, Move, Part, Saved

BLOCK_SIZE = 4096
"""Room is given and taken in these, on most file systems."""

BATCH_SIZES = tuple(1 << log for log in range(25, 13, -1))
"""32 MiB to 16 KiB, tried from the largest: each batch costs some waits for the disk, and up to
twice its size in room."""

BATCH_COUNT_MAX = 1 << 14
"""More are not tried: at a few milliseconds each this is a minute or two of waiting."""

STEP_SIZE = 1 << 20
"""Holes are followed in steps of at most this; no chunk is larger."""

RECORD_SIZE = 32
"""At most this is added to the journal for each batch, in bytes."""


@dataclass(frozen=True)
class Draft:
    """What is to be moved, in no order; targets do not overlap."""

    files: tuple[File, ...]
    moves: Sequence[Move]
    sizes_before: Mapping[int, int]
    """Of every file that is a target, in bytes."""
    stored_sizes: Mapping[int, int]
    """Of files that are removed when nobody needs them any more."""


@dataclass(frozen=True)
class Arranged:
    """Moves in an order, with what it costs."""

    files: tuple[File, ...]
    """Those of the draft, and behind them the saved ones."""
    batches: tuple[Batch, ...]
    peak_size: int
    """Most that is held at a time beyond what is held before the first batch, in bytes."""
    written_size: int


def arrange(
    draft: Draft,
    room: int,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    *,
    size_of: Callable[[Arranged], int] = lambda _: 0,
) -> Arranged:
    """Return an arrangement that takes at most ``room`` bytes, or the one that takes least.

    ``size_of`` returns what it takes to write an arrangement down, which counts too. Smaller
    batches are tried until they take more for that than they save.
    """
    best, best_size = None, 0
    for batch_size in _worth_trying(draft, batch_sizes):
        is_better = False
        for order in (sweeping, ascending, _holes_of(batch_size)):
            found = arranged(draft, _cut(draft, order(draft.moves), batch_size), batch_size)
            if best is not None and found.peak_size >= best_size and found.peak_size > room:
                continue
            size = found.peak_size + size_of(found)
            if size <= room:
                return found
            if best is None or size < best_size:
                best, best_size, is_better = found, size, True
        if batch_size < STEP_SIZE and not is_better:
            break
    assert best is not None
    return best


def sweeping(moves: Sequence[Move]) -> list[Move]:
    """Return the moves file by file, from the start or from the end as most bytes move."""
    ordered: list[Move] = []
    for own in _by_target(moves):
        right = sum(_moved_right(move) for move in own)
        ordered += reversed(own) if right > 0 else own
    return ordered


def ascending(moves: Sequence[Move]) -> list[Move]:
    """Return the moves file by file, each from its start."""
    return [move for own in _by_target(moves) for move in own]


def arranged(draft: Draft, moves: Sequence[Move], batch_size: int) -> Arranged:
    """Put ``moves``, which are those of ``draft`` in some order, into batches."""
    bounds = list(_bounds(moves, batch_size))
    batch_of = [n for n, (first, last) in enumerate(bounds) for _ in range(first, last)]
    keeper = _Keeper(moves, batch_of, len(draft.files))
    for number, (first, last) in enumerate(bounds):
        keeper.save_before(number, [move.target for move in moves[first:last]])
    moved = [Move(move.target, tuple(keeper.sources(at))) for at, move in enumerate(moves)]
    droppable = {*draft.stored_sizes, *keeper.saved_files}
    drops, shrinks = _drops(moved, batch_of, droppable), _shrinks(moved, batch_of, droppable)
    batches = tuple(
        Batch(
            moves=tuple(moved[first:last]),
            saved=tuple(keeper.saved[number]),
            drops=tuple(drops.get(number, ())),
            shrinks=tuple(shrinks.get(number, ())),
        )
        for number, (first, last) in enumerate(bounds)
    )
    saved_names = tuple(File(f"saved.{n}", True) for n in range(len(keeper.saved_files)))
    return Arranged(
        files=(*draft.files, *saved_names),
        batches=batches,
        peak_size=_peak(draft, batches),
        written_size=sum(move.target.size for move in moved)
        + sum(saved.size for batch in batches for saved in batch.saved),
    )


def rounded(size: int) -> int:
    """Return what a file of ``size`` bytes takes."""
    return -(-size // BLOCK_SIZE) * BLOCK_SIZE


@dataclass(frozen=True, slots=True)
class _Reader:
    """A source that lies in a file that is overwritten."""

    start: int
    end: int
    move: int
    source: int


@dataclass(frozen=True, slots=True)
class _Rescued:
    """Where ``[start, end)`` of an overwritten file is kept."""

    start: int
    end: int
    file: int
    offset: int


@dataclass
class _Keeper:
    """Knows who reads what is about to be overwritten, and where it is kept then."""

    moves: Sequence[Move]
    batch_of: Sequence[int]
    next_file: int
    saved: list[list[Saved]] = field(default_factory=list)
    """By batch."""
    saved_files: list[int] = field(default_factory=list)
    _readers: dict[int, list[_Reader]] = field(default_factory=dict)
    _starts: dict[int, list[int]] = field(default_factory=dict)
    _size_max: int = 0
    _rescued: dict[tuple[int, int], list[_Rescued]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        targets = {move.target.file for move in self.moves}
        self._readers = {file: [] for file in targets}
        for at, move in enumerate(self.moves):
            for n, part in enumerate(move.sources):
                if part.file in targets:
                    self._readers[part.file].append(_Reader(part.offset, part.end, at, n))
                    self._size_max = max(self._size_max, part.size)
        for file, readers in self._readers.items():
            readers.sort(key=lambda reader: reader.start)
            self._starts[file] = [reader.start for reader in readers]

    def save_before(self, number: int, targets: Sequence[Part]) -> None:
        """Save what the batch ``number`` overwrites and somebody reads from now on.

        What only the batch itself reads is kept apart from the rest, to be dropped with it.
        """
        now: dict[int, list[Span]] = {}
        later: dict[int, list[Span]] = {}
        readers: list[tuple[int, _Reader, Span]] = []
        for file, spans in _spans(targets).items():
            for span in spans:
                for reader in self._reading(file, span):
                    batch = self.batch_of[reader.move]
                    if batch < number:
                        continue
                    shared = (max(span[0], reader.start), min(span[1], reader.end))
                    (now if batch == number else later).setdefault(file, []).append(shared)
                    readers.append((file, reader, shared))
        later = {file: merged(spans) for file, spans in later.items()}
        now = {file: _without(merged(spans), later.get(file, [])) for file, spans in now.items()}
        kept = {file: list[_Rescued]() for file in (*now, *later)}
        self.saved.append(
            [saved for spans in (now, later) if (saved := self._save(spans, kept)) is not None]
        )
        for rescued in kept.values():
            rescued.sort(key=lambda each: each.start)
        for file, reader, shared in readers:
            mine = self._rescued.setdefault((reader.move, reader.source), [])
            mine += _within(kept[file], shared)

    def sources(self, at: int) -> Iterator[Part]:
        """Yield where the move ``at`` reads its bytes, given all that was saved."""
        for n, part in enumerate(self.moves[at].sources):
            done = part.offset
            for rescued in sorted(self._rescued.get((at, n), ()), key=lambda each: each.start):
                if rescued.start > done:
                    yield Part(part.file, done, rescued.start - done)
                yield Part(rescued.file, rescued.offset, rescued.end - rescued.start)
                done = rescued.end
            if done < part.end:
                yield Part(part.file, done, part.end - done)

    def _save(
        self, spans: Mapping[int, Sequence[Span]], kept: Mapping[int, list[_Rescued]]
    ) -> Saved | None:
        parts: list[Part] = []
        offset = 0
        for file, own in spans.items():
            for start, end in own:
                kept[file].append(_Rescued(start, end, self.next_file, offset))
                parts.append(Part(file, start, end - start))
                offset += end - start
        if not parts:
            return None
        self.saved_files.append(self.next_file)
        self.next_file += 1
        return Saved(self.saved_files[-1], tuple(parts))

    def _reading(self, file: int, span: Span) -> Iterator[_Reader]:
        starts, readers = self._starts[file], self._readers[file]
        first = bisect_right(starts, span[0] - self._size_max)
        for reader in readers[first : bisect_left(starts, span[1])]:
            if reader.end > span[0]:
                yield reader


def _worth_trying(draft: Draft, batch_sizes: Sequence[int]) -> Iterator[int]:
    moved_size = sum(move.target.size for move in draft.moves)
    for size in batch_sizes:
        if size >= STEP_SIZE or moved_size <= size * BATCH_COUNT_MAX:
            yield size


def _cut(draft: Draft, moves: Sequence[Move], size_max: int) -> list[Move]:
    """Return ``moves`` in pieces of at most so many bytes.

    The last piece comes first where the move goes towards the end of its own file, so that none
    overwrites what the next one reads; and where a stored chunk is read, so that it can be cut
    off piece by piece.
    """
    found: list[Move] = []
    for move in moves:
        target = move.target
        bounds = [*range(target.offset, target.end, size_max), target.end]
        pieces = [cut_move(move, *span) for span in itertools.pairwise(bounds)]
        is_stored = move.sources[0].file in draft.stored_sizes
        found += reversed(pieces) if is_stored or _moved_right(move) > 0 else pieces
    return found


def _by_target(moves: Sequence[Move]) -> list[list[Move]]:
    found: dict[int, list[Move]] = {}
    for move in moves:
        found.setdefault(move.target.file, []).append(move)
    return [sorted(own, key=lambda move: move.target.offset) for own in found.values()]


def _moved_right(move: Move) -> int:
    """Return how many bytes of a move go towards the end of their file, less those that do not."""
    at, right = move.target.offset, 0
    for part in move.sources:
        if part.file == move.target.file:
            right += part.size if at > part.offset else -part.size
        at += part.size
    return right


def _holes_of(batch_size: int) -> Callable[[Sequence[Move]], list[Move]]:
    return lambda moves: follow_holes(moves, min(batch_size, STEP_SIZE))


def _bounds(moves: Sequence[Move], batch_size: int) -> Iterator[Span]:
    first, size = 0, 0
    for at, move in enumerate(moves):
        if at > first and size + move.target.size > batch_size:
            yield first, at
            first, size = at, 0
        size += move.target.size
    if moves:
        yield first, len(moves)


def _spans(parts: Sequence[Part]) -> dict[int, list[Span]]:
    """Return what parts cover, by file, neighbours joined."""
    found: dict[int, list[Span]] = {}
    for part in parts:
        found.setdefault(part.file, []).append((part.offset, part.end))
    return {file: merged(spans) for file, spans in found.items()}


def _without(spans: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """Return ``spans`` less ``others``; both are sorted and disjoint."""
    left: list[Span] = []
    for start, end in spans:
        at = start
        first = max(0, bisect_right(others, (start, start)) - 1)
        for other_start, other_end in others[first:]:
            if other_start >= end:
                break
            if other_end <= at:
                continue
            if other_start > at:
                left.append((at, other_start))
            at = min(end, other_end)
        if at < end:
            left.append((at, end))
    return left


def _within(kept: Sequence[_Rescued], span: Span) -> Iterator[_Rescued]:
    """Yield what of ``kept``, sorted and disjoint, lies in ``span``, cut to it."""
    first = max(0, bisect_right(kept, span[0], key=lambda each: each.start) - 1)
    for each in kept[first:]:
        if each.start >= span[1]:
            return
        start, end = max(each.start, span[0]), min(each.end, span[1])
        if start < end:
            yield _Rescued(start, end, each.file, each.offset + start - each.start)


def _drops(
    moves: Sequence[Move], batch_of: Sequence[int], droppable: set[int]
) -> dict[int, list[int]]:
    last_use: dict[int, int] = {}
    for at, move in enumerate(moves):
        for part in move.sources:
            if part.file in droppable:
                last_use[part.file] = batch_of[at]
    found: dict[int, list[int]] = {}
    for file, batch in last_use.items():
        found.setdefault(batch, []).append(file)
    return found


def _shrinks(
    moves: Sequence[Move], batch_of: Sequence[int], droppable: set[int]
) -> dict[int, list[Part]]:
    """Return, by batch, what later ones read of files that it reads more of."""
    ends: dict[int, int] = {}
    left: dict[tuple[int, int], int] = {}
    for at in range(len(moves) - 1, -1, -1):
        for part in moves[at].sources:
            end = ends.get(part.file, 0)
            if part.file in droppable and part.end > end:
                left.setdefault((batch_of[at], part.file), end)
                ends[part.file] = part.end
    found: dict[int, list[Part]] = {}
    for (batch, file), end in left.items():
        if end:
            found.setdefault(batch, []).append(Part(file, 0, end))
    return found


def _peak(draft: Draft, batches: Sequence[Batch]) -> int:
    sizes = {file: rounded(size) for file, size in draft.stored_sizes.items()}
    growth = _Growth(draft.sizes_before)
    held, peak = 0, 0
    for batch in batches:
        held += RECORD_SIZE
        for saved in batch.saved:
            sizes[saved.file] = rounded(saved.size)
            held += sizes[saved.file]
        held += growth.grow([move.target for move in batch.moves])
        peak = max(peak, held)
        for part in batch.shrinks:
            held -= sizes[part.file] - rounded(part.end)
            sizes[part.file] = rounded(part.end)
        held -= sum(sizes[file] for file in batch.drops)
    return peak


class _Growth:
    """Counts the blocks that files gain beyond their old ends."""

    def __init__(self, sizes_before: Mapping[int, int]) -> None:
        self._ends = {file: rounded(size) for file, size in sizes_before.items()}
        self._shared: set[Span] = set()

    def grow(self, targets: Sequence[Part]) -> int:
        """Return the bytes that writing ``targets`` takes."""
        blocks = 0
        for file, spans in _spans(targets).items():
            for start, end in spans:
                first = max(start, self._ends[file]) // BLOCK_SIZE
                last = -(-end // BLOCK_SIZE) - 1
                if end <= self._ends[file]:
                    continue
                edges = {(file, first), (file, last)}
                blocks += last - first + 1 - len(edges & self._shared)
                self._shared |= edges
        return blocks * BLOCK_SIZE
