"""What responsibility by rendezvous hashing promises."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.rendezvous import owner_index, ranked

MEMBERS = st.lists(st.text(min_size=1, max_size=20), min_size=2, max_size=12, unique=True)
KEYS = st.binary(max_size=64)


@given(members=MEMBERS, key=KEYS, data=st.data())
def test_without_a_member_only_its_own_keys_move(
    members: list[str], key: bytes, data: st.DataObject
) -> None:
    gone = data.draw(st.sampled_from(members))
    before = ranked(members, key)
    after = ranked([member for member in members if member != gone], key)
    assert after == [member for member in before if member != gone]


@given(members=MEMBERS, key=KEYS, data=st.data())
def test_the_order_in_which_members_are_named_does_not_matter(
    members: list[str], key: bytes, data: st.DataObject
) -> None:
    assert ranked(data.draw(st.permutations(members)), key) == ranked(members, key)


@given(count=st.integers(min_value=1, max_value=32), key=KEYS)
def test_an_owner_is_the_first_of_all_members(count: int, key: bytes) -> None:
    assert str(owner_index(count, key)) == ranked(map(str, range(count)), key)[0]


@pytest.mark.parametrize("count", [2, 3, 7, 16])
def test_keys_are_shared_out_evenly(count: int) -> None:
    keys = 20_000
    found = Counter(owner_index(count, index.to_bytes(32, "big")) for index in range(keys))
    expected = keys / count
    chi_square = sum((found[i] - expected) ** 2 / expected for i in range(count))
    # Of a fair hash one in a thousand exceeds this, with 15 degrees of freedom the most it is 37.7.
    assert chi_square < {2: 10.8, 3: 13.8, 7: 22.5, 16: 37.7}[count]


def test_who_stands_in_is_shared_out_evenly_as_well() -> None:
    members = ["http://a:7402", "http://b:7402", "http://c:7402", "http://d:7402"]
    seconds: Counter[str] = Counter()
    for index in range(12_000):
        first, second, *_ = ranked(members, index.to_bytes(32, "little"))
        if first == members[0]:
            seconds[second] += 1
    expected = seconds.total() / 3
    assert sum((seconds[m] - expected) ** 2 / expected for m in members[1:]) < 13.8


def test_responsibility_is_part_of_the_protocol_between_nodes() -> None:
    """Nodes of two versions must agree: whoever changes the hash splits a fleet in two."""
    assert ranked(["a", "b", "c"], b"key") == GOLDEN
    assert [owner_index(5, bytes([i])) for i in range(8)] == GOLDEN_OWNERS


GOLDEN = ["c", "b", "a"]
GOLDEN_OWNERS = [3, 2, 1, 0, 0, 2, 3, 2]
