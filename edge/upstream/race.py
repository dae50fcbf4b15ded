"""Several upstreams for one answer: the next is asked when one fails, or is slow to begin.

At most two are asked at a time, and every attempt but the first must be afforded: see
:class:`kit.resilience.RetryBudget`. The first good answer wins; the other attempt is given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

from edge.upstream.upstream import Upstream
from kit.errors import NotFound, PlayheadError
from kit.resilience import Pass

T = TypeVar("T")


class Retry(Enum):
    """Why a further attempt is made."""

    FAILED = "failed"
    SLOW = "slow"


@dataclass(slots=True)
class Attempt:
    """One upstream being asked."""

    upstream: Upstream
    leave: Pass
    has_begun: bool = False
    """Whether its answer has."""


class Lost(Exception):  # noqa: N818 - an outcome, caught by who asked
    """No attempt was good."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[PlayheadError] = []
        """What each that failed did; empty if all say that there is no such thing."""


Ask = Callable[[Attempt], Coroutine[Any, Any, T]]
Afford = Callable[[Retry], bool]


class Race(Generic[T]):
    """Asks ``candidates`` in order; belongs to one call of :meth:`run`."""

    def __init__(
        self, candidates: Iterator[Attempt], ask: Ask[T], *, afford: Afford, hedge_at_most_s: float
    ) -> None:
        self._candidates = candidates
        self._ask = ask
        self._afford = afford
        self._hedge_at_most_s = hedge_at_most_s
        self._running: dict[asyncio.Task[T], Attempt] = {}
        self._lost = Lost()

    async def run(self, now: float) -> T:
        """Return the first good answer; when this returns or raises, nobody is asked any more.

        Raises:
            NotFound: A shield says that there is no such thing.
            Lost: Nobody gave a good answer.
        """
        try:
            first = self._start(None)
            patience_s = None if first is None else self._patience_s(first, now)
            while self._running:
                done, _ = await asyncio.wait(
                    self._running, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    self._hedge()
                    patience_s = None
                for task in done:
                    attempt = self._running.pop(task)
                    error = task.exception()
                    if error is None:
                        return task.result()
                    self._take_failure(attempt, error)
            raise self._lost
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    def _patience_s(self, first: Attempt, now: float) -> float | None:
        """Return when to hedge; None is never."""
        if not self._hedge_at_most_s:
            return None
        return first.upstream.hedge_after_s(now, self._hedge_at_most_s)

    def _hedge(self) -> None:
        if not any(attempt.has_begun for attempt in self._running.values()):
            self._start(Retry.SLOW)

    def _take_failure(self, attempt: Attempt, error: BaseException) -> None:
        """Go on after ``error``, unless it is none of an upstream's, or the last word."""
        if isinstance(error, NotFound):
            if attempt.upstream.is_shield:
                raise error
        elif isinstance(error, PlayheadError):
            self._lost.faults.append(error)
        else:
            raise error
        if not self._running:
            # Asking on after "not found" is how it is found, and no retry.
            self._start(None if isinstance(error, NotFound) else Retry.FAILED)

    def _start(self, retry: Retry | None) -> Attempt | None:
        attempt = next(self._candidates, None)
        if attempt is None:
            return None
        if retry is not None and not self._afford(retry):
            attempt.upstream.breaker.abandon(attempt.leave)
            return None
        self._running[asyncio.create_task(self._ask(attempt))] = attempt
        return attempt
