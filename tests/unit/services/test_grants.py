"""Refresh tokens: each good once, the one before it once more, and a thief found out."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.clock import ManualClock
from kit.errors import NotFound
from manifests.publishing_scope import Scope
from services.accounts.grants import Grants, Renewed, Reused

SCOPE = Scope(publisher="acme", titles=("game",), channels=("live",))


def new_grants(clock: ManualClock | None = None) -> Grants:
    return Grants({}, b"s" * 32, clock=clock or ManualClock(1000), random=Random(1).randbytes)


def renewed(grants: Grants, token: str) -> str:
    found = grants.renew(token)
    assert isinstance(found, Renewed)
    return found.refresh_token


def begun(grants: Grants) -> tuple[str, str]:
    found = grants.begin(grants.new(SCOPE, "machine", 1000))
    return found.grant.grant_id, found.refresh_token


def test_each_token_brings_another() -> None:
    grants = new_grants()
    _, first = begun(grants)
    second = renewed(grants, first)
    assert renewed(grants, second) not in (first, second)


def test_a_token_whose_answer_was_lost_is_good_once_more() -> None:
    grants = new_grants()
    _, first = begun(grants)
    lost = renewed(grants, first)
    again = renewed(grants, first)
    assert again != lost
    renewed(grants, again)


def test_a_token_that_was_replaced_twice_gives_a_thief_away() -> None:
    grants = new_grants()
    grant_id, first = begun(grants)
    renewed(grants, renewed(grants, first))
    with pytest.raises(Reused) as caught:
        grants.renew(first)
    assert caught.value.grant.grant_id == grant_id


def test_of_two_who_use_one_token_the_second_ends_the_first() -> None:
    grants = new_grants()
    _, shared = begun(grants)
    thief = renewed(grants, shared)
    renewed(grants, shared)
    with pytest.raises(Reused):
        grants.renew(thief)


def test_a_grant_that_was_revoked_or_has_expired_brings_nothing() -> None:
    clock = ManualClock(1000)
    grants = new_grants(clock)
    grant_id, token = begun(grants)
    assert grants.is_good(grant_id)
    grants.revoke("acme")
    assert not grants.is_good(grant_id)
    assert grants.renew(token) is None
    _, token = begun(grants)
    clock.advance(1001)
    assert grants.renew(token) is None
    with pytest.raises(NotFound):
        grants.revoke(grant_id)


@given(st.text(max_size=300))
def test_what_was_never_ours_revokes_nothing(token: str) -> None:
    grants = new_grants()
    grant_id, _ = begun(grants)
    assert grants.renew(token) is None
    assert grants.is_good(grant_id)


def test_tokens_of_another_platform_are_not_ours() -> None:
    grants, other = (
        new_grants(),
        Grants({}, b"o" * 32, clock=ManualClock(1), random=Random(1).randbytes),
    )
    _, theirs = begun(other)
    begun(grants)
    assert grants.renew(theirs) is None
