"""How often somebody may ask for what does not exist.

Whoever makes up digests has an edge ask its upstream for each of them. A console that is told of an
object by a manifest asks for it because it exists, so misses are rare, and a budget of them stops
nobody but those who guess.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from kit.clock import Clock
from kit.errors import NotFound, Unavailable

ASKERS_MAX = 4096
"""As many are remembered; a forgotten one starts anew, for which that many others are needed."""


class TooManyMisses(Unavailable):
    """Who asks has asked for too much that does not exist."""

    code = "too-many-misses"
    status = 429


@dataclass(frozen=True, slots=True)
class Budget:
    """Misses at once, and how many come back a second. What is under way counts until it is found,
    so ``burst`` must not be below what one asker has under way."""

    burst: int
    per_s: float


PLAYER = Budget(burst=128, per_s=1.0)
"""Twice what a console may have under way."""

ADDRESS = Budget(burst=128, per_s=4.0)
"""Of an address, for what needs no lease: heads and releases of titles that nobody published. Many
consoles may share one; who floods from one holds up nobody else's."""


@dataclass(slots=True)
class _Account:
    left: float
    counted_at: float
    """On the monotonic clock."""


class Misses:
    """Counts misses of every asker. Belongs to one event loop; does no I/O."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._accounts: OrderedDict[str, _Account] = OrderedDict()

    @contextmanager
    def counting(self, asker: str, budget: Budget) -> Iterator[None]:
        """Let ``asker`` look for something; it costs nothing unless the block raises NotFound.

        Raises:
            TooManyMisses: Its budget is used up.
        """
        account = self._account(asker, budget)
        if account.left < 1:
            raise TooManyMisses(
                f"{asker} asked for {budget.burst} things that do not exist; wait a little"
            )
        account.left -= 1
        try:
            yield
        except NotFound:
            raise
        except BaseException:
            account.left += 1
            raise
        else:
            account.left += 1

    def _account(self, asker: str, budget: Budget) -> _Account:
        now = self._clock.monotonic()
        account = self._accounts.setdefault(asker, _Account(budget.burst, now))
        self._accounts.move_to_end(asker)
        earned = (now - account.counted_at) * budget.per_s
        account.left, account.counted_at = min(budget.burst, account.left + earned), now
        if len(self._accounts) > ASKERS_MAX:
            self._accounts.popitem(last=False)
        return account
