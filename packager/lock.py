"""What whoever changes a title must hold (``writer_lock.py`` is how)."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol


class Lock(Protocol):
    """The right to change the title, from ``async with`` to its end."""

    async def __aenter__(self) -> object:
        """Wait for the lock."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give it back."""

    async def check_held(self) -> None:
        """Do nothing if the lock is still held.

        Raises:
            Conflict: It was lost.
        """
