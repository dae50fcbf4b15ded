"""The device grant's rules, with time and chance in the test's hands."""

from __future__ import annotations

from random import Random

import pytest

from kit.clock import ManualClock
from kit.errors import NotFound, Unavailable
from manifests.publishing_scope import Scope
from services.accounts.grants import Grant
from services.accounts.logins import Logins, Refused

SCOPE = Scope(publisher="acme", titles=("game",), channels=("live",))
GRANT = Grant(grant_id="ab" * 12, scope=SCOPE, machine="m", granted_s=0, expires_s=1e12)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1000)


@pytest.fixture
def logins(clock: ManualClock) -> Logins:
    return Logins(
        expire_after_s=900, poll_every_s=5, pending_max=3, clock=clock, random=Random(1).randbytes
    )


def test_a_login_waits_until_it_is_approved_and_is_good_once(
    logins: Logins, clock: ManualClock
) -> None:
    begun = logins.begin("", address="a", machine="m")
    assert logins.poll(begun.device_code) == Refused("authorization_pending")
    logins.find(begun.login.user_code).grant = GRANT
    clock.advance(5)
    assert logins.poll(begun.device_code) == GRANT
    assert logins.poll(begun.device_code) == Refused("invalid_grant")


def test_whoever_polls_too_often_is_told_to_slow_down(logins: Logins, clock: ManualClock) -> None:
    begun = logins.begin("", address="a", machine="m")
    logins.poll(begun.device_code)
    clock.advance(1)
    assert logins.poll(begun.device_code) == Refused("slow_down")
    clock.advance(6)
    assert logins.poll(begun.device_code) == Refused("slow_down")
    clock.advance(15)
    assert logins.poll(begun.device_code) == Refused("authorization_pending")


def test_a_login_that_nobody_approved_expires(logins: Logins, clock: ManualClock) -> None:
    begun = logins.begin("", address="a", machine="m")
    clock.advance(900)
    assert logins.poll(begun.device_code) == Refused("expired_token")
    with pytest.raises(NotFound, match="no login waits"):
        logins.find(begun.login.user_code)


def test_a_login_that_was_denied_says_so(logins: Logins) -> None:
    begun = logins.begin("", address="a", machine="m")
    logins.find(begun.login.user_code).is_denied = True
    assert logins.poll(begun.device_code) == Refused("access_denied")


def test_only_so_many_wait_at_the_same_time(logins: Logins, clock: ManualClock) -> None:
    for _ in range(3):
        logins.begin("", address="a", machine="m")
    with pytest.raises(Unavailable, match="3 logins are waiting"):
        logins.begin("", address="a", machine="m")
    clock.advance(901)
    logins.begin("", address="a", machine="m")


def test_a_user_code_is_found_however_it_is_typed_and_a_device_code_is_no_user_code(
    logins: Logins,
) -> None:
    begun = logins.begin("", address="a", machine="m")
    typed = begun.login.user_code.lower().replace("-", " ")
    assert logins.find(typed) is begun.login
    with pytest.raises(NotFound):
        logins.find(begun.device_code)


def test_no_code_is_kept_in_the_clear_that_brings_a_token(logins: Logins) -> None:
    begun = logins.begin("", address="a", machine="m")
    assert begun.device_code not in repr(vars(logins))
