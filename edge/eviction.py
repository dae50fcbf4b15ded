"""What to drop when a cache is full: S3-FIFO over sizes in bytes. Pure: it decides, others delete.

Three queues. A newcomer goes to *small*, a tenth of the budget; most are never asked for again
and leave from there. What was asked for twice meanwhile moves on to *main*. What left small
is remembered in *ghost*, by key alone; if it comes back, it goes to main at once. Main is a
second-chance queue: what was asked for since its last turn goes round again.

Source: Yang et al., "FIFO Queues are All You Need for Cache Eviction", SOSP 2023, algorithm 1.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

SMALL_SHARE = 10
"""Small holds one in so many bytes: the paper's choice, flat between 5 and 20 %."""
COUNT_MAX = 3
"""Uses are counted in two bits: more would keep what was popular once for ever."""
PROMOTE_AT = 2
GHOSTS_PER_ENTRY = 1
"""Ghost remembers as many keys as there are entries; at 1 MiB an entry this is next to nothing."""


@dataclass(slots=True)
class _Entry:
    size: int
    uses: int = 0


class S3Fifo(Generic[K]):
    """Keeps the sizes of what is cached at or below ``size_max`` bytes, always."""

    def __init__(self, size_max: int) -> None:
        assert size_max >= 0
        self.size_max = size_max
        self.size = 0
        """Bytes of all entries."""
        self._small: OrderedDict[K, _Entry] = OrderedDict()
        self._main: OrderedDict[K, _Entry] = OrderedDict()
        self._ghost: OrderedDict[K, None] = OrderedDict()
        self._small_size = 0

    def __contains__(self, key: K) -> bool:
        return key in self._small or key in self._main

    def __len__(self) -> int:
        return len(self._small) + len(self._main)

    def __iter__(self) -> Iterator[K]:
        yield from self._small
        yield from self._main

    def can_hold(self, size: int) -> bool:
        """Tell whether an entry of ``size`` bytes fits at all."""
        return size <= self.size_max

    def size_of(self, key: K) -> int:
        """Return the size of ``key`` in bytes, 0 if it is not cached."""
        entry = self._small.get(key) or self._main.get(key)
        return entry.size if entry is not None else 0

    def use(self, key: K) -> None:
        """Note that ``key`` was asked for; nothing happens if it is not cached."""
        entry = self._small.get(key) or self._main.get(key)
        if entry is not None:
            entry.uses = min(entry.uses + 1, COUNT_MAX)

    def admit(self, key: K, size: int) -> list[K]:
        """Take in ``key``, and return what must be dropped for it: afterwards the budget holds.

        ``size`` is in bytes and must fit (:meth:`can_hold`). A key that is cached already is
        taken in anew, with its new size.
        """
        assert self.can_hold(size)
        self.remove(key)
        victims: list[K] = []
        while self.size + size > self.size_max:
            victims += self._evict()
        self.size += size
        if key in self._ghost:
            del self._ghost[key]
            self._main[key] = _Entry(size)
        else:
            self._small[key] = _Entry(size)
            self._small_size += size
        return victims

    def remove(self, key: K) -> None:
        """Forget ``key``, which is gone for another reason than room."""
        entry = self._small.pop(key, None)
        if entry is not None:
            self._small_size -= entry.size
        else:
            entry = self._main.pop(key, None)
        if entry is not None:
            self.size -= entry.size

    def _evict(self) -> list[K]:
        """Make one step towards room: drop one entry, or move one on."""
        if self._small and (self._small_size * SMALL_SHARE >= self.size_max or not self._main):
            return self._evict_small()
        return self._evict_main()

    def _evict_small(self) -> list[K]:
        key, entry = self._small.popitem(last=False)
        self._small_size -= entry.size
        if entry.uses >= PROMOTE_AT:
            entry.uses = 0
            self._main[key] = entry
            return []
        self.size -= entry.size
        self._remember(key)
        return [key]

    def _evict_main(self) -> list[K]:
        key, entry = self._main.popitem(last=False)
        if entry.uses:
            entry.uses -= 1
            self._main[key] = entry
            return []
        self.size -= entry.size
        return [key]

    def _remember(self, key: K) -> None:
        self._ghost[key] = None
        while len(self._ghost) > GHOSTS_PER_ENTRY * max(1, len(self)):
            self._ghost.popitem(last=False)
