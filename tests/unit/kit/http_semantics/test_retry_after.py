"""RFC 9110, section 10.2.3: seconds, or a date by the clock of who says it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.http_semantics.dates import format_date
from kit.http_semantics.retry_after import retry_after_s

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 7\t", 7.0),
        ("0", 0.0),
        ("-1", 0.0),
        ("1.5", 0.0),
        ("soon", 0.0),
        (None, 0.0),
        ("", 0.0),
        ("9" * 10, 0.0),
        ("\u0663", 0.0),
    ],
)
def test_seconds_are_taken_and_what_makes_no_sense_is_none(
    value: str | None, seconds: float
) -> None:
    assert retry_after_s(value, None, NOW) == seconds


@given(st.integers(0, 10**6), st.integers(-(10**8), 10**8))
def test_a_date_is_held_against_the_clock_that_made_it(wait_s: int, our_error_s: int) -> None:
    until, said = format_date(NOW + wait_s), format_date(NOW)
    assert retry_after_s(until, said, NOW + our_error_s) == wait_s


def test_a_date_without_another_is_held_against_our_clock() -> None:
    assert retry_after_s(format_date(NOW + 30), None, NOW) == 30.0
    assert retry_after_s(format_date(NOW - 30), None, NOW) == 0.0


@given(st.text(max_size=40), st.none() | st.text(max_size=40))
def test_whatever_is_said_is_no_error(value: str, date: str | None) -> None:
    assert retry_after_s(value, date, NOW) >= 0.0
