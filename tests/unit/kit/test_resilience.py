"""What a retry budget promises."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kit.resilience import RetryBudget

CALLS = st.lists(st.integers(min_value=0, max_value=8), max_size=400)
"""Of each call offered, how many retries it asks for."""


@given(
    calls=CALLS,
    ratio=st.sampled_from([0.0, 0.1, 0.2, 1.0]),
    reserve=st.integers(min_value=0, max_value=20),
)
def test_retries_never_exceed_their_share_over_any_stretch(
    calls: list[int], ratio: float, reserve: int
) -> None:
    budget = RetryBudget(ratio=ratio, reserve=reserve)
    retries = []
    for wanted in calls:
        budget.offer()
        retries.append(sum(budget.spend() for _ in range(wanted)))
    for start in range(0, len(retries), 7):
        stretch = retries[start:]
        assert sum(stretch) <= ratio * len(stretch) + reserve + 1e-6


def test_in_an_outage_every_fifth_call_is_retried_once_the_reserve_is_spent() -> None:
    budget = RetryBudget(ratio=0.2, reserve=10)
    retries = 0
    for _ in range(1000):
        budget.offer()
        while budget.spend():
            retries += 1
    assert 200 <= retries <= 210


def test_a_short_hiccup_is_retried_in_full() -> None:
    budget = RetryBudget(ratio=0.2, reserve=10)
    assert all(budget.spend() for _ in range(10))
    assert not budget.spend()


def test_ten_tenths_make_one_retry() -> None:
    budget = RetryBudget(ratio=0.1, reserve=1)
    assert budget.spend()
    for _ in range(10):
        budget.offer()
    assert budget.spend()
