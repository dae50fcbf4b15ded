"""The one place where a test may wait: for a fact to become true, with a deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

POLL_S = 0.01


async def eventually(probe: Callable[[], Awaitable[bool]], *, within_s: float = 10) -> None:
    """Return once ``probe()`` is true.

    Raises:
        AssertionError: It was not, for ``within_s`` seconds.
    """
    deadline = time.monotonic() + within_s
    while not await probe():
        assert time.monotonic() < deadline, f"not true within {within_s} s"
        await asyncio.sleep(POLL_S)


def eventually_sync(probe: Callable[[], bool], *, within_s: float = 10) -> None:
    """Like :func:`eventually`, for tests of processes."""
    deadline = time.monotonic() + within_s
    while not probe():
        assert time.monotonic() < deadline, f"not true within {within_s} s"
        time.sleep(POLL_S)
