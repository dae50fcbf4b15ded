"""For how long documents are reused, alone: RFC 9111, section 4.2, and RFC 5861."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.document_rules import Policy, Use, confirms, fresh_at

TAG = '"a"'
POLICY = Policy(fresh_s=30, revalidate_s=30, if_error_s=1000)


@pytest.mark.parametrize(
    ("age_s", "expected"),
    [
        (-5, Use.FRESH),
        (0, Use.FRESH),
        (29.9, Use.FRESH),
        (30, Use.BEHIND),
        (60, Use.BEHIND),
        (60.1, Use.IF_FAILS),
        (1030, Use.IF_FAILS),
        (1030.1, Use.NEVER),
    ],
)
def test_what_is_done_with_it_by_its_age(age_s: float, expected: Use) -> None:
    assert POLICY.use(TAG, 5000.0, 5000.0 + age_s) is expected


def test_without_freshness_it_is_always_asked_about_first() -> None:
    assert Policy(0, 0, 1000).use(TAG, 5000.0, 5000.0) is Use.IF_FAILS


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_it_never_gets_fresher_with_age(one: float, other: float) -> None:
    order = list(Use)
    younger, older = sorted((one, other))
    at = 1e9
    first, second = POLICY.use(TAG, at, at + younger), POLICY.use(TAG, at, at + older)
    assert order.index(first) <= order.index(second)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 998.0),
        ({"Age": "10"}, 988.0),
        ({"Age": "x"}, 998.0),
        ({"Age": "10, 20"}, 988.0),
        ({"Date": "Thu, 01 Jan 1970 00:15:00 GMT"}, 900.0),
        ({"Date": "Thu, 01 Jan 1970 00:15:00 GMT", "Age": "500"}, 498.0),
        ({"Date": "Thu, 01 Jan 2037 00:15:00 GMT"}, 998.0),
    ],
)
def test_when_it_was_fresh_at_its_source(headers: dict[str, str], expected: float) -> None:
    assert fresh_at(headers, asked_at=998.0, received_at=1000.0) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [({"ETag": TAG}, True), ({}, True), ({"ETag": 'W/"a"'}, True), ({"ETag": '"b"'}, False)],
)
def test_what_a_304_confirms(headers: dict[str, str], expected: bool) -> None:
    assert confirms(headers, TAG) is expected
