"""Whatever the bytes: parsers never fail, take time in proportion, and read what is written."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.http_semantics.cache_status import CacheStatus, with_cache_status
from kit.http_semantics.dates import format_date, parse_date
from kit.http_semantics.directives import (
    SECONDS_MAX,
    Directives,
    parse_directives,
    request_directives,
    response_directives,
)
from kit.http_semantics.fields import Fields, is_quoted, is_token, split_list, unquote
from kit.http_semantics.freshness import age_value
from kit.http_semantics.invalidation import authority, invalidated
from kit.http_semantics.messages import RequestHead, ResponseHead, end_to_end
from kit.http_semantics.ranges import content_range, parse_content_range, span_of
from kit.http_semantics.stored import to_store
from kit.http_semantics.tags import can_be_asked_about, is_known_to_client, is_strong, is_tag
from kit.http_semantics.vary import matches, varied

NOW = 1_800_000_000.0

octets = st.text(st.characters(max_codepoint=255))
"""Anything that a field can hold, and more: each character an octet."""
tricky = st.text(st.sampled_from('",\\;= \t*/W-0123456789abcmaxgenostr()<>@?:\x00\xff'))
values = st.one_of(octets, tricky)
tokens = st.from_regex(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,12}", fullmatch=True)
quotable = st.text(st.characters(min_codepoint=32, max_codepoint=126))
names = st.sampled_from(
    [
        *("Cache-Control", "CDN-Cache-Control", "Expires", "Date", "Age", "Vary", "ETag", "Pragma"),
        *("Last-Modified", "Content-Range", "Connection", "Location", "Authorization", "Foo"),
    ]
)
fields = st.lists(st.tuples(names, values), max_size=6).map(Fields)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(values)
def test_no_parser_fails_whatever_it_is_given(value: str) -> None:
    split_list(value)
    parse_date(value, NOW)
    parse_content_range(value)
    span_of(value, 100)
    age_value(Fields([("Age", value)]))
    is_tag(value)
    is_strong(value)
    can_be_asked_about(value)
    is_known_to_client(value, '"a"')
    authority("http", value)
    directives = parse_directives([value])
    for name in ("max-age", "no-cache", "private", "no-store"):
        assert directives.seconds(name) is None or (directives.seconds(name) or 0) >= 0
        directives.has(name)
        directives.has_unqualified(name)
        directives.fields_of(name)
    response_directives(Fields([("CDN-Cache-Control", value)]))
    request_directives(Fields([("Pragma", value)]))


@given(fields, fields, st.sampled_from(["GET", "HEAD", "POST", "FOO"]), st.integers(200, 599))
def test_no_message_makes_the_rules_fail(
    asked: Fields, answered: Fields, method: str, status: int
) -> None:
    request = RequestHead(method, "/a?b", asked)
    head = ResponseHead(status, "", answered)
    stored = to_store(request, head, asked_at=NOW, received_at=NOW + 1)
    if stored is not None:
        assert method == "GET"
        assert stored.age_s(NOW + 2) >= 1
        assert stored.lifetime.seconds <= max(SECONDS_MAX, 10**12)
        assert matches(stored.varied, asked)
    invalidated(request, head, "http://example.org")
    end_to_end(answered)


@pytest.mark.parametrize(
    "parse",
    [
        split_list,
        lambda text: parse_directives([text]),
        lambda text: response_directives(Fields([("CDN-Cache-Control", text)])),
        lambda text: parse_date(text, NOW),
        lambda text: span_of("bytes=" + text, 100),
        parse_content_range,
        lambda text: is_known_to_client(text, '"a"'),
        can_be_asked_about,
        lambda text: age_value(Fields([("Age", text)])),
    ],
)
@pytest.mark.parametrize(
    "piece", ['"', '\\"', '"\\', ",", '",', 'a="', "W/", '"a"', "1-", "9", "=", " ", "\t,", "a=b,"]
)
def test_parsers_take_time_in_proportion(parse: Callable[[str], object], piece: str) -> None:
    """A field of 32 KiB, the most there may be, in less than holds up anybody."""
    text = piece * (32 * 1024 // len(piece))
    took = min(_seconds(parse, text) for _ in range(3))
    assert took < 0.2, f"{took:.3f} s"


def _seconds(parse: Callable[[str], object], text: str) -> float:
    began = time.thread_time()
    parse(text)
    return time.thread_time() - began


@given(st.lists(st.one_of(tokens, quotable.map(quoted)), max_size=8))
def test_a_list_is_read_as_it_was_written(members: list[str]) -> None:
    assert split_list(" ,\t".join(members)) == members


@given(quotable)
def test_a_quoted_string_says_what_was_quoted(text: str) -> None:
    assert is_quoted(quoted(text))
    assert unquote(quoted(text)) == text


@given(st.dictionaries(tokens.map(str.lower), st.one_of(st.none(), tokens, quotable), max_size=6))
def test_directives_are_read_as_they_were_written(written: dict[str, str | None]) -> None:
    text = ", ".join(
        name if value is None else f"{name}={value if is_token(value) else quoted(value)}"
        for name, value in written.items()
    )
    read = parse_directives([text])
    assert read.arguments == written
    assert not read.malformed


@given(st.integers(0, 10**30))
def test_seconds_are_read_and_bounded(seconds: int) -> None:
    directives = Directives({"max-age": str(seconds)})
    assert directives.seconds("max-age") == min(seconds, SECONDS_MAX)
    assert age_value(Fields([("Age", str(seconds))])) == min(seconds, SECONDS_MAX)


@given(st.integers(0, 253402300799))
def test_a_date_is_read_as_it_was_written(moment: int) -> None:
    assert parse_date(format_date(moment), NOW) == moment


@given(st.integers(0, 10**17), st.integers(1, 10**17), st.integers(0, 10**17))
def test_a_content_range_is_read_as_it_was_written(start: int, length: int, more: int) -> None:
    end = start + length
    read = parse_content_range(content_range(start, end, end + more))
    assert read is not None
    assert (read.start, read.end, read.size) == (start, end, end + more)


@given(
    st.sampled_from(["miss", "stale", None]),
    st.one_of(st.none(), st.integers(-(10**9), 10**9)),
    st.one_of(st.none(), st.booleans()),
    st.one_of(st.none(), st.text()),
)
def test_cache_status_is_a_structured_field_after_those_of_others(
    forwarded: str | None, ttl_s: int | None, is_collapsed: bool | None, key: str | None
) -> None:
    said = CacheStatus(
        forwarded,  # type: ignore[arg-type]
        ttl_s=ttl_s,
        is_collapsed=is_collapsed,
        key=key,
    )
    both = with_cache_status(Fields([("cache-status", "other; hit")]), said.member("playhead"))
    line = both.only("cache-status")
    assert line is not None
    members: Any = http_sf.parse(line.encode(), tltype="list")
    assert [str(name) for name, _ in members] == ["other", "playhead"]
    parameters = members[1][1]
    assert parameters.get("ttl") == ttl_s
    assert parameters.get("collapsed") == is_collapsed
    assert parameters.get("key") in {key, None}


@given(values, values)
def test_the_same_request_always_matches(vary: str, value: str) -> None:
    response, request = Fields([("Vary", vary)]), Fields([(vary.strip() or "Foo", value)])
    assert matches(varied(response, request), request)
