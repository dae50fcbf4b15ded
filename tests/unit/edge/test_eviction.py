"""The policy alone, against a model that knows only what was admitted and dropped."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.store.eviction import PINNED_SHARE, PUSHED, SUPERSEDED, Counted, Pinned, S3Fifo

BUDGET = 100

KEYS = st.integers(0, 30)
SIZES = st.integers(0, BUDGET)
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["admit", "push"]), KEYS, SIZES),
        st.tuples(st.sampled_from(["use", "remove", "supersede", "unpin"]), KEYS, st.just(0)),
        st.tuples(st.sampled_from(["pin", "expire"]), KEYS, SIZES),
    ),
    max_size=200,
)

Policy = S3Fifo[Counted[object]]


def admit(policy: Policy, key: object, size: int, *, is_pushed: bool = False) -> list[object]:
    return [victim.key for victim in policy.admit(Counted(key, size), is_pushed=is_pushed)]


def use(policy: Policy, key: object) -> None:
    entry = policy.get(key)
    if entry is not None:
        entry.use()


@given(steps)
def test_the_budget_holds_and_every_byte_is_accounted_for(
    taken: list[tuple[str, int, int]],
) -> None:
    policy: Policy = S3Fifo(BUDGET)
    held: dict[object, int] = {}
    pinned: dict[object, int] = {}
    for step, key, number in taken:
        match step:
            case "admit" | "push":
                pinned.pop(key, None)
                policy.remove(key)
                held.pop(key, None)
                if not policy.can_hold(number):
                    continue
                for victim in admit(policy, key, number, is_pushed=step == "push"):
                    del held[victim]  # was held, and is dropped once
                    assert victim not in pinned
                held[key] = number
            case "use":
                use(policy, key)
            case "remove":
                policy.remove(key)
                held.pop(key, None)
                pinned.pop(key, None)
            case "supersede":
                assert policy.supersede(key) == (key in held and key not in pinned)
            case "pin":
                if policy.pin(key, number) is Pinned.YES:
                    pinned[key] = number
            case "unpin":
                assert policy.unpin(key) == (pinned.pop(key, None) is not None)
            case _:
                policy.unpin_expired(number)
                pinned = {key: until for key, until in pinned.items() if until > number}
        assert policy.size == sum(held.values()) <= BUDGET
        assert {entry.key for entry in policy} == set(held)
        assert len(policy) == len(held)
        assert policy.pinned_size == sum(held[key] for key in pinned)
        assert policy.pinned_size * PINNED_SHARE <= BUDGET
        assert all(entry.size == held[entry.key] for entry in policy)


@given(st.integers(1, 50))
def test_a_scan_does_not_wash_out_what_is_asked_for_again(scan_size: int) -> None:
    policy: Policy = S3Fifo(100)
    for index in range(10):
        admit(policy, f"hot {index}", 5)
    for _ in range(3):
        for index in range(10):
            use(policy, f"hot {index}")
    for index in range(20 * scan_size):
        admit(policy, f"cold {index}", 5)
    assert all(f"hot {index}" in policy for index in range(10))


def test_what_comes_back_soon_after_it_was_dropped_stays() -> None:
    policy: Policy = S3Fifo(100)
    admit(policy, "again", 10)
    index = 0
    while "again" in policy:
        admit(policy, f"first {index}", 10)
        index += 1
    admit(policy, "again", 10)
    for index in range(50):
        admit(policy, f"second {index}", 10)
    assert "again" in policy


def test_the_oldest_that_nobody_asked_for_goes_first() -> None:
    policy: Policy = S3Fifo(30)
    for key in "abc":
        admit(policy, key, 10)
    assert admit(policy, "d", 10) == ["a"]


def test_an_entry_of_the_whole_budget_fits_alone() -> None:
    policy: Policy = S3Fifo(30)
    admit(policy, "a", 10)
    assert policy.can_hold(30)
    assert not policy.can_hold(31)
    assert admit(policy, "b", 30) == ["a"]


def test_what_is_superseded_leaves_before_all_others() -> None:
    policy: Policy = S3Fifo(30)
    for key in "abc":
        admit(policy, key, 10)
    policy.supersede("c")
    [victim] = policy.admit(Counted("d", 10))
    assert (victim.key, victim.place) == ("c", SUPERSEDED)


def test_what_is_superseded_and_still_asked_for_stays() -> None:
    policy: Policy = S3Fifo(30)
    for key in "abc":
        admit(policy, key, 10)
    policy.supersede("c")
    use(policy, "c")
    use(policy, "c")
    assert admit(policy, "d", 10) == ["a"]


def test_what_is_pinned_stays_until_its_deadline() -> None:
    policy: Policy = S3Fifo(100)
    admit(policy, "pinned", 10)
    assert policy.pin("pinned", until=60) is Pinned.YES
    for index in range(50):
        policy.unpin_expired(59)
        admit(policy, index, 10)
    assert "pinned" in policy
    policy.unpin_expired(60)
    for index in range(50, 100):
        admit(policy, index, 10)
    assert "pinned" not in policy


@pytest.mark.parametrize("order", [(10, 60), (60, 10)])
def test_a_pin_said_anew_has_the_deadline_said_last(order: tuple[int, int]) -> None:
    policy: Policy = S3Fifo(100)
    admit(policy, "pinned", 10)
    for until in order:
        policy.pin("pinned", until)
    policy.unpin_expired(30)
    assert (policy.pinned_size > 0) == (order[-1] == 60)


def test_pins_get_no_more_than_their_share() -> None:
    policy: Policy = S3Fifo(100)
    for key in "abc":
        admit(policy, key, 10)
    outcomes = [policy.pin(key, 60) for key in "abcd"]
    assert outcomes == [Pinned.YES, Pinned.YES, Pinned.NO_ROOM, Pinned.ABSENT]


def test_a_push_washes_out_only_itself_once_the_cache_is_full() -> None:
    policy: Policy = S3Fifo(1000)
    for index in range(80):
        admit(policy, f"asked {index}", 10)
    left: list[object] = []
    for index in range(200):
        victims = policy.admit(Counted(f"pushed {index}", 10), is_pushed=True)
        assert all(victim.place == PUSHED for victim in victims)
        left += [victim.key for victim in victims]
    assert left[0] == "pushed 0"
    assert all(f"asked {index}" in policy for index in range(80))


def test_what_was_pushed_and_is_asked_for_stays() -> None:
    policy: Policy = S3Fifo(1000)
    for index in range(20):
        admit(policy, f"pushed {index}", 10, is_pushed=True)
    for index in range(20):
        use(policy, f"pushed {index}")
    for index in range(200):
        admit(policy, f"cold {index}", 10)
    assert all(f"pushed {index}" in policy for index in range(20))


def test_a_queue_forgets_those_who_left_it_out_of_turn() -> None:
    policy: Policy = S3Fifo(10_000)
    admit(policy, "stays", 1)
    for index in range(1000):
        admit(policy, index, 1)
        policy.remove(index)
    assert len(policy._small._line) < 200
