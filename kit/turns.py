"""Whether there is time for one more request: the turns of the event loop say it. Pure.

All that came while a turn was under way waits for the next, so how long turns take is how long
requests wait before anybody looks at them. A turn first goes on with what is under way; what it
has left of its time, new requests get:

1. a turn may take ``turn_s``; one that takes longer is late;
2. if for ``lasting_s`` every turn was late, there is more to do than can be done: *overloaded*.
   From then on requests that come up when the turn's time is over are refused;
3. saying no takes time, too, not much less than a small answer. It may have a twentieth of a
   turn; what comes up later is not answered for now, and its connection is listened to no more;
4. when no turn was late for ``lasting_s``, that is over.

Bursts are therefore served, and what lasts is cut to what can be served in time. The limit needs
no tuning: it is a time, whatever a request costs.

Source: Nichols and Jacobson, "Controlling Queue Delay" (CoDel), ACM Queue 10(5), 2012, which tells
a burst from a standing queue by time; Maurer, "Fail at Scale", ACM Queue 13(8), 2015, for its use
on requests.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from math import inf

NEWCOMERS_SHARE = 0.75
"""Of a turn's time, in which connections are served that had no answer yet: whoever is amid a
download has the rest to itself."""

WORDS_SHARE = 0.05
"""Of a turn's time, in which requests are refused by an answer: some 100 of them in 50 ms."""

FLOOR = 2
"""Requests served in every turn however late it is: no backlog stops everything."""

LASTING_TURNS = 8
"""So many times ``turn_s`` it must last before it counts."""

LOOK_EVERY_S = 0.005
"""While turns are short one is timed so often."""

BUSY_SHARE = 0.25
"""After a turn that took more than this of its time, the next one is timed from its beginning."""

RETRY_S_MAX = 16
RETRY_DOUBLES_S = 10.0
"""Whoever is refused shall wait 1 to 2 s; twice as long for each 10 s that it lasts."""


class Verdict(Enum):
    """What to do with a request."""

    SERVE = "serve"
    REFUSE = "refuse"
    """Say no, and when to ask again."""
    HOLD = "hold"
    """Not even that: leave it for now."""


class Turns:
    """Times turns and judges requests. Belongs to one event loop.

    A request that comes up before :attr:`look_at` is served; only later ones need :meth:`judge`,
    so that while all is well a request costs one comparison.
    """

    def __init__(
        self, turn_s: float, *, begin_timing: Callable[[], None], observe: Callable[[float], None]
    ) -> None:
        """Let a turn take ``turn_s``; 0 serves all.

        ``begin_timing`` arranges for :meth:`turned` to be called first in the next turn, and
        ``observe`` is told how long a turn took, in seconds.
        """
        assert turn_s >= 0
        self._turn_s = turn_s
        self._lasting_s = LASTING_TURNS * turn_s
        self._begin_timing = begin_timing
        self._observe = observe
        self._began: float | None = None
        self._granted = 0
        """Served in this turn after its time."""
        self._refusing_since: float | None = None
        """When the first of this turn was refused."""
        self._late_since: float | None = None
        self._calm_since: float | None = None
        self._overloaded_since: float | None = None
        self.was_late = False
        """Whether the last turn that was timed was."""
        self.look_at = 0.0 if turn_s else inf

    @property
    def is_overloaded(self) -> bool:
        """Tell whether requests are refused when a turn's time is over."""
        return self._overloaded_since is not None

    @property
    def is_timing(self) -> bool:
        """Tell whether the turn that is under way is timed."""
        return self._began is not None

    def judge(self, now: float, *, is_newcomer: bool = False) -> Verdict:
        """Return what to do with a request that comes up at ``now``."""
        began, turn_s = self._began, self._turn_s
        if began is None:
            began = now
            self.rest(now)
            self._begin(now)
        took_s = now - began
        if took_s <= turn_s:
            return self._in_time(began, now, is_newcomer=is_newcomer)
        self._note_late(began, now)
        if not self.is_overloaded:
            assert self._late_since is not None
            self.look_at = self._late_since + self._lasting_s
            return Verdict.SERVE
        if self._granted < FLOOR:
            self._granted += 1
            return Verdict.SERVE
        return self._no(now)

    def turned(self, now: float) -> None:
        """Note that the turn which was timed is over, and the next one begins."""
        assert self._began is not None
        began, took_s = self._began, now - self._began
        self._observe(took_s)
        self.was_late = took_s > self._turn_s
        if self.was_late:
            self._note_late(began, now)
        else:
            self._note_calm(began, now)
        if took_s > BUSY_SHARE * self._turn_s:
            self._begin(now)
            self.look_at = now + NEWCOMERS_SHARE * self._turn_s
        else:
            # Timing a turn makes the loop go on to the next one: it is not done for ever.
            self._began = None
            self.look_at = now if self.is_overloaded else now + LOOK_EVERY_S

    def rest(self, now: float) -> None:
        """Note that no turn is late at ``now``: none is under way."""
        if self._calm_since is not None and now - self._calm_since >= self._lasting_s:
            self._overloaded_since = None

    def retry_after_s(self, now: float, chance: float) -> int:
        """Return when to ask again, in whole seconds; ``chance`` in [0, 1) spreads those told."""
        since = now if self._overloaded_since is None else self._overloaded_since
        doublings = int(min((now - since) / RETRY_DOUBLES_S, RETRY_S_MAX))
        least_s = min(1 << doublings, RETRY_S_MAX)
        return least_s + int(chance * (least_s + 1))

    def _begin(self, now: float) -> None:
        self._began, self._granted, self._refusing_since = now, 0, None
        self._begin_timing()

    def _no(self, now: float) -> Verdict:
        if self._refusing_since is None:
            self._refusing_since = now
        is_short = now - self._refusing_since <= WORDS_SHARE * self._turn_s
        return Verdict.REFUSE if is_short else Verdict.HOLD

    def _in_time(self, began: float, now: float, *, is_newcomer: bool) -> Verdict:
        if now - began <= NEWCOMERS_SHARE * self._turn_s:
            self.look_at = began + NEWCOMERS_SHARE * self._turn_s
        elif self.is_overloaded and is_newcomer:
            return self._no(now)
        elif not self.is_overloaded:
            self.look_at = began + self._turn_s
        return Verdict.SERVE

    def _note_late(self, began: float, now: float) -> None:
        self._calm_since = None
        if self._late_since is None:
            self._late_since = began
        if self._overloaded_since is None and now - self._late_since >= self._lasting_s:
            self._overloaded_since = now

    def _note_calm(self, began: float, now: float) -> None:
        self._late_since = None
        if self._calm_since is None:
            self._calm_since = began
        self.rest(now)
