"""The ledger: whatever happens in whatever order, who may have a lease and which are over."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import SettingsError
from manifests.lease import Subject
from manifests.lease_gate import REVOCATION_KEPT_S
from manifests.names import TitleId
from services.entitlement.ledger import (
    Ledger,
    LedgerView,
    encode_ledger,
    give_back,
    news,
    parse_ledger,
    revoke,
)

NOW_S = 1_800_000_000.0
ANN, GAME = Subject("ann"), TitleId("game")

SUBJECTS = st.sampled_from([ANN, Subject("bob")])
TITLES = st.sampled_from([GAME, TitleId("other")])
# Clocks are set back now and then; a ledger must hold all the same.
STEPS = st.tuples(
    st.sampled_from(["mint", "revoke", "give back"]), SUBJECTS, TITLES, st.floats(-5, 300)
)


@given(st.lists(STEPS, max_size=30))
def test_a_lease_is_over_just_if_it_was_revoked_after_it_was_minted(
    steps: list[tuple[str, Subject, TitleId, float]],
) -> None:
    ledger, now_s = Ledger(), NOW_S
    taken: set[tuple[Subject, TitleId]] = set()
    live: list[tuple[Subject, TitleId, int, bool]] = []
    for step, subject, title, wait_s in steps:
        now_s += max(wait_s, 0)
        if step == "mint":
            view = LedgerView(ledger)
            assert view.is_taken(subject, title) == ((subject, title) in taken)
            live.append((subject, title, view.lease_epoch(subject, title, now_s), False))
        elif step == "revoke":
            ledger = revoke(ledger, subject, title, now_s)
            taken.add((subject, title))
            live = [(*each[:3], True) if each[:2] == (subject, title) else each for each in live]
        else:
            ledger = give_back(ledger, subject, title, now_s)
            taken.discard((subject, title))
        epochs = {(each.subject, each.title): each.epoch for each in ledger.revoked}
        for owner, game, epoch, is_over in live:
            if (now_s - epoch / 1e3) < REVOCATION_KEPT_S - 1:
                assert (epoch < epochs.get((owner, game), 0)) == is_over
        assert parse_ledger(encode_ledger(ledger), "ledger") == ledger


def test_a_clock_set_back_makes_no_revocation_older_than_one_before() -> None:
    first = revoke(Ledger(), ANN, GAME, NOW_S)
    second = revoke(first, ANN, GAME, NOW_S - 3600)
    assert second.revoked[0].epoch > first.revoked[0].epoch
    assert LedgerView(second).lease_epoch(ANN, GAME, NOW_S - 3600) >= second.revoked[0].epoch


def test_what_can_end_no_lease_any_more_is_forgotten_and_what_was_taken_is_not() -> None:
    ledger = revoke(Ledger(), ANN, GAME, NOW_S)
    later = revoke(ledger, ANN, TitleId("other"), NOW_S + REVOCATION_KEPT_S + 1)
    assert [each.title for each in later.revoked] == ["other"]
    assert LedgerView(later).is_taken(ANN, GAME)


def test_news_is_what_was_revoked_since() -> None:
    before = revoke(Ledger(), ANN, GAME, NOW_S)
    after = revoke(before, ANN, TitleId("other"), NOW_S)
    assert [each.title for each in news(before, after)] == ["other"]
    assert not list(news(after, give_back(after, ANN, GAME, NOW_S)))


@pytest.mark.parametrize("data", [b"", b"[" * 10_000, b'{"format":2}', b'{"revoked":[{}]}'])
def test_what_is_no_ledger_is_refused_and_named(data: bytes) -> None:
    with pytest.raises(SettingsError, match="somewhere: not a ledger"):
        parse_ledger(data, "somewhere")
