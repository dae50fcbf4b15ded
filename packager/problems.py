"""Tell a publisher everything that is wrong with a folder at once, not one thing a run."""

from __future__ import annotations

from kit.errors import InvalidInput

SHOWN_MAX = 20
"""One screen; whoever fixes these has learned the rule for the rest."""


class Problems:
    """Collects what is wrong with a build and raises it as one error."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._shown: list[str] = []
        self._count = 0

    def add(self, problem: str) -> None:
        """Note a problem; it names its file."""
        self._count += 1
        if len(self._shown) < SHOWN_MAX:
            self._shown.append(problem)

    def raise_any(self) -> None:
        """Do nothing if there is no problem.

        Raises:
            InvalidInput: There are; the message lists up to ``SHOWN_MAX`` and counts the rest.
        """
        if not self._count:
            return
        lines = [f"{self._what} cannot be published:", *self._shown]
        if self._count > len(self._shown):
            lines.append(f"and {self._count - len(self._shown)} more")
        raise InvalidInput("\n  ".join(lines))
