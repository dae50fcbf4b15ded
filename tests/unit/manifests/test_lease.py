"""Leases: what they permit, and what the gate says of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.access_token import KEY_SIZE, METHODS, KeyId, decode_token, encode_token
from kit.clock import ManualClock
from kit.errors import Denied
from manifests.lease import (
    SKEW_S,
    Lease,
    LeaseExpired,
    LeaseForOtherTitle,
    LeaseInvalid,
    LeaseMissing,
    LeaseRevoked,
    Subject,
    decode_lease,
    encode_lease,
)
from manifests.lease_gate import REVOCATION_KEPT_S, Gate, Revocation
from manifests.names import TitleId

NOW_S = 1_800_000_000
KEY_ID, KEY = KeyId("key-1"), bytes(KEY_SIZE)
GAME, OTHER = TitleId("game"), TitleId("other")
ANN = Subject("ann")


def lease(title: TitleId | None = GAME, *, epoch: int = 10, lasts_s: int = 900) -> Lease:
    return Lease(ANN, title, NOW_S, NOW_S + lasts_s, epoch, b"id")


def token_of(found: Lease) -> str:
    return encode_lease(found, KEY_ID, KEY)


def gate_at(clock: ManualClock) -> Gate:
    gate = Gate(clock)
    gate.use_keys({KEY_ID: KEY})
    return gate


@given(
    subject=st.text(min_size=1, max_size=128),
    title=st.none() | st.from_regex(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?", fullmatch=True),
    times=st.tuples(st.integers(0, 2**40), st.integers(0, 2**40)),
    epoch=st.integers(0, 2**53),
    token_id=st.binary(max_size=16),
)
def test_a_lease_comes_back_as_it_was_made(
    subject: str, title: str | None, times: tuple[int, int], epoch: int, token_id: bytes
) -> None:
    name = None if title is None else TitleId(title)
    made = Lease(Subject(subject), name, *times, epoch, token_id)
    assert decode_lease(token_of(made), {KEY_ID: KEY}) == made


@pytest.mark.parametrize(
    "change",
    [
        {METHODS: ["GET", "HEAD", "PUT"]},
        {312: {3: {1: "/t/"}, 0: {0: "http"}}},
        {312: {3: {1: "/"}}},
        {312: {3: {1: "/t/game"}}},
        {312: {3: {1: "/t/../"}}},
        {312: {3: {1: "/t/-a/"}}},
        {312: {3: {2: "/t/game/"}}},
        {310: 2},
        {1: "another"},
        {2: ""},
        {2: 7},
        {4: "soon"},
        {5: NOW_S},
    ],
)
def test_authentic_claims_of_another_kind_are_no_lease(change: dict[int, object]) -> None:
    _, claims = decode_token(token_of(lease()), {KEY_ID: KEY})
    token = encode_token(claims | change, KEY_ID, KEY)
    with pytest.raises(LeaseInvalid):
        decode_lease(token, {KEY_ID: KEY})


def test_a_lease_opens_its_own_title_and_no_other() -> None:
    gate, token = gate_at(ManualClock(NOW_S)), token_of(lease())
    assert gate.check(token, GAME) == lease()
    with pytest.raises(LeaseForOtherTitle, match="other: the lease is for game"):
        gate.check(token, OTHER)
    assert gate.check(token, GAME) == lease()


def test_a_node_may_read_every_title() -> None:
    gate, token = gate_at(ManualClock(NOW_S)), token_of(lease(None))
    assert gate.check(token, GAME).title is None
    assert gate.check(token, OTHER).title is None


def test_no_lease_is_refused() -> None:
    gate = gate_at(ManualClock(NOW_S))
    for token in (None, ""):
        with pytest.raises(LeaseMissing):
            gate.check(token, GAME)


def test_a_lease_ends_when_it_says_but_for_clocks_that_differ() -> None:
    clock = ManualClock(NOW_S)
    gate, token = gate_at(clock), token_of(lease())
    clock.advance(900 + SKEW_S - 1)
    gate.check(token, GAME)
    clock.advance(1)
    with pytest.raises(LeaseExpired):
        gate.check(token, GAME)


def test_a_key_that_is_gone_opens_nothing_even_if_remembered() -> None:
    gate, token = gate_at(ManualClock(NOW_S)), token_of(lease())
    gate.check(token, GAME)
    gate.use_keys({KeyId("key-2"): bytes([1]) * KEY_SIZE})
    with pytest.raises(LeaseInvalid, match="key-1"):
        gate.check(token, GAME)


def test_two_keys_are_believed_at_once() -> None:
    gate = Gate(ManualClock(NOW_S))
    newer = bytes([1]) * KEY_SIZE
    gate.use_keys({KEY_ID: KEY, KeyId("key-2"): newer})
    gate.check(token_of(lease()), GAME)
    gate.check(encode_lease(lease(), KeyId("key-2"), newer), GAME)


def test_what_is_revoked_is_refused_and_what_is_granted_after_is_not() -> None:
    gate = gate_at(ManualClock(NOW_S))
    old, other = token_of(lease(epoch=10)), token_of(lease(OTHER, epoch=10))
    gate.check(old, GAME)
    gate.use_revocations([Revocation(ANN, GAME, NOW_S * 1000)])
    with pytest.raises(LeaseRevoked, match="ann"):
        gate.check(old, GAME)
    gate.check(other, OTHER)
    gate.check(token_of(lease(epoch=NOW_S * 1000)), GAME)


def test_an_older_revocation_does_not_undo_a_newer() -> None:
    gate, at = gate_at(ManualClock(NOW_S)), NOW_S * 1000
    gate.use_revocations([Revocation(ANN, GAME, at + 5), Revocation(ANN, GAME, at)])
    with pytest.raises(LeaseRevoked):
        gate.check(token_of(lease(epoch=at + 4)), GAME)


def test_a_revocation_is_forgotten_when_no_lease_it_ended_can_be_alive() -> None:
    clock = ManualClock(NOW_S)
    gate, at = gate_at(clock), NOW_S * 1000
    gate.use_revocations([Revocation(ANN, GAME, at)])
    clock.advance(REVOCATION_KEPT_S + 1)
    gate.use_revocations([])
    with pytest.raises(LeaseExpired):
        gate.check(token_of(lease(epoch=at - 1)), GAME)
    assert not gate.revocation_count


def test_no_more_leases_are_remembered_than_may_be() -> None:
    gate = Gate(ManualClock(NOW_S), remembered_max=2)
    gate.use_keys({KEY_ID: KEY})
    for number in range(5):
        gate.check(token_of(lease(epoch=number)), GAME)
    assert gate.remembered_count == 2


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(1, 600)),
        st.tuples(st.just("revoke"), st.sampled_from([GAME, OTHER])),
        st.tuples(st.just("mint"), st.sampled_from([GAME, OTHER])),
    ),
    max_size=25,
)


@given(EVENTS)
def test_any_history_is_judged_as_a_slow_judge_would(events: list[tuple[str, object]]) -> None:
    """The slow judge keeps everything: every lease, and every revocation for ever."""
    clock = ManualClock(NOW_S)
    gate, epoch = gate_at(clock), NOW_S * 1000
    minted: list[tuple[Lease, str]] = []
    revoked: list[Revocation] = []
    for kind, what in events:
        epoch = max(epoch + 1, int(clock.now() * 1000))
        if kind == "wait":
            assert isinstance(what, int)
            clock.advance(what)
        elif kind == "revoke":
            revoked.append(Revocation(ANN, TitleId(str(what)), epoch))
            gate.use_revocations(revoked[-1:])
        else:
            now_s = int(clock.now())
            made = Lease(ANN, TitleId(str(what)), now_s, now_s + 900, epoch, b"")
            minted.append((made, token_of(made)))
        for made, token in minted:
            for title in (GAME, OTHER):
                is_over = any(r.title == made.title and made.epoch < r.epoch for r in revoked)
                is_good = (
                    made.title == title and not is_over and clock.now() < made.expires_at + SKEW_S
                )
                assert _opens(gate, token, title) == is_good


def _opens(gate: Gate, token: str, title: TitleId) -> bool:
    try:
        gate.check(token, title)
    except Denied:
        return False
    return True
