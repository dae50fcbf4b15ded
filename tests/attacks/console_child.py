"""The player's commands on a console whose clock is wrong.

``python -m tests.attacks.console_child AHEAD_S WORDS...``: the command line as it is, but for the
clock that the console goes by; leases are minted by the platform's clock, which is right.
"""

from __future__ import annotations

import sys
import time

from playhead.__main__ import main
from playhead.cli import player


class WrongClock:
    """A clock that is ahead, or behind, by as much as the first word says."""

    ahead_s = 0.0

    def now(self) -> float:
        return time.time() + self.ahead_s

    def monotonic(self) -> float:
        return time.monotonic()


if __name__ == "__main__":
    WrongClock.ahead_s = float(sys.argv.pop(1))
    player.SystemClock = WrongClock  # type: ignore[attr-defined, assignment]
    main()
