"""Who may ask how often for what does not exist."""

from __future__ import annotations

import pytest

from edge.misses import ASKERS_MAX, Budget, Misses, TooManyMisses
from kit.clock import ManualClock
from kit.errors import NotFound, Unavailable

BUDGET = Budget(burst=3, per_s=0.5)


def miss(misses: Misses, asker: str) -> None:
    with pytest.raises(NotFound), misses.counting(asker, BUDGET):
        raise NotFound("made up")


def is_refused(misses: Misses, asker: str) -> bool:
    try:
        with misses.counting(asker, BUDGET):
            return False
    except TooManyMisses:
        return True


def test_a_budget_of_misses_is_used_up_and_comes_back_with_time() -> None:
    clock = ManualClock()
    misses = Misses(clock)
    for _ in range(BUDGET.burst):
        assert not is_refused(misses, "ann")
        miss(misses, "ann")
    assert is_refused(misses, "ann")
    clock.advance(1.9)
    assert is_refused(misses, "ann")
    clock.advance(0.2)
    miss(misses, "ann")
    assert is_refused(misses, "ann")


def test_one_asker_does_not_use_up_anothers_budget() -> None:
    misses = Misses(ManualClock())
    for _ in range(BUDGET.burst):
        miss(misses, "ann")
    assert is_refused(misses, "ann")
    assert not is_refused(misses, "bob")


def test_what_is_found_or_fails_costs_nothing() -> None:
    misses = Misses(ManualClock())
    for _ in range(20):
        with misses.counting("ann", BUDGET):
            pass
        with pytest.raises(Unavailable), misses.counting("ann", BUDGET):
            raise Unavailable("upstream is down")
    assert not is_refused(misses, "ann")


def test_what_is_under_way_counts_so_that_asking_at_once_wins_nothing() -> None:
    misses = Misses(ManualClock())
    with (
        misses.counting("ann", BUDGET),
        misses.counting("ann", BUDGET),
        misses.counting("ann", BUDGET),
    ):
        assert is_refused(misses, "ann")
    assert not is_refused(misses, "ann")


def test_no_more_askers_are_remembered_than_may_be() -> None:
    misses = Misses(ManualClock())
    for asker in range(2 * ASKERS_MAX):
        miss(misses, str(asker))
    assert len(misses._accounts) == ASKERS_MAX
