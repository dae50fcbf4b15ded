"""What to drop when a cache is full: S3-FIFO over sizes in bytes. Pure: it decides, others delete.

A newcomer goes to *small*, a tenth of the budget; most are never asked for again and leave from
there. What was asked for twice meanwhile moves on to *main*. What left small is remembered in
*ghost*, by key alone; if it comes back, it goes to main at once. Main is a second-chance queue:
what was asked for since its last turn goes round again.

Three things a cache of releases knows beyond that:

* What a newer build has *superseded* leaves first, unless it is still asked for.
* What was *pushed* here before anybody asked for it has half of small's room, once the cache is
  full: a preload of one title does not wash out the others.
* What is *pinned* does not leave until its deadline. Pins are a fifth of the budget at most.

Source: Yang et al., "FIFO Queues are All You Need for Cache Eviction", SOSP 2023, algorithm 1.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from copy import copy
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

SMALL_SHARE = 10
"""Small holds one in so many bytes: the paper's choice, flat between 5 and 20 %."""
PUSHED_SHARE = 20
"""What was pushed and not asked for holds one in so many bytes of a full cache."""
PINNED_SHARE = 5
"""Pins hold one in so many bytes: more would leave too little to follow what is asked for."""
COUNT_MAX = 3
"""Uses are counted in two bits: more would keep what was popular once for ever."""
PROMOTE_AT = 2
GHOSTS_PER_ENTRY = 1
"""Ghost remembers as many keys as there are entries; at 1 MiB an entry this is next to nothing."""
STALE_MAX = 64
"""A queue is swept once it holds so many more that have left it than that are in it."""

GONE, SMALL, MAIN, PUSHED, SUPERSEDED, PINNED = range(6)

K = TypeVar("K", bound=Hashable)


class Entry(msgspec.Struct, Generic[K], gc=False):
    """One blob, as far as the policy is concerned. Subclasses say where ``uses`` is counted."""

    key: K
    size: int
    """Bytes it takes from the budget."""
    place: int = GONE
    """The queue it is in."""

    def let_go(self) -> None:
        """Hold on to nothing: this object is passed over later, and another stands for it."""

    if TYPE_CHECKING:

        @property
        def uses(self) -> int:
            """How often it was asked for since its last turn, up to ``COUNT_MAX``."""

        @uses.setter
        def uses(self, count: int) -> None: ...


class Counted(Entry[K], Generic[K], gc=False):
    """An entry that counts for itself."""

    uses: int = 0

    def use(self) -> None:
        """Note that it was asked for."""
        self.uses = min(self.uses + 1, COUNT_MAX)


E = TypeVar("E", bound=Entry[Any])


class Pinned(Enum):
    """What became of a wish to pin."""

    YES = "pinned"
    ABSENT = "not cached"
    NO_ROOM = "pins have all the room they may have"


class _Queue(Generic[E]):
    """Entries in order. Leaving out of turn is free: whoever left is passed over later."""

    def __init__(self, place: int) -> None:
        self.place = place
        self.size = 0
        self._count = 0
        self._line: deque[E] = deque()

    def __len__(self) -> int:
        return self._count

    def append(self, entry: E) -> None:
        entry.place = self.place
        self._line.append(entry)
        self._count += 1
        self.size += entry.size

    def leave(self, entry: E) -> None:
        """Take ``entry`` out of turn; this object never comes back into any queue."""
        entry.place = GONE
        self._count -= 1
        self.size -= entry.size
        if len(self._line) > 2 * self._count + STALE_MAX:
            self._line = deque(entry for entry in self._line if entry.place == self.place)

    def pop(self) -> E:
        while True:
            entry = self._line.popleft()
            if entry.place == self.place:
                entry.place = GONE
                self._count -= 1
                self.size -= entry.size
                return entry


class S3Fifo(Generic[E]):
    """Keeps the sizes of what is cached at or below ``size_max`` bytes, always."""

    def __init__(self, size_max: int) -> None:
        assert size_max >= 0
        self.size_max = size_max
        self.size = 0
        """Bytes of all entries."""
        self._entries: dict[Hashable, E] = {}
        self._small: _Queue[E] = _Queue(SMALL)
        self._main: _Queue[E] = _Queue(MAIN)
        self._pushed: _Queue[E] = _Queue(PUSHED)
        self._superseded: _Queue[E] = _Queue(SUPERSEDED)
        self._pinned: _Queue[E] = _Queue(PINNED)
        self._queues = {
            queue.place: queue
            for queue in (self._small, self._main, self._pushed, self._superseded, self._pinned)
        }
        self._deadlines: list[tuple[float, int, E]] = []
        self._pin_count = 0
        self._ghost: OrderedDict[Hashable, None] = OrderedDict()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[E]:
        return iter(self._entries.values())

    @property
    def pinned(self) -> tuple[int, int]:
        """How many are pinned, and their bytes."""
        return len(self._pinned), self._pinned.size

    @property
    def superseded(self) -> tuple[int, int]:
        """How many leave before all others, and their bytes."""
        return len(self._superseded), self._superseded.size

    @property
    def pinned_size(self) -> int:
        """Bytes of all that is pinned."""
        return self._pinned.size

    def can_hold(self, size: int) -> bool:
        """Tell whether an entry of ``size`` bytes fits at all, beside what is pinned."""
        return size <= self.size_max - self._pinned.size

    def get(self, key: Hashable) -> E | None:
        """Return the entry of ``key`` if it is cached. Hold it no longer than to the next call."""
        return self._entries.get(key)

    def admit(self, entry: E, *, is_pushed: bool = False) -> list[E]:
        """Take in ``entry``, and return what must be dropped for it: afterwards the budget holds.

        ``entry`` must fit (:meth:`can_hold`). If its key is cached already, that entry is not
        among those returned: see :meth:`remove`. Their ``place`` is the queue they left from.
        """
        self.remove(entry.key)
        assert self.can_hold(entry.size)
        victims: list[E] = []
        while self.size + entry.size > self.size_max:
            self._evict(victims)
        self.size += entry.size
        self._entries[entry.key] = entry
        if entry.key in self._ghost:
            del self._ghost[entry.key]
            self._main.append(entry)
        else:
            (self._pushed if is_pushed else self._small).append(entry)
        return victims

    def remove(self, key: Hashable) -> E | None:
        """Forget ``key``, which is gone for another reason than room; return what it had."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.size -= entry.size
            self._queues[entry.place].leave(entry)
        return entry

    def clear(self) -> None:
        """Forget all."""
        for key, entry in list(self._entries.items()):
            self.remove(key)
            entry.let_go()
        self._deadlines.clear()
        self._ghost.clear()

    def supersede(self, key: Hashable) -> bool:
        """Let ``key`` leave before all others; tell whether it is cached and not pinned."""
        entry = self._entries.get(key)
        if entry is None or entry.place == PINNED:
            return False
        if entry.place != SUPERSEDED:
            self._move(entry, self._superseded).uses = 0
        return True

    def pin(self, key: Hashable, until: float) -> Pinned:
        """Keep ``key`` until a moment on the clock that :meth:`unpin_expired` is told."""
        entry = self._entries.get(key)
        if entry is None:
            return Pinned.ABSENT
        is_new = entry.place != PINNED
        if is_new and (self._pinned.size + entry.size) * PINNED_SHARE > self.size_max:
            return Pinned.NO_ROOM
        self._pin_count += 1
        pin = until, self._pin_count, self._move(entry, self._pinned)
        heapq.heappush(self._deadlines, pin)
        return Pinned.YES

    def unpin(self, key: Hashable) -> bool:
        """Let ``key`` take its turns again, as a newcomer; tell whether it was pinned."""
        entry = self._entries.get(key)
        if entry is None or entry.place != PINNED:
            return False
        self._move(entry, self._small)
        return True

    def unpin_expired(self, now: float) -> None:
        """Unpin all whose deadline is over."""
        while self._deadlines and self._deadlines[0][0] <= now:
            _, _, entry = heapq.heappop(self._deadlines)
            if entry.place == PINNED:  # the same object: not unpinned, or pinned anew, since
                self._move(entry, self._small)

    def evict(self) -> list[E]:
        """Drop one entry, the first in line; empty if there is none but what is pinned."""
        victims: list[E] = []
        while not victims and len(self._pinned) < len(self):
            self._evict(victims)
        return victims

    def _move(self, entry: E, queue: _Queue[E]) -> E:
        """Put ``entry`` into another queue, out of turn."""
        moved = copy(entry)  # the old object stays in its line, marked as gone
        self._queues[entry.place].leave(entry)
        self._entries[moved.key] = moved
        queue.append(moved)
        entry.let_go()
        return moved

    def _evict(self, victims: list[E]) -> None:
        """Make one step towards room: drop one entry, or move one on."""
        if self._superseded:
            self._take_turn(self._superseded, PROMOTE_AT, victims)
        elif self._pushed and (
            self._pushed.size * PUSHED_SHARE >= self.size_max or not (self._small or self._main)
        ):
            self._take_turn(self._pushed, 1, victims)
        elif self._small and (self._small.size * SMALL_SHARE >= self.size_max or not self._main):
            entry = self._take_turn(self._small, PROMOTE_AT, victims)
            if entry.place != MAIN:
                self._remember(entry.key)
        elif self._main:
            self._evict_main(victims)
        else:
            self._take_turn(self._pushed, 1, victims)

    def _take_turn(self, queue: _Queue[E], promote_at: int, victims: list[E]) -> E:
        entry = queue.pop()
        if entry.uses >= promote_at:
            entry.uses = 0
            self._main.append(entry)
        else:
            self._drop(entry, queue, victims)
        return entry

    def _evict_main(self, victims: list[E]) -> None:
        entry = self._main.pop()
        uses = entry.uses
        if uses:
            entry.uses = uses - 1
            self._main.append(entry)
        else:
            self._drop(entry, self._main, victims)

    def _drop(self, entry: E, queue: _Queue[E], victims: list[E]) -> None:
        entry.place = queue.place  # tells whoever counts from where it left
        del self._entries[entry.key]
        self.size -= entry.size
        victims.append(entry)

    def _remember(self, key: Hashable) -> None:
        self._ghost[key] = None
        while len(self._ghost) > GHOSTS_PER_ENTRY * max(1, len(self)):
            self._ghost.popitem(last=False)
