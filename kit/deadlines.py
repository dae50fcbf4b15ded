"""Who has waited too long: one patience for all, so that looking costs nothing per waiter."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

W = TypeVar("W", bound=Hashable)


class Deadlines(Generic[W]):
    """Waiters in the order in which their time is up. Belongs to one event loop.

    Ten thousand idle connections with a timer each would cost megabytes, and a turn through the
    heap of timers per request; here starting anew is a move to the end of a list.
    """

    def __init__(self, patience_s: float) -> None:
        self.patience_s = patience_s
        self._until: OrderedDict[W, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def __contains__(self, waiter: W) -> bool:
        return waiter in self._until

    def begin(self, waiter: W, now: float) -> None:
        """Let ``waiter`` have all of the time from ``now`` on, whatever was left."""
        self._until[waiter] = now + self.patience_s
        self._until.move_to_end(waiter)

    def begin_once(self, waiter: W, now: float) -> None:
        """Let ``waiter`` have all of the time from ``now`` on, unless its time runs already."""
        if waiter not in self._until:
            self.begin(waiter, now)

    def end(self, waiter: W) -> None:
        """Forget ``waiter``; it need not be known."""
        self._until.pop(waiter, None)

    def expired(self, now: float) -> list[W]:
        """Return whose time is up, and forget them."""
        late: list[W] = []
        for waiter, until in self._until.items():
            if until > now:
                break
            late.append(waiter)
        for waiter in late:
            del self._until[waiter]
        return late
