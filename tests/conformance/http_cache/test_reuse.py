"""Reuse, validation and invalidation: RFC 9111, sections 3.2 to 5.2; RFC 5861; RFC 9110, 13."""

from __future__ import annotations

import pytest

from tests.conformance.http_cache.behaviours import (
    ABSENT,
    Behaviour,
    Step,
    behaviour,
    first,
    reply,
    show,
)
from tests.conformance.http_cache.cache import caching

CC = "Cache-Control"
FRESH = (CC, "max-age=60")
TAG = ("ETag", '"a"')
CHANGED = ("Last-Modified", "@-1000@")


def again(asks: bool, *headers: tuple[str, str], **more: object) -> Step:
    return Step(asks=asks, headers=headers, **more)  # type: ignore[arg-type]


def not_modified(*headers: tuple[str, str]) -> dict[str, object]:
    return {"reply": reply(*headers, status=304, body=b"")}


REQUESTS: list[Behaviour] = [
    behaviour(
        "5.2.1.4 no-cache validates what is fresh",
        first(FRESH),
        again(True, (CC, "no-cache"), gives=b"new"),
    ),
    behaviour(
        "5.2.1.1 max-age=0 validates", first(FRESH), again(True, (CC, "max-age=0"), after_s=1)
    ),
    behaviour(
        "5.2.1.1 max-age over the age reuses",
        first(FRESH),
        again(False, (CC, "max-age=20"), after_s=10),
    ),
    behaviour(
        "5.2.1.1 max-age below the age validates",
        first(FRESH, ("Age", "30")),
        again(True, (CC, "max-age=20")),
    ),
    behaviour(
        "5.2.1.3 min-fresh that is left reuses",
        first(FRESH),
        again(False, (CC, "min-fresh=30"), after_s=10),
    ),
    behaviour(
        "5.2.1.3 min-fresh that is not left validates",
        first(FRESH),
        again(True, (CC, "min-fresh=55"), after_s=10),
    ),
    behaviour(
        "5.2.1.3 min-fresh counts Age",
        first(FRESH, ("Age", "50")),
        again(True, (CC, "min-fresh=20")),
    ),
    behaviour(
        "5.2.1.2 max-stale takes what is stale",
        first(FRESH),
        again(False, (CC, "max-stale"), after_s=100),
    ),
    behaviour(
        "5.2.1.2 max-stale=N takes what is less stale",
        first(FRESH),
        again(False, (CC, "max-stale=50"), after_s=100),
    ),
    behaviour(
        "5.2.1.2 max-stale=N does not take what is more stale",
        first(FRESH),
        again(True, (CC, "max-stale=30"), after_s=100),
    ),
    behaviour(
        "5.2.1.2 max-stale with Age",
        first(FRESH, ("Age", "100")),
        again(False, (CC, "max-stale=50")),
    ),
    behaviour(
        "4.2.4 must-revalidate forbids max-stale",
        first((CC, "max-age=60, must-revalidate")),
        again(True, (CC, "max-stale"), after_s=100),
    ),
    behaviour(
        "5.2.1.7 only-if-cached of what is stored",
        first(FRESH),
        again(False, (CC, "only-if-cached")),
    ),
    behaviour(
        "5.2.1.7 only-if-cached of nothing", again(False, (CC, "only-if-cached"), status=504)
    ),
    behaviour(
        "5.2.1.5 a request's no-store stores nothing",
        Step(asks=True, headers=[(CC, "no-store")], reply=reply(FRESH)),
        again(True),
    ),
    behaviour("5.2.1.5 no-store reuses all the same", first(FRESH), again(False, (CC, "no-store"))),
    behaviour(
        "5.4 Pragma: no-cache alone validates", first(FRESH), again(True, ("Pragma", "no-cache"))
    ),
    behaviour("5.4 an unknown Pragma", first(FRESH), again(False, ("Pragma", "foo"))),
    behaviour(
        "5.4 Pragma beside Cache-Control means nothing",
        first(FRESH),
        again(False, ("Pragma", "no-cache"), (CC, "max-age=100")),
    ),
    behaviour(
        "3.5 Authorization is not stored",
        Step(asks=True, headers=[("Authorization", "x")], reply=reply(FRESH)),
        again(True),
    ),
    *(
        behaviour(
            f"3.5 Authorization with {directive} is stored",
            Step(asks=True, headers=[("Authorization", "x")], reply=reply((CC, directive))),
            again(False),
        )
        for directive in ("max-age=60, public", "s-maxage=60", "max-age=60, must-revalidate")
    ),
    behaviour(
        "3.5 Authorization takes what was stored for all",
        first(FRESH),
        again(False, ("Authorization", "x")),
    ),
    behaviour(
        "2 targets differ by their query",
        first(FRESH),
        again(True, target="/?"),
        again(True, target="/?a"),
        again(False),
    ),
]

VARY: list[Behaviour] = [
    behaviour(
        "4.1 the same value",
        Step(asks=True, headers=[("Foo", "1")], reply=reply(FRESH, ("Vary", "Foo"))),
        again(False, ("foo", "1"), gives=b"first"),
    ),
    behaviour(
        "4.1 another value, and then both",
        Step(asks=True, headers=[("Foo", "1")], reply=reply(FRESH, ("Vary", "Foo"))),
        again(True, ("Foo", "2"), reply=reply(FRESH, ("Vary", "Foo"), body=b"second")),
        again(False, ("Foo", "1"), gives=b"first"),
        again(False, ("Foo", "2"), gives=b"second"),
    ),
    behaviour(
        "4.1 absent is not present",
        Step(asks=True, headers=[("Foo", "1")], reply=reply(FRESH, ("Vary", "Foo"))),
        again(True),
    ),
    behaviour(
        "4.1 present is not absent", first(FRESH, ("Vary", "Foo")), again(True, ("Foo", "1"))
    ),
    behaviour("4.1 absent is absent", first(FRESH, ("Vary", "Foo")), again(False, ("Bar", "1"))),
    behaviour("4.1 empty is not absent", first(FRESH, ("Vary", "Foo")), again(True, ("Foo", ""))),
    behaviour(
        "4.1 lines are one list",
        Step(asks=True, headers=[("Foo", "1, 2")], reply=reply(FRESH, ("Vary", "Foo"))),
        again(False, ("Foo", "1"), ("Foo", "2")),
    ),
    behaviour(
        "4.1 blanks between members",
        Step(asks=True, headers=[("Foo", "1,2")], reply=reply(FRESH, ("Vary", "Foo"))),
        again(False, ("Foo", "1 ,  2")),
    ),
    behaviour(
        "4.1 order matters where it may",
        Step(asks=True, headers=[("Foo", "1,2")], reply=reply(FRESH, ("Vary", "Foo"))),
        again(True, ("Foo", "2,1")),
    ),
    behaviour(
        "4.1 order of codings does not, nor their case",
        Step(
            asks=True,
            headers=[("Accept-Encoding", "gzip, br")],
            reply=reply(FRESH, ("Vary", "Accept-Encoding")),
        ),
        again(False, ("Accept-Encoding", "BR,gzip")),
    ),
    behaviour(
        "4.1 the case of a language does not",
        Step(
            asks=True,
            headers=[("Accept-Language", "en-GB, de")],
            reply=reply(FRESH, ("Vary", "Accept-Language")),
        ),
        again(False, ("Accept-Language", "en-gb, de")),
        again(True, ("Accept-Language", "de, en-gb")),
    ),
    behaviour(
        "4.1 every field that is named",
        Step(
            asks=True,
            headers=[("Foo", "1"), ("Bar", "2")],
            reply=reply(FRESH, ("Vary", "Foo, BAR")),
        ),
        again(False, ("Bar", "2"), ("Foo", "1")),
        again(True, ("Bar", "3"), ("Foo", "1")),
    ),
    behaviour(
        "4.1 several lines of Vary",
        Step(
            asks=True,
            headers=[("Foo", "1"), ("Bar", "2")],
            reply=reply(FRESH, ("Vary", "Foo"), ("Vary", "Bar")),
        ),
        again(True, ("Foo", "1"), ("Bar", "3")),
    ),
    behaviour(
        "4 the newest of those that match",
        first(FRESH, ("Vary", "Foo"), body=b"old"),
        Step(
            asks=True,
            headers=[(CC, "no-cache"), ("Bar", "1")],
            reply=reply(FRESH, ("Vary", "Bar"), body=b"newer"),
            after_s=1,
        ),
        again(False, ("Bar", "1"), gives=b"newer"),
        again(False, ("Bar", "2"), gives=b"old"),
    ),
]

VALIDATION: list[Behaviour] = [
    behaviour(
        "4.3.1 by entity tag and date, and 4.3.3 reuse",
        first(FRESH, TAG, CHANGED),
        again(
            True,
            after_s=100,
            status=200,
            gives=b"first",
            has={"ETag": '"a"', "Age": ABSENT},
            asked={"If-None-Match": '"a"', "If-Modified-Since": "@-1100@"},
            **not_modified(FRESH, TAG),
        ),
        again(False, gives=b"first"),
    ),
    behaviour(
        "4.3.1 by a weak tag",
        first(FRESH, ("ETag", 'W/"a"')),
        again(
            True,
            after_s=100,
            status=200,
            gives=b"first",
            asked={"If-None-Match": 'W/"a"', "If-Modified-Since": ABSENT},
            **not_modified(FRESH, ("ETag", 'W/"a"')),
        ),
        again(False),
    ),
    behaviour(
        "4.3.1 by date alone",
        first(FRESH, CHANGED),
        again(
            True,
            after_s=100,
            status=200,
            gives=b"first",
            asked={"If-None-Match": ABSENT, "If-Modified-Since": "@-1100@"},
            **not_modified(FRESH),
        ),
        again(False),
    ),
    behaviour(
        "5.2.2.4 no-cache is validated every time",
        first((CC, "no-cache"), TAG),
        again(True, status=200, gives=b"first", **not_modified(TAG)),
        again(True, status=200, gives=b"first", **not_modified(TAG)),
    ),
    behaviour(
        "4.3.3 a full response replaces what is stored",
        first(FRESH, TAG),
        again(
            True,
            after_s=100,
            gives=b"second",
            reply=reply(FRESH, ("ETag", '"b"'), body=b"second"),
        ),
        again(False, gives=b"second", has={"ETag": '"b"'}),
    ),
    behaviour(
        "3.2 a 304 updates what it says and adds what is new",
        first(FRESH, TAG, ("Foo", "1"), ("Foo", "2"), ("Bar", "1"), ("Content-Type", "a/b")),
        again(
            True,
            after_s=100,
            status=200,
            has={"Foo": "3", "Bar": "1", "New": "n", "Content-Type": "c/d"},
            **not_modified(FRESH, TAG, ("Foo", "3"), ("New", "n"), ("Content-Type", "c/d")),
        ),
        again(False, has={"Foo": "3", "Bar": "1", "New": "n", "Content-Type": "c/d"}),
    ),
    behaviour(
        "3.2 but not Content-Length, nor what is of one hop",
        first(FRESH, TAG),
        again(
            True,
            after_s=100,
            status=200,
            gives=b"first",
            has={"Content-Length": "5", "Foo": ABSENT, "Keep-Alive": ABSENT},
            **not_modified(
                FRESH,
                TAG,
                ("Content-Length", "77"),
                ("Connection", "Foo"),
                ("Foo", "1"),
                ("Keep-Alive", "x"),
            ),
        ),
        again(False, gives=b"first", has={"Content-Length": "5", "Foo": ABSENT}),
    ),
    behaviour(
        "4.3.4 a 304 of another tag is of no use: ask again",
        first(FRESH, TAG),
        again(True, after_s=100, status=304, **not_modified(FRESH, ("ETag", '"b"'))),
    ),
    behaviour(
        "4.3.4 a 304 that forbids to store is the last",
        first(FRESH, TAG),
        again(True, after_s=100, status=200, gives=b"first", **not_modified((CC, "no-store"), TAG)),
        again(True, asked={"If-None-Match": ABSENT}),
    ),
    behaviour(
        "4.3.1 the tags of all variants, one of which it is",
        Step(asks=True, headers=[("Foo", "1")], reply=reply(FRESH, ("Vary", "Foo"), TAG)),
        Step(
            asks=True,
            headers=[("Foo", "2")],
            reply=reply(FRESH, ("Vary", "Foo"), ("ETag", '"b"'), body=b"second"),
        ),
        again(
            True,
            ("Foo", "3"),
            status=200,
            gives=b"second",
            asked={"If-None-Match": '"a", "b"'},
            **not_modified(FRESH, ("Vary", "Foo"), ("ETag", '"b"')),
        ),
        again(False, ("Foo", "3"), gives=b"second"),
        again(False, ("Foo", "1"), gives=b"first"),
    ),
]

CLIENTS_OWN: list[Behaviour] = [
    *(
        behaviour(
            f"4.3.2 If-None-Match {asked} of a stored {tag}",
            first(FRESH, ("ETag", tag), ("Foo", "1"), ("Content-Type", "a/b")),
            again(
                False,
                ("If-None-Match", asked),
                status=304,
                gives=b"",
                has={"ETag": tag, CC: "max-age=60", "Foo": "1", "Content-Type": ABSENT},
            ),
        )
        for tag, asked in [
            ('"a"', '"a"'),
            ('"a"', 'W/"a"'),
            ('W/"a"', '"a"'),
            ('"a"', '"x", "a"'),
            ('"a"', '"x",W/"a" ,"y"'),
            ('"a"', "*"),
            ('"a,b"', '"x", "a,b"'),
        ]
    ),
    behaviour(
        "4.3.2 of another tag",
        first(FRESH, TAG),
        again(False, ("If-None-Match", '"b"'), gives=b"first"),
    ),
    behaviour(
        "13.1.2 * of what has no tag",
        first(FRESH),
        again(False, ("If-None-Match", "*"), status=304),
    ),
    behaviour(
        "13.2.2 If-None-Match alone counts",
        first(FRESH, TAG, CHANGED),
        again(False, ("If-None-Match", '"b"'), ("If-Modified-Since", "@0@"), gives=b"first"),
    ),
    behaviour(
        "4.3.2 If-Modified-Since the very moment",
        first(FRESH, CHANGED),
        again(False, ("If-Modified-Since", "@-1000@"), status=304),
    ),
    behaviour(
        "4.3.2 If-Modified-Since later",
        first(FRESH, CHANGED),
        again(False, ("If-Modified-Since", "@-900@"), status=304),
    ),
    behaviour(
        "4.3.2 If-Modified-Since earlier",
        first(FRESH, CHANGED),
        again(False, ("If-Modified-Since", "@-1001@"), status=200),
    ),
    behaviour(
        "4.3.2 Date stands for Last-Modified",
        first(FRESH),
        again(False, ("If-Modified-Since", "@+1@"), status=304),
        again(False, ("If-Modified-Since", "@-1@"), status=200),
    ),
    behaviour(
        "13.1.3 an invalid date is ignored",
        first(FRESH, CHANGED),
        again(False, ("If-Modified-Since", "yesterday"), status=200),
    ),
    behaviour(
        "4.3 conditions of a client are passed on where nothing is stored",
        again(
            True,
            ("If-None-Match", '"z"'),
            ("If-Modified-Since", "@0@"),
            asked={"If-None-Match": '"z"', "If-Modified-Since": "@0@"},
            **not_modified(("ETag", '"z"')),
        ),
        again(True, asked={"If-None-Match": ABSENT}),
    ),
    behaviour(
        "4.3.2 what is new is known to the client already",
        first(FRESH, TAG),
        again(
            True,
            ("If-None-Match", '"b"'),
            after_s=100,
            status=304,
            asked={"If-None-Match": '"a"'},
            reply=reply(FRESH, ("ETag", '"b"'), body=b"second"),
        ),
        again(False, gives=b"second"),
    ),
    behaviour(
        "4.3.2 what is confirmed is known to the client",
        first(FRESH, TAG),
        again(True, ("If-None-Match", '"a"'), after_s=100, **not_modified(FRESH, TAG)),
        again(False, gives=b"first"),
    ),
    *(
        behaviour(
            f"4.3.2 {name} is for the origin",
            first(FRESH, TAG),
            again(True, (name, value), asked={name: value}, reply=reply(status=412)),
            again(False, gives=b"first"),
        )
        for name, value in [("If-Match", '"b"'), ("If-Unmodified-Since", "@-5000@")]
    ),
]

HEAD: list[Behaviour] = [
    behaviour(
        "4 HEAD is answered by a stored GET",
        first(FRESH, TAG),
        again(False, method="HEAD", gives=b"", has={"Content-Length": "5", "ETag": '"a"'}),
    ),
    behaviour(
        "4.3.5 a HEAD that agrees freshens",
        first(FRESH, TAG),
        again(
            True,
            method="HEAD",
            after_s=100,
            reply=reply(FRESH, TAG, ("Foo", "1"), ("Content-Length", "5")),
        ),
        again(False, gives=b"first", has={"Foo": "1"}),
    ),
    *(
        behaviour(
            f"4.3.5 a HEAD of another {field[0]} invalidates",
            first(FRESH, TAG, CHANGED),
            again(
                True,
                (CC, "no-cache"),
                method="HEAD",
                reply=reply(FRESH, field, ("Content-Length", "5"))
                if field[0] != "Content-Length"
                else reply(FRESH, field),
            ),
            again(True),
        )
        for field in [("ETag", '"b"'), ("Last-Modified", "@-1@"), ("Content-Length", "6")]
    ),
    behaviour(
        "4 a HEAD is not the answer to a GET",
        again(True, method="HEAD", reply=reply(FRESH)),
        again(True),
    ),
]


def unsafe(method: str, status: int = 200, *headers: tuple[str, str], target: str = "/") -> Step:
    return Step(
        asks=True, method=method, body=b"x", target=target, reply=reply(*headers, status=status)
    )


INVALIDATION: list[Behaviour] = [
    *(
        behaviour(f"4.4 {method} invalidates", first(FRESH), unsafe(method), again(True))
        for method in ("POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "FOO")
    ),
    *(
        behaviour(f"4.4 {method} does not", first(FRESH), unsafe(method), again(False))
        for method in ("OPTIONS", "TRACE", "PROPFIND", "QUERY")
    ),
    *(
        behaviour(f"4.4 a {status} invalidates", first(FRESH), unsafe("POST", status), again(True))
        for status in (201, 204, 299, 302, 303)
    ),
    *(
        behaviour(f"4.4 a {status} does not", first(FRESH), unsafe("POST", status), again(False))
        for status in (400, 404, 500, 503)
    ),
    *(
        behaviour(
            f"4.4 {name}: {value} is invalidated too",
            Step(asks=True, target="/other?x", reply=reply(FRESH)),
            unsafe("POST", 201, (name, value)),
            again(True, target="/other?x"),
        )
        for name in ("Location", "Content-Location")
        for value in (
            "/other?x",
            "other?x",
            "http://example.org/other?x",
            "http://EXAMPLE.org:80/other?x",
        )
    ),
    *(
        behaviour(
            f"4.4 {name} of another origin is not",
            Step(asks=True, target="/other", reply=reply(FRESH)),
            unsafe("POST", 201, (name, "http://example.com/other")),
            again(False, target="/other"),
        )
        for name in ("Location", "Content-Location")
    ),
    behaviour(
        "4.4 nor is a Location of an error",
        Step(asks=True, target="/other", reply=reply(FRESH)),
        unsafe("POST", 500, ("Location", "/other")),
        again(False, target="/other"),
    ),
    behaviour(
        "4.4 every variant goes",
        Step(asks=True, headers=[("Foo", "1")], reply=reply(FRESH, ("Vary", "Foo"))),
        Step(asks=True, headers=[("Foo", "2")], reply=reply(FRESH, ("Vary", "Foo"))),
        unsafe("DELETE"),
        again(True, ("Foo", "1")),
        again(True, ("Foo", "2")),
    ),
    behaviour("3 POST is not stored", unsafe("POST", 200, FRESH), again(True)),
    behaviour("3 nor are methods nobody knows", unsafe("FOO", 200, FRESH), again(True)),
]

BROKEN = reply(resets=True)

ERRORS: list[Behaviour] = [
    *(
        behaviour(
            f"4.2.4 stale on {what}",
            first(FRESH, TAG),
            again(True, after_s=100, status=200, gives=b"first", reply=answer),
        )
        for what, answer in [
            ("no answer", BROKEN),
            ("503", reply(status=503)),
            ("500", reply(status=500)),
        ]
    ),
    *(
        behaviour(
            f"4.2.4 {directives} forbids to be sent stale",
            first((CC, directives), TAG),
            again(True, after_s=100, status=504, reply=BROKEN),
        )
        for directives in (
            "max-age=60, must-revalidate",
            "max-age=60, proxy-revalidate",
            "s-maxage=60",
            "no-cache",
            "max-age=60, stale-if-error=10",
        )
    ),
    behaviour(
        "4.3.3 must-revalidate passes a 5xx on",
        first((CC, "max-age=60, must-revalidate"), TAG),
        again(True, after_s=100, status=503, reply=reply(status=503)),
    ),
    behaviour(
        "5861 4 stale-if-error while it lasts",
        first((CC, "max-age=60, stale-if-error=50")),
        again(True, after_s=100, status=200, gives=b"first", reply=reply(status=502)),
        again(True, after_s=20, status=502, reply=reply(status=502)),
    ),
    behaviour(
        "5861 4 stale-if-error in a request",
        first(FRESH),
        again(True, (CC, "stale-if-error=10"), after_s=100, status=503, reply=reply(status=503)),
        again(
            True, (CC, "stale-if-error=500"), status=200, gives=b"first", reply=reply(status=503)
        ),
    ),
    behaviour(
        "4.3.3 a 4xx is no failure",
        first(FRESH, TAG),
        again(True, after_s=100, status=404, reply=reply(status=404)),
        again(True, asked={"If-None-Match": ABSENT}),
    ),
    behaviour("15.6.3 502 without an answer", again(True, status=502, reply=BROKEN)),
    behaviour(
        "5.2.1.4 no-cache takes nothing stale",
        first(FRESH),
        again(True, (CC, "no-cache"), status=504, reply=BROKEN),
    ),
]

FIELDS: list[Behaviour] = [
    behaviour(
        "5.1 Age of what is stored",
        first(FRESH, ("Age", "7")),
        again(False, after_s=10, has={"Age": "17"}),
    ),
    behaviour("5.1 Age even at once", first(FRESH), again(False, has={"Age": "0"})),
    behaviour(
        "4.2.3 Age from Date",
        first(FRESH, ("Date", "@-20@")),
        again(False, has={"Age": "20", "Date": "@-20@"}),
    ),
    behaviour(
        "5.1 none of what is not stored", Step(asks=True, reply=reply(FRESH), has={"Age": ABSENT})
    ),
    behaviour(
        "6.6.1 a Date is added", Step(asks=True, reply=reply(("Date", "")), has={"Date": ""})
    ),
    behaviour(
        "7.6.1 what is of one hop goes no further",
        Step(
            asks=True,
            headers=[
                ("Connection", "Foo, keep-alive"),
                ("Foo", "1"),
                ("Keep-Alive", "x"),
                ("TE", "trailers"),
                ("Proxy-Connection", "x"),
                ("Bar", "2"),
            ],
            asked={
                "Foo": ABSENT,
                "Keep-Alive": ABSENT,
                "TE": ABSENT,
                "Proxy-Connection": ABSENT,
                "Bar": "2",
            },
            reply=reply(
                FRESH, ("Connection", "Foo"), ("Foo", "1"), ("Keep-Alive", "x"), ("Bar", "2")
            ),
            has={"Foo": ABSENT, "Keep-Alive": ABSENT, "Bar": "2"},
        ),
        again(False, has={"Foo": ABSENT, "Keep-Alive": ABSENT, "Connection": ABSENT, "Bar": "2"}),
    ),
    behaviour(
        "3.1 what is for the proxy is not stored",
        Step(
            asks=True,
            reply=reply(FRESH, ("Proxy-Authenticate", "x")),
            has={"Proxy-Authenticate": "x"},
        ),
        again(False, has={"Proxy-Authenticate": ABSENT}),
    ),
    behaviour(
        "5.2.2.7 private fields are not stored",
        Step(
            asks=True,
            reply=reply((CC, 'max-age=60, private="Foo, Set-Cookie"'), ("Foo", "1"), ("Bar", "2")),
            has={"Foo": "1"},
        ),
        again(False, has={"Foo": ABSENT, "Bar": "2"}),
    ),
    behaviour(
        "5.2.2.4 no-cache fields are not sent unvalidated",
        Step(
            asks=True,
            reply=reply((CC, 'max-age=60, no-cache="foo"'), ("Foo", "1"), ("Bar", "2")),
            has={"Foo": "1"},
        ),
        again(False, has={"Foo": ABSENT, "Bar": "2"}),
    ),
    behaviour(
        "3.1 everything else is stored",
        Step(
            asks=True,
            reply=reply(FRESH, ("Set-Cookie", "a=b"), ("X-Y", "z"), ("Surrogate-Control", "q")),
        ),
        again(False, has={"Set-Cookie": "a=b", "X-Y": "z", "Surrogate-Control": "q"}),
    ),
    behaviour(
        "9213 2.2 a targeted field is passed on",
        Step(
            asks=True,
            reply=reply(("CDN-Cache-Control", "max-age=60")),
            has={"CDN-Cache-Control": "max-age=60"},
        ),
        again(False, has={"CDN-Cache-Control": "max-age=60"}),
    ),
    behaviour(
        "7.6.3 Via both ways",
        Step(
            asks=True,
            headers=[("Via", "1.0 a")],
            asked={"Via": "1.0 a, 1.1 playhead"},
            reply=reply(("Via", "1.1 b")),
            has={"Via": "1.1 b, 1.1 playhead"},
        ),
    ),
    behaviour(
        "7.6.2 Max-Forwards counts down",
        Step(
            asks=True,
            method="OPTIONS",
            headers=[("Max-Forwards", "3")],
            asked={"Max-Forwards": "2"},
        ),
        Step(asks=False, method="OPTIONS", headers=[("Max-Forwards", "0")], status=200),
        Step(asks=False, method="TRACE", headers=[("Max-Forwards", "0")], status=405),
    ),
]

CS = "Cache-Status"
STATUS: list[Behaviour] = [
    behaviour(
        "9211 uri-miss, stored, then hit",
        Step(
            asks=True,
            reply=reply(FRESH),
            has={CS: "playhead;fwd=uri-miss;fwd-status=200;ttl=60;stored"},
        ),
        again(False, after_s=10, has={CS: "playhead;hit;ttl=50"}),
    ),
    behaviour(
        "9211 uri-miss, not stored",
        Step(asks=True, has={CS: "playhead;fwd=uri-miss;fwd-status=200"}),
    ),
    behaviour(
        "9211 vary-miss",
        first(FRESH, ("Vary", "Foo")),
        again(True, ("Foo", "1"), has={CS: "playhead;fwd=vary-miss;fwd-status=200"}),
    ),
    behaviour(
        "9211 stale, and the status it was confirmed by",
        first(FRESH, TAG),
        again(
            True,
            after_s=100,
            status=200,
            has={CS: "playhead;fwd=stale;fwd-status=304;ttl=60;stored"},
            **not_modified(FRESH, TAG),
        ),
    ),
    behaviour(
        "9211 request",
        first(FRESH),
        again(True, (CC, "no-cache"), has={CS: "playhead;fwd=request;fwd-status=200"}),
    ),
    behaviour(
        "9211 method",
        Step(asks=True, method="POST", has={CS: "playhead;fwd=method;fwd-status=200"}),
    ),
    behaviour(
        "9211 bypass",
        Step(
            asks=True, headers=[("If-Match", "*")], has={CS: "playhead;fwd=bypass;fwd-status=200"}
        ),
    ),
    behaviour(
        "9211 stale on error",
        first(FRESH),
        again(
            True,
            after_s=100,
            status=200,
            reply=reply(status=503),
            has={CS: "playhead;fwd=stale;fwd-status=503;ttl=-40;detail=stale-if-error"},
        ),
        again(
            True,
            status=200,
            reply=BROKEN,
            has={CS: "playhead;fwd=stale;ttl=-40;detail=disconnected"},
        ),
    ),
    behaviour(
        "9211 2 after those of caches before us",
        Step(
            asks=True,
            reply=reply(FRESH, (CS, "a; hit")),
            has={CS: "a; hit, playhead;fwd=uri-miss;fwd-status=200;ttl=60;stored"},
        ),
        again(False, has={CS: "a; hit, playhead;hit;ttl=60"}),
    ),
    behaviour(
        "9211 2 an answer of our own has none",
        Step(asks=True, reply=BROKEN, status=502, has={CS: ABSENT}),
        again(False, (CC, "only-if-cached"), status=504, has={CS: ABSENT}),
    ),
    behaviour(
        "9211 2.2 what is stale anyway was not forwarded for the request",
        first(FRESH),
        again(True, (CC, "no-cache"), after_s=100, has={CS: "playhead;fwd=stale;fwd-status=200"}),
    ),
    behaviour(
        "9211 2.2 partial, and the status of the rest that was asked for",
        Step(
            asks=True,
            headers=[("Range", "bytes=0-1")],
            reply=reply(FRESH, TAG, ("Content-Range", "bytes 0-1/5"), status=206, body=b"fi"),
        ),
        Step(
            asks=True,
            status=200,
            gives=b"first",
            reply=reply(FRESH, TAG, ("Content-Range", "bytes 2-4/5"), status=206, body=b"rst"),
            has={CS: "playhead;fwd=partial;fwd-status=206;ttl=60;stored"},
        ),
    ),
]

ALL = [*REQUESTS, *VARY, *VALIDATION, *CLIENTS_OWN, *HEAD, *INVALIDATION, *ERRORS, *FIELDS, *STATUS]


@pytest.mark.parametrize("rule", ALL, ids=str)
@pytest.mark.parametrize("is_usual", [True, False], ids=["usual", "unusual"])
async def test_rule(rule: Behaviour, is_usual: bool) -> None:
    async with caching() as cache:
        cache.is_usual = is_usual
        await show(cache, rule)
