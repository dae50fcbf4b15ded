"""Range and conditional headers, alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.http_semantics import (
    Full,
    Partial,
    Unsatisfiable,
    Wanted,
    content_range,
    is_known_to_client,
    wanted,
)

TAG = '"abc"'


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (None, Full()),
        ("bytes=0-0", Partial(0, 1)),
        ("bytes=2-", Partial(2, 10)),
        ("bytes=-3", Partial(7, 10)),
        ("bytes=-30", Partial(0, 10)),
        ("bytes=0-99", Partial(0, 10)),
        ("Bytes=1-2", Partial(1, 3)),
        (" bytes=1-2 ", Partial(1, 3)),
        ("bytes=9-9", Partial(9, 10)),
        ("bytes=10-", Unsatisfiable()),
        ("bytes=10-20", Unsatisfiable()),
        ("bytes=-0", Unsatisfiable()),
        ("bytes=3-2", Full()),
        ("bytes=-", Full()),
        ("bytes=1-2,4-5", Full()),
        ("bytes=a-b", Full()),
        ("bytes 1-2", Full()),
        ("bytes=+1-2", Full()),
        ("bytes=\u0661-2", Full()),
        ("bytes=" + "9" * 5000 + "-", Full()),
    ],
)
def test_which_bytes_are_wanted(asked: str | None, expected: Wanted) -> None:
    assert wanted(asked, None, TAG, 10) == expected


def test_nothing_of_an_empty_object_can_be_a_span() -> None:
    assert wanted("bytes=0-", None, TAG, 0) == Unsatisfiable()
    assert wanted("bytes=-1", None, TAG, 0) == Unsatisfiable()


@pytest.mark.parametrize(
    ("if_range", "expected"),
    [
        (TAG, Partial(0, 1)),
        (f"W/{TAG}", Full()),
        ('"other"', Full()),
        ("Wed, 21 Oct 2026 07:28:00 GMT", Full()),
    ],
)
def test_if_range_compares_strongly(if_range: str, expected: Wanted) -> None:
    assert wanted("bytes=0-0", if_range, TAG, 10) == expected


@given(st.text("bytes=-, 0123456789", max_size=30), st.integers(0, 50))
def test_whatever_is_asked_a_span_lies_inside(asked: str, size: int) -> None:
    match wanted(asked, None, TAG, size):
        case Partial(start, end):
            assert 0 <= start < end <= size
            assert content_range(start, end, size) == f"bytes {start}-{end - 1}/{size}"
        case Full() | Unsatisfiable():
            pass


@pytest.mark.parametrize(
    ("if_none_match", "is_known"),
    [
        (None, False),
        ("", False),
        ("*", True),
        (TAG, True),
        (f"W/{TAG}", True),
        (f'"x", W/"y" ,{TAG}', True),
        ('"abcd", "ab"', False),
        ("abc", False),
        ('"x,"abc"', False),
    ],
)
def test_if_none_match_compares_weakly(if_none_match: str | None, is_known: bool) -> None:
    assert is_known_to_client(if_none_match, TAG) is is_known
