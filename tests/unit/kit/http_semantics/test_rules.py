"""The rules of a shared cache one by one, as functions: RFC 9111, by section."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.http_semantics.conditions import confirmed, strong_validator, validation
from kit.http_semantics.dates import format_date
from kit.http_semantics.directives import NONE, parse_directives
from kit.http_semantics.fields import Fields
from kit.http_semantics.freshening import freshened
from kit.http_semantics.invalidation import authority, invalidated
from kit.http_semantics.messages import RequestHead, ResponseHead, end_to_end, storable_fields
from kit.http_semantics.reuse import Reuse, may_be_sent_on_error, reuse
from kit.http_semantics.stored import StoredResponse, stored_as, to_store

NOON = 1_800_000_000
DATE = ("Date", "Fri, 15 Jan 2027 08:00:00 GMT")
GET = RequestHead("GET", "/", Fields())


def response(*pairs: tuple[str, str], status: int = 200) -> ResponseHead:
    return ResponseHead(status, "", Fields((DATE, *pairs)))


def stored(*pairs: tuple[str, str], status: int = 200, took_s: float = 0.0) -> StoredResponse:
    head = response(*pairs, status=status)
    return stored_as(GET, head, asked_at=NOON - took_s, received_at=NOON)


class TestStoring:
    """Section 3."""

    @pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "FOO"])
    def test_only_a_get_is_stored(self, method: str) -> None:
        head = response(("Cache-Control", "public, max-age=60"))
        request = RequestHead(method, "/", Fields())
        assert to_store(request, head, asked_at=NOON, received_at=NOON) is None

    @pytest.mark.parametrize("status", [100, 101, 103, 199, 304, 416])
    def test_what_is_not_final_or_not_of_the_target_is_not(self, status: int) -> None:
        head = response(("Cache-Control", "max-age=60"), status=status)
        assert to_store(GET, head, asked_at=NOON, received_at=NOON) is None

    @pytest.mark.parametrize(
        ("said", "is_stored"),
        [
            ("max-age=60", False),
            ("max-age=60, public", True),
            ("s-maxage=60", True),
            ("max-age=60, must-revalidate", True),
            ("max-age=60, proxy-revalidate", False),
            ("max-age=60, immutable", False),
            ("public, private", False),
        ],
    )
    def test_what_somebody_authorized_got_only_if_it_is_for_all(
        self, said: str, is_stored: bool
    ) -> None:
        """Section 3.5."""
        request = RequestHead("GET", "/", Fields([("Authorization", "x")]))
        head = response(("Cache-Control", said))
        found = to_store(request, head, asked_at=NOON, received_at=NOON)
        assert (found is not None) is is_stored

    def test_fields_of_one_hop_are_not(self) -> None:
        """Section 3.1."""
        kept = storable_fields(
            Fields(
                [
                    *(("Connection", "a, B"), ("A", "1"), ("b", "2"), ("C", "3")),
                    *(("Keep-Alive", "x"), ("Proxy-Authenticate", "x"), ("TE", "x")),
                ]
            )
        )
        assert list(kept) == [("C", "3")]


class TestAge:
    """Section 4.2.3."""

    @pytest.mark.parametrize(
        ("date", "age", "took_s", "expected"),
        [
            (0, None, 0, 0),
            (-10, None, 0, 10),
            (-10, "4", 0, 10),
            (-10, "40", 0, 40),
            (-10, "40", 5, 45),
            (+10, None, 5, 5),
            (+10, "3", 5, 8),
            (-10, "x", 5, 10),
        ],
    )
    def test_it_is_the_larger_of_what_both_say(
        self, date: int, age: str | None, took_s: float, expected: float
    ) -> None:
        pairs = [("Date", format_date(NOON + date))]
        if age is not None:
            pairs.append(("Age", age))
        head = ResponseHead(200, "", Fields(pairs))
        found = stored_as(GET, head, asked_at=NOON - took_s, received_at=NOON)
        assert found.age_s(NOON) == expected
        assert found.age_s(NOON + 7) == expected + 7

    @given(st.floats(0, 1e9), st.floats(0, 1e9))
    def test_it_never_goes_back(self, one: float, other: float) -> None:
        found = stored(("Cache-Control", "max-age=60"))
        first, second = sorted((one, other))
        assert found.age_s(NOON + first) <= found.age_s(NOON + second)
        assert found.ttl_s(NOON + first) >= found.ttl_s(NOON + second)


class TestReuse:
    """Sections 4.2.4 and 5.2; RFC 5861."""

    @pytest.mark.parametrize(
        ("said", "wants", "age_s", "expected"),
        [
            ("max-age=60", "", 59, Reuse.FRESH),
            ("max-age=60", "", 60, Reuse.VALIDATE),
            ("max-age=60", "max-age=10", 10, Reuse.FRESH),
            ("max-age=60", "max-age=10", 11, Reuse.ASKED),
            ("max-age=60", "min-fresh=20", 40, Reuse.FRESH),
            ("max-age=60", "min-fresh=20", 41, Reuse.ASKED),
            ("max-age=60", "max-stale", 99999, Reuse.STALE),
            ("max-age=60", "max-stale=10", 70, Reuse.STALE),
            ("max-age=60", "max-stale=10", 71, Reuse.VALIDATE),
            ("max-age=60", "max-stale=10, min-fresh=1", 65, Reuse.VALIDATE),
            ("max-age=60", "no-cache", 0, Reuse.ASKED),
            ("max-age=60, no-cache", "max-stale", 0, Reuse.VALIDATE),
            ("max-age=60, must-revalidate", "max-stale", 61, Reuse.VALIDATE),
            ("max-age=60, stale-while-revalidate=10", "", 70, Reuse.BEHIND),
            ("max-age=60, stale-while-revalidate=10", "", 71, Reuse.VALIDATE),
            ("max-age=60, stale-while-revalidate=10", "max-age=0", 65, Reuse.ASKED),
            ("s-maxage=60, stale-while-revalidate=10", "", 65, Reuse.VALIDATE),
            ("max-age=60, immutable", "", 59, Reuse.FRESH),
            ("max-age=60, immutable", "max-age=0", 1, Reuse.ASKED),
        ],
    )
    def test_it_depends_on_both_sides_and_on_age(
        self, said: str, wants: str, age_s: float, expected: Reuse
    ) -> None:
        found = stored(("Cache-Control", said))
        assert reuse(found, parse_directives([wants]), NOON + age_s) is expected

    @pytest.mark.parametrize(
        ("said", "wants", "stale_s", "expected"),
        [
            ("max-age=60", "", 100, True),
            ("max-age=60", "", 101, False),
            ("max-age=60, stale-if-error=10", "", 10, True),
            ("max-age=60, stale-if-error=10", "", 11, False),
            ("max-age=60, stale-if-error=10", "stale-if-error=99", 11, False),
            ("max-age=60", "stale-if-error=200", 150, True),
            ("max-age=60", "stale-if-error=0", 1, False),
            ("max-age=60, must-revalidate, stale-if-error=10", "", 1, False),
            ("max-age=60, proxy-revalidate", "", 1, False),
            ("s-maxage=60", "", 1, False),
            ("max-age=60", "no-cache", 1, False),
        ],
    )
    def test_and_on_whether_the_upstream_fails(
        self, said: str, wants: str, stale_s: float, expected: bool
    ) -> None:
        found, asks = stored(("Cache-Control", said)), parse_directives([wants])
        now = NOON + 60 + stale_s
        assert may_be_sent_on_error(found, asks, now, stale_max_s=100) is expected


class TestValidation:
    """Section 4.3."""

    def test_what_has_no_validator_cannot_be_asked_about(self) -> None:
        assert validation(Fields(), [stored()]) is None

    def test_of_several_only_tags_are_named_once_each(self) -> None:
        asked = validation(
            Fields([("If-None-Match", '"client"')]),
            [
                stored(("ETag", '"a"'), ("Last-Modified", DATE[1])),
                stored(("ETag", '"b"')),
                stored(("ETag", '"a"')),
                stored(("Last-Modified", DATE[1])),
            ],
        )
        assert asked == Fields([("If-None-Match", '"a", "b"')])

    @pytest.mark.parametrize(
        ("etag", "confirms"),
        [('"a"', [0]), ('"b"', [1]), ('W/"c"', [2]), ('"c"', [2]), ('"d"', []), (None, [])],
    )
    def test_a_304_confirms_what_it_names(self, etag: str | None, confirms: list[int]) -> None:
        variants = [stored(("ETag", tag)) for tag in ('"a"', '"b"', 'W/"c"')]
        pairs = [] if etag is None else [("ETag", etag)]
        found = confirmed(response(*pairs, status=304), variants)
        assert found == [variants[index] for index in confirms]

    def test_a_304_replaces_every_field_it_has_but_the_length(self) -> None:
        """Section 3.2."""
        before = stored(("Age", "9"), ("A", "1"), ("A", "2"), ("B", "3"), ("Content-Length", "5"))
        update = response(("a", "4"), ("Content-Length", "0"), ("Connection", "x"), ("X", "y"))
        after = freshened(before, update, GET, asked_at=NOON, received_at=NOON + 1)
        assert sorted(after.head.fields) == sorted(
            [("B", "3"), ("Content-Length", "5"), DATE, ("a", "4")]
        )
        assert after.received_at == NOON + 1

    @pytest.mark.parametrize(
        ("pairs", "expected"),
        [
            ([("ETag", '"a"')], '"a"'),
            ([("ETag", 'W/"a"'), ("Last-Modified", "Fri, 15 Jan 2027 07:00:00 GMT")], None),
            ([("Last-Modified", "Fri, 15 Jan 2027 07:59:00 GMT")], "Fri, 15 Jan 2027 07:59:00 GMT"),
            ([("Last-Modified", "Fri, 15 Jan 2027 07:59:01 GMT")], None),
            ([], None),
        ],
    )
    def test_what_parts_are_told_apart_by(
        self, pairs: list[tuple[str, str]], expected: str | None
    ) -> None:
        """RFC 9110, section 8.8.2.2."""
        assert strong_validator(response(*pairs).fields, NOON) == expected


class TestInvalidation:
    """Section 4.4."""

    @pytest.mark.parametrize(
        ("location", "also"),
        [
            ("/b", ["/b"]),
            ("b?c", ["/a/b?c"]),
            ("../b", ["/b"]),
            ("?c", ["/a/x?c"]),
            ("http://example.org/b", ["/b"]),
            ("HTTP://EXAMPLE.ORG:80/b#f", ["/b"]),
            ("http://example.org", ["/"]),
            ("//example.org/b", ["/b"]),
            ("https://example.org/b", []),
            ("http://example.org:8080/b", []),
            ("http://evil.org/b", []),
            ("http://example.org.evil.org/b", []),
            ("mailto:a@example.org", []),
            ("http://[", []),
            ("/a/x", []),
        ],
    )
    def test_of_what_is_of_the_same_origin(self, location: str, also: list[str]) -> None:
        request = RequestHead("POST", "/a/x", Fields())
        for name in ("Location", "Content-Location"):
            found = invalidated(request, response((name, location)), "http://example.org")
            assert found == ["/a/x", *also]

    def test_a_host_has_one_spelling(self) -> None:
        assert authority("http", "Example.ORG:80") == "example.org"
        assert authority("https", "example.org:80") == "example.org:80"
        assert authority("http", "[::1]:80") == "[::1]"
        assert authority("http", "[::80]") == "[::80]"


def test_a_hop_keeps_what_its_message_is_read_by() -> None:
    """RFC 9110, section 7.6.1."""
    named = Fields([("Connection", "host, content-length, date, cache-control, cookie")])
    rest = [("Host", "a"), ("Content-Length", "1"), ("Date", "x"), ("Cache-Control", "y")]
    assert list(end_to_end(Fields([*named, *rest, ("Cookie", "z")]))) == rest


def test_nothing_wanted_changes_nothing() -> None:
    assert reuse(stored(("Cache-Control", "max-age=60")), NONE, NOON) is Reuse.FRESH
