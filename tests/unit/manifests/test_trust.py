"""The steps by which a release comes to be trusted: each refuses in words, or lets through."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import Conflict, Untrusted
from manifests.documents import encode
from manifests.names import Channel, TitleId
from manifests.trust import (
    CLOCK_STEP_S,
    Claim,
    Witness,
    check_agreement,
    check_clock,
    check_counter,
    check_release,
    check_role_binding,
    is_vouched_for,
    moment,
    read_claim,
    witness_path,
)
from manifests.trust_expiry import TIMESTAMP_LIFETIME
from manifests.trust_roles import BOUND_ROLE, PublisherId, build_path
from tests.trust_repository import a_release

TITLE, LIVE = TitleId("a-title"), Channel("live")
STUDIO = PublisherId("studio")
RELEASE = a_release(TITLE, 7)
DOCUMENT = encode(RELEASE)
SHA256 = hashlib.sha256(DOCUMENT).hexdigest()
HEAD = Witness("head/a-title/live", len(DOCUMENT), SHA256)
CLAIM = Claim(HEAD, STUDIO, 7)
NOW_S = 1_800_000_000.0


@pytest.mark.parametrize("behind_s", [-1e6, 0, CLOCK_STEP_S])
def test_clock_that_is_not_behind_is_good(behind_s: float) -> None:
    check_clock(NOW_S - behind_s, NOW_S)


def test_clock_that_is_behind_is_refused_naming_both_times() -> None:
    with pytest.raises(Untrusted, match=r"2027-01-15 07:54:59 UTC, .* at 2027-01-15 08:00:00 UTC"):
        check_clock(NOW_S - CLOCK_STEP_S - 1, NOW_S)


@given(st.floats(-1e7, 1e7), st.floats(0, 1e6))
def test_no_clock_locks_its_console_out_once_it_is_right(
    ahead_s: float, signed_ago_s: float
) -> None:
    """Whatever the clock said when something was verified, the right time is not before that."""
    signed = datetime.fromtimestamp(NOW_S - signed_ago_s, UTC)
    held_against_it = moment(NOW_S + ahead_s, signed + TIMESTAMP_LIFETIME)
    check_clock(NOW_S, held_against_it)


def test_moment_of_a_right_clock_is_when_the_timestamp_was_signed() -> None:
    expires = datetime.fromtimestamp(NOW_S, UTC) + TIMESTAMP_LIFETIME - timedelta(minutes=40)
    assert moment(NOW_S, expires) == NOW_S - 2400


def document(**signed: object) -> bytes:
    return msgspec.json.encode({"signed": signed, "signatures": []})


def test_documents_of_top_roles_are_not_bound() -> None:
    for role in ("root", "targets", "snapshot", "timestamp"):
        check_role_binding("x.json", role, document())


def test_document_of_its_own_role_is_let_through() -> None:
    bound = document(**{BOUND_ROLE: "release-bin-7", "targets": {"any": [1, 2]}})
    check_role_binding("3.release-bin-7.json", "release-bin-7", bound)


@pytest.mark.parametrize(
    "content",
    [
        document(**{BOUND_ROLE: "release-bin-8"}),
        document(**{BOUND_ROLE: 7}),
        document(),
        b"",
        b"[]",
        b"[" * 100_000,
        b'{"signed":' * 100_000,
        b"\xff",
    ],
    ids=range(8),
)
def test_any_other_document_is_refused_with_file_and_role(content: bytes) -> None:
    with pytest.raises(Untrusted, match=r"3\.release-bin-7\.json: .*release-bin-7 signed"):
        check_role_binding("3.release-bin-7.json", "release-bin-7", content)


def test_platforms_word_is_read() -> None:
    assert read_claim(HEAD, {"publisher": "studio", "counter": 7, "more": []}) == CLAIM


@pytest.mark.parametrize(
    "custom",
    [
        None,
        [],
        {},
        {"publisher": "studio"},
        {"counter": 7},
        {"publisher": "../studio", "counter": 7},
        {"publisher": "studio", "counter": 0},
        {"publisher": "studio", "counter": 10_000_000_000},
        {"publisher": "studio", "counter": "7"},
        {"publisher": "studio", "counter": True},
        {"publisher": ["studio"], "counter": 7},
    ],
    ids=str,
)
def test_word_without_publisher_and_counter_is_refused(custom: object) -> None:
    with pytest.raises(Untrusted, match="head/a-title/live: the platform must name"):
        read_claim(HEAD, custom)


def test_publishers_path_is_made_of_what_the_platform_says() -> None:
    assert witness_path(CLAIM, TITLE) == build_path(STUDIO, TITLE, 7)


def test_witnesses_of_the_same_bytes_agree() -> None:
    check_agreement(CLAIM, Witness("build/...", len(DOCUMENT), SHA256))


@pytest.mark.parametrize(
    "build",
    [
        Witness("build/x", len(DOCUMENT) + 1, SHA256),
        Witness("build/x", len(DOCUMENT), "0" * 64),
        Witness("build/x", len(DOCUMENT), SHA256.upper()),
    ],
    ids=["length", "digest", "spelling"],
)
def test_witnesses_of_other_bytes_do_not(build: Witness) -> None:
    with pytest.raises(Untrusted, match=r"head/a-title/live is, .* but build/x is"):
        check_agreement(CLAIM, build)


def test_release_that_both_speak_of_is_vouched_for() -> None:
    assert is_vouched_for(RELEASE, CLAIM)
    check_release(RELEASE, CLAIM)


@pytest.mark.parametrize(
    "claim",
    [
        Claim(HEAD, STUDIO, 8),
        Claim(Witness(HEAD.path, HEAD.length - 1, SHA256), STUDIO, 7),
        Claim(Witness(HEAD.path, HEAD.length, "0" * 64), STUDIO, 7),
    ],
    ids=["counter", "length", "digest"],
)
def test_any_other_release_is_not(claim: Claim) -> None:
    assert not is_vouched_for(RELEASE, claim)
    with pytest.raises(Untrusted, match=r"release 7 of a-title is not what head/a-title/live and"):
        check_release(RELEASE, claim)


def test_counter_may_stay_or_rise_but_never_fall() -> None:
    check_counter(TITLE, LIVE, 7, 0)
    check_counter(TITLE, LIVE, 7, 7)
    with pytest.raises(Conflict, match="offers release 7, but release 8 was seen"):
        check_counter(TITLE, LIVE, 7, 8)
