"""The policy alone, against a model that knows only what was admitted and dropped."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge.eviction import S3Fifo

BUDGET = 100

steps = st.lists(
    st.one_of(
        st.tuples(st.just("admit"), st.integers(0, 30), st.integers(0, BUDGET)),
        st.tuples(st.just("use"), st.integers(0, 30), st.just(0)),
        st.tuples(st.just("remove"), st.integers(0, 30), st.just(0)),
    ),
    max_size=200,
)


@given(steps)
def test_the_budget_holds_and_every_byte_is_accounted_for(
    taken: list[tuple[str, int, int]],
) -> None:
    policy: S3Fifo[int] = S3Fifo(BUDGET)
    held: dict[int, int] = {}
    for step, key, size in taken:
        match step:
            case "admit":
                held.pop(key, None)
                for victim in policy.admit(key, size):
                    del held[victim]  # was held, and is dropped once
                held[key] = size
            case "use":
                policy.use(key)
            case _:
                policy.remove(key)
                held.pop(key, None)
        assert policy.size == sum(held.values()) <= BUDGET
        assert set(policy) == set(held)
        assert len(policy) == len(held)
        assert all(policy.size_of(key) == size for key, size in held.items())


@given(st.integers(1, 50))
def test_a_scan_does_not_wash_out_what_is_asked_for_again(scan_size: int) -> None:
    policy: S3Fifo[str] = S3Fifo(100)
    for index in range(10):
        policy.admit(f"hot {index}", 5)
    for _ in range(3):
        for index in range(10):
            policy.use(f"hot {index}")
    for index in range(20 * scan_size):
        policy.admit(f"cold {index}", 5)
    assert all(f"hot {index}" in policy for index in range(10))


def test_what_comes_back_soon_after_it_was_dropped_stays() -> None:
    policy: S3Fifo[str] = S3Fifo(100)
    policy.admit("again", 10)
    index = 0
    while "again" in policy:
        policy.admit(f"first {index}", 10)
        index += 1
    policy.admit("again", 10)
    for index in range(50):
        policy.admit(f"second {index}", 10)
    assert "again" in policy


def test_the_oldest_that_nobody_asked_for_goes_first() -> None:
    policy: S3Fifo[str] = S3Fifo(30)
    for key in "abc":
        policy.admit(key, 10)
    assert policy.admit("d", 10) == ["a"]


def test_an_entry_of_the_whole_budget_fits_alone() -> None:
    policy: S3Fifo[str] = S3Fifo(30)
    policy.admit("a", 10)
    assert policy.can_hold(30)
    assert not policy.can_hold(31)
    assert policy.admit("b", 30) == ["a"]
