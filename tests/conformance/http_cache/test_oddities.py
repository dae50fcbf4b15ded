"""What is seldom sent, or should not be: fields spelled oddly, repeated, wrong, or contradictory.

Source: RFC 9110, sections 5, 8.8, 12.5 and 13; RFC 9111, sections 3.2, 4 and 5; RFC 9213.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.http_cache.behaviours import (
    ABSENT,
    Behaviour,
    Lines,
    Step,
    behaviour,
    first,
    reply,
    show,
)
from tests.conformance.http_cache.cache import caching

CC, CDN, EXPIRES = "Cache-Control", "CDN-Cache-Control", "Expires"
FRESH = (CC, "max-age=60")
TAG = ("ETag", '"a"')
CHANGED = ("Last-Modified", "@-1000@")

REUSED: list[tuple[str, Lines]] = [
    ("5.2 the first of two max-ages", [(CC, "max-age=60, max-age=1")]),
    ("5.2 the first of two lines", [(CC, "max-age=60"), (CC, "max-age=1")]),
    ("5.2 the first of two in other case", [(CC, "Max-Age=60, max-age=1")]),
    ("5.2 the first of two s-maxages", [(CC, "s-maxage=60, s-maxage=1")]),
    ("5.2 a comma at the end", [(CC, "max-age=60,")]),
    ("5.2 commas alone before", [(CC, ",,, max-age=60")]),
    ("5.2 a line without a value before", [(CC, ""), (CC, "max-age=60")]),
    ("5.2 tabs", [(CC, "\tfoo\t,\tmax-age=60\t")]),
    ("5.2.3 an extension with a quoted argument", [(CC, 'community="UCI", max-age=60')]),
    ("5.2.3 an extension with an escaped quote", [(CC, r'foo="a\", no-store", max-age=60')]),
    ("5.2.3 an extension with an empty argument", [(CC, "foo=, max-age=60")]),
    ("5.2.3 an extension that is no token", [(CC, "f(o)o=1, max-age=60")]),
    ("5.2.3 a name that begins like another", [(CC, "no-storeage, privately, max-age=60")]),
    ("5.2 a quote that is never closed", [(CC, 'foo="bar, max-age=60')]),
    ("5.2.2.5 no-store in an argument", [(CC, "foo=no-store, max-age=60")]),
    ("5.2.2.4 no-cache of a field", [(CC, 'no-cache="foo", max-age=60')]),
    ("5.2.2.7 private of a field", [(CC, 'private="foo", max-age=60')]),
    ("5.2.2.4 no-cache of a field as a token", [(CC, "no-cache=foo, max-age=60")]),
    ("5.2.2.6 no-transform", [(CC, "no-transform, max-age=60")]),
    ("5.3 Expires far away", [(EXPIRES, "Fri, 31 Dec 9999 23:59:59 GMT")]),
    ("5.3 Expires of the wrong day of the week", [(EXPIRES, "Mon, 15 Jan 2027 09:00:00 GMT")]),
    ("5.6.7 a leap second", [(EXPIRES, "Fri, 15 Jan 2027 08:59:60 GMT")]),
    ("5.6.7 RFC 850, less than 50 years ahead", [(EXPIRES, "Friday, 15-Jan-60 09:00:00 GMT")]),
    ("5.6.7 asctime with one digit", [(EXPIRES, "Sat Jan  1 09:00:00 2028")]),
    ("5.3 Expires beside directives without seconds", [(CC, "public"), (EXPIRES, "@+60@")]),
    ("5.3 Expires beside an unknown directive", [(CC, "foo=1"), (EXPIRES, "@+60@")]),
    ("5.1 an empty Age", [(CC, "max-age=60"), ("Age", "")]),
    ("5.1 an Age with a unit", [(CC, "max-age=60"), ("Age", "100 s")]),
    ("5.1 an Age in quotes", [(CC, "max-age=60"), ("Age", '"100"')]),
    ("5.1 an Age with a sign", [(CC, "max-age=60"), ("Age", "+100")]),
    ("5.1 an Age with leading zeros", [(CC, "max-age=60"), ("Age", "0007")]),
    ("5.1 Age 0 beside a Date of now", [(CC, "max-age=60"), ("Age", "0"), ("Date", "@0@")]),
    ("4.2.3 a Date that is none", [(CC, "max-age=60"), ("Date", "yesterday")]),
    ("4.2.3 a Date as RFC 850", [(CC, "max-age=60"), ("Date", "Friday, 15-Jan-27 08:00:00 GMT")]),
    ("4.2.3 a Date as asctime", [(CC, "max-age=60"), ("Date", "Fri Jan 15 08:00:00 2027")]),
    ("4.1 an empty Vary", [FRESH, ("Vary", "")]),
    ("4.1 a Vary of commas", [FRESH, ("Vary", " , ,")]),
    ("4.1 a Vary of nothing sent", [FRESH, ("Vary", "Foo, Bar, foo")]),
    ("8.8.3 a tag without quotes", [FRESH, ("ETag", "abc")]),
    ("7.3 several Set-Cookie", [FRESH, ("Set-Cookie", "a=b"), ("Set-Cookie", "c=d")]),
    ("9213 a directive with arguments of any type", [(CDN, "a=?0, b=:aGk=:, c=(1 2), max-age=60")]),
    ("9213 several lines", [(CDN, "foo"), (CDN, "max-age=60")]),
    ("9213 tabs between members", [(CDN, "foo,\tmax-age=60")]),
    ("9213 a false no-store", [(CDN, "no-store=?0, max-age=60")]),
    ("9213 one invalid line makes all invalid", [(CDN, "max-age=1"), (CDN, "@"), FRESH]),
    ("9213 a comma at the end is invalid", [(CDN, "max-age=1,"), FRESH]),
    ("9213 a blank value", [(CDN, "   "), FRESH]),
    ("9213 too many digits are invalid", [(CDN, "max-age=1000000000000000"), FRESH]),
    ("9213 15 digits", [(CDN, "max-age=999999999999999")]),
    ("9213 leading zeros", [(CDN, "max-age=00060")]),
    ("9213 no-cache of a field", [(CDN, 'no-cache="foo", max-age=60')]),
    ("9213 must-revalidate", [(CDN, "must-revalidate, max-age=60"), (CC, "no-store")]),
]

NOT_REUSED: list[tuple[str, Lines]] = [
    ("5.2 the first of two max-ages", [(CC, "max-age=1, max-age=60")]),
    ("5.2 the first of two lines", [(CC, "max-age=1"), (CC, "max-age=60")]),
    ("4.2.1 a plus", [(CC, "max-age=+60")]),
    ("4.2.1 an exponent", [(CC, "max-age=6e2")]),
    ("4.2.1 hexadecimal", [(CC, "max-age=0x60")]),
    ("4.2.1 minus zero", [(CC, "max-age=-0")]),
    ("4.2.1 a blank in quotes", [(CC, 'max-age=" 60"')]),
    ("4.2.1 nothing in quotes", [(CC, 'max-age=""')]),
    ("4.2.1 a quote that is never closed", [(CC, 'max-age="60')]),
    ("4.2.1 a semicolon after", [(CC, "max-age=60;foo")]),
    ("4.2.1 no comma after", [(CC, "max-age=60 foo")]),
    ("4.2.1 a colon for =", [(CC, "max-age:60")]),
    ("4.2.1 all in quotes", [(CC, '"max-age=60"')]),
    ("4.2.1 another alphabet's digits", [(CC, "max-age=\xb2\xb3")]),
    ("5.2.2.5 no-store with an argument", [(CC, "no-store=foo, max-age=60")]),
    ("5.2.2.5 no-store with a blank and =", [(CC, "no-store =1, max-age=60")]),
    ("5.2.2.7 private whose field is no name", [(CC, 'private="f oo", max-age=60')]),
    ("5.2.2.7 private that is never closed", [(CC, 'private="foo, max-age=60')]),
    ("5.2.2.7 private with and without a field", [(CC, 'private="foo", private, max-age=60')]),
    ("5.2.2.4 no-cache with and without a field", [(CC, 'no-cache="foo", no-cache, max-age=60')]),
    ("5.2.2.4 no-cache of no field", [(CC, 'no-cache="", max-age=60')]),
    ("5.2.2.5 no-store beside s-maxage", [(CC, "s-maxage=60, no-store")]),
    ("8246 2 immutable alone", [(CC, "immutable")]),
    ("5.2.2.8 must-revalidate alone", [(CC, "must-revalidate")]),
    ("5.2.2.9 public alone", [(CC, "public")]),
    ("5.2.2.1 s-maxage=0 over max-age", [(CC, "s-maxage=0, max-age=60")]),
    ("5.3 Expires: -1", [(EXPIRES, "-1")]),
    ("5.3 an empty Expires", [(EXPIRES, ""), CHANGED]),
    ("5.3 Expires in seconds", [(EXPIRES, "1800000060")]),
    ("5.3 Expires in ISO 8601", [(EXPIRES, "2027-01-15T09:00:00Z")]),
    ("5.3 Expires with an offset", [(EXPIRES, "Fri, 15 Jan 2027 09:00:00 +0000")]),
    ("5.3 Expires without a zone", [(EXPIRES, "Fri, 15 Jan 2027 09:00:00")]),
    ("5.3 Expires without a day of the week", [(EXPIRES, "15 Jan 2027 09:00:00 GMT")]),
    ("5.3 Expires of February 30", [(EXPIRES, "Tue, 30 Feb 2027 09:00:00 GMT")]),
    ("5.3 Expires of hour 24", [(EXPIRES, "Fri, 15 Jan 2027 24:00:00 GMT")]),
    ("5.3 Expires of minute 60", [(EXPIRES, "Fri, 15 Jan 2027 09:60:00 GMT")]),
    ("5.3 Expires of the year 0", [(EXPIRES, "Fri, 15 Jan 0000 09:00:00 GMT")]),
    ("5.3 Expires of another language", [(EXPIRES, "Ven, 15 Jan 2027 09:00:00 GMT")]),
    ("5.6.7 RFC 850, over 50 years ahead is past", [(EXPIRES, "Friday, 15-Jan-78 09:00:00 GMT")]),
    ("5.6.7 RFC 850 with a short day", [(EXPIRES, "Fri, 15-Jan-27 09:00:00 GMT")]),
    ("5.6.7 blanks for dashes", [(EXPIRES, "Friday, 15 Jan 27 09:00:00 GMT")]),
    ("4.2.3 the larger of Date and Age", [(CC, "max-age=60"), ("Date", "@-70@"), ("Age", "3")]),
    ("4.2.3 Age beside a Date to come", [(CC, "max-age=60"), ("Date", "@+100@"), ("Age", "70")]),
    ("4.2.3 a Date as asctime", [(CC, "max-age=60"), ("Date", "Fri Jan 15 07:58:00 2027")]),
    ("5.1 an Age of many digits", [(CC, "max-age=99999999"), ("Age", "9" * 400)]),
    ("4.1 Vary: * after another line", [FRESH, ("Vary", "Foo"), ("Vary", "Bar, *")]),
    ("9213 an empty inner list for seconds", [(CDN, "max-age=()"), FRESH]),
    ("9213 a token for seconds", [(CDN, "max-age=a"), FRESH]),
    ("9213 true for seconds", [(CDN, "max-age"), FRESH]),
    ("9213 no-store with a number", [(CDN, "no-store=1, max-age=60"), FRESH]),
    ("9213 the last of two counts", [(CDN, "max-age=60, max-age=1"), FRESH]),
]


@pytest.mark.parametrize(("rule", "headers"), REUSED, ids=[rule for rule, _ in REUSED])
async def test_it_is_reused_with(rule: str, headers: Lines) -> None:
    async with caching() as cache:
        again = Step(asks=False, after_s=10, gives=b"first")
        await show(cache, Behaviour(rule, (first(*headers), again)))


@pytest.mark.parametrize(("rule", "headers"), NOT_REUSED, ids=[rule for rule, _ in NOT_REUSED])
async def test_it_is_not_reused_with(rule: str, headers: Lines) -> None:
    async with caching() as cache:
        again = Step(asks=True, after_s=10, gives=b"new")
        await show(cache, Behaviour(rule, (first(*headers), again)))


def again(asks: bool, *headers: tuple[str, str], **more: Any) -> Step:
    return Step(asks=asks, headers=headers, **more)


def not_modified(*headers: tuple[str, str]) -> dict[str, Any]:
    return {"reply": reply(*headers, status=304, body=b"")}


def varying(vary: str, *sent: tuple[str, str]) -> Step:
    return Step(asks=True, headers=sent, reply=reply(FRESH, ("Vary", vary)))


VARY = [
    *(
        behaviour(
            f"4.1 {name}: {one!r} is {other!r}",
            varying(name, (name, one)),
            again(False, (name.upper(), other), gives=b"first"),
        )
        for name, one, other in [
            ("Accept-Encoding", "gzip;q=0.5, br", "br,gzip;q=0.5"),
            ("Accept-Encoding", "gzip", "GZIP"),
            ("Accept-Language", "en, de", "EN,de"),
            ("Foo", "a, b", "a,\tb"),
            ("Foo", "a,,b", "a, b"),
            ("Foo", "", ""),
            ("Cookie", "a=b; c=d", "a=b; c=d"),
        ]
    ),
    *(
        behaviour(
            f"4.1 {name}: {one!r} is not {other!r}",
            varying(name, (name, one)),
            again(True, (name, other)),
        )
        for name, one, other in [
            ("Foo", "a", "A"),
            ("Foo", "a b", "ab"),
            ("Foo", '"a, b"', "a, b"),
            ("Foo", "a;q=1", "a"),
            ("Accept-Language", "en, de", "de, en"),
            ("Accept", "a/b, c/d", "c/d, a/b"),
        ]
    ),
    behaviour(
        "4.1 what Connection takes away was not there for the origin",
        varying("Foo", ("Connection", "Foo"), ("Foo", "1")),
        again(False, ("Connection", "foo"), ("Foo", "2")),
        again(False),
        again(True, ("Foo", "1")),
    ),
    behaviour(
        "4.1 order of names in Vary does not matter",
        varying("Foo, Bar", ("Foo", "1"), ("Bar", "2")),
        Step(
            asks=True,
            headers=[("Bar", "3"), ("Foo", "1")],
            reply=reply(FRESH, ("Vary", "bar, FOO"), body=b"second"),
        ),
        again(False, ("Bar", "2"), ("Foo", "1"), gives=b"first"),
        again(False, ("Foo", "1"), ("Bar", "3"), gives=b"second"),
    ),
]

TAGS = [
    behaviour(
        "4.3.1 a tag without quotes is asked about as it came",
        first(FRESH, ("ETag", "abc")),
        again(
            True,
            after_s=100,
            status=200,
            gives=b"first",
            asked={"If-None-Match": "abc"},
            **not_modified(FRESH, ("ETag", "abc")),
        ),
    ),
    behaviour(
        "13.1.2 a tag without quotes is known as it came",
        first(FRESH, ("ETag", "abc")),
        again(False, ("If-None-Match", "abc"), status=304),
        again(False, ("If-None-Match", '"x", abc'), status=304),
        again(False, ("If-None-Match", "ab"), status=200, gives=b"first"),
    ),
    *(
        behaviour(
            f"8.8.3 ETag: {etag} is not asked about",
            first(FRESH, ("ETag", etag)),
            again(True, after_s=100, asked={"If-None-Match": ABSENT}),
        )
        for etag in ("a, b", "a b", "*", 'a"b', "")
    ),
    behaviour(
        "13.1.2 several lines",
        first(FRESH, TAG),
        again(False, ("If-None-Match", '"x"'), ("If-None-Match", '"a"'), status=304),
    ),
    *(
        behaviour(
            f"13.1.2 {asked} is none of its tags",
            first(FRESH, TAG),
            again(False, ("If-None-Match", asked), status=200, gives=b"first"),
        )
        for asked in ('"A"', "a", "", '"ab"', '"x", "y"', 'w/"a', "'a'")
    ),
    *(
        behaviour(
            f"5.6.7 If-Modified-Since {date}",
            first(FRESH, ("Last-Modified", "Fri, 15 Jan 2027 07:00:00 GMT")),
            again(False, ("If-Modified-Since", date), status=304),
        )
        for date in (
            "Friday, 15-Jan-27 07:00:00 GMT",
            "Fri Jan 15 07:00:00 2027",
            "Fri, 15 Jan 2027 07:00:01 GMT",
        )
    ),
    *(
        behaviour(
            f"13.1.3 If-Modified-Since {date} counts not",
            first(FRESH, CHANGED),
            again(False, ("If-Modified-Since", date), status=200, gives=b"first"),
        )
        for date in ("", "0", "Fri, 15 Jan 2027 09:00:00 EST", "now")
    ),
    behaviour(
        "13.1.3 two If-Modified-Since count not",
        first(FRESH, CHANGED),
        again(False, ("If-Modified-Since", "@0@"), ("If-Modified-Since", "@0@"), status=200),
    ),
    behaviour(
        "4.3.2 conditions are about what succeeded",
        first(FRESH, TAG, status=404),
        again(False, ("If-None-Match", '"a"'), status=404, gives=b"first"),
    ),
    behaviour(
        "15.4.5 a 304 has what caches go by, and no more",
        first(
            FRESH,
            TAG,
            CHANGED,
            ("Vary", "Foo"),
            ("Expires", "@+60@"),
            ("Content-Location", "/x"),
            ("Content-Type", "a/b"),
            ("Content-Encoding", "gzip"),
        ),
        again(
            False,
            ("If-None-Match", '"a"'),
            after_s=5,
            status=304,
            has={
                "ETag": '"a"',
                "Vary": "Foo",
                "Cache-Control": "max-age=60",
                "Content-Location": "/x",
                "Date": "@-5@",
                "Age": "5",
                "Content-Type": ABSENT,
                "Content-Encoding": ABSENT,
                "Content-Length": ABSENT,
                "Last-Modified": ABSENT,
            },
        ),
    ),
    behaviour(
        "4.3.4 a weak tag of a 304 confirms a strong one",
        first(FRESH, TAG),
        again(
            True, after_s=100, status=200, gives=b"first", **not_modified(FRESH, ("ETag", 'W/"a"'))
        ),
    ),
    behaviour(
        "4.3.4 another Last-Modified of a 304 to a date confirms nothing",
        first(FRESH, CHANGED),
        again(True, after_s=100, status=304, **not_modified(FRESH, ("Last-Modified", "@-1@"))),
    ),
]

UPDATES = [
    *(
        behaviour(
            f"3.2 a 304 updates {name}",
            first(FRESH, TAG, (name, before)),
            again(True, after_s=100, status=200, **not_modified(FRESH, TAG, (name, after))),
            again(False, gives=b"first", has={name: after}),
        )
        for name, before, after in [
            ("Cache-Control", "max-age=60", "max-age=60, max-age=60"),
            ("Content-Language", "en", "de"),
            ("Content-Location", "/a", "/b"),
            ("Content-Security-Policy", "default-src a", "default-src b"),
            ("Expires", "@+60@", "@+170@"),
            ("Set-Cookie", "a=b", "c=d"),
            ("X-Frame-Options", "deny", "sameorigin"),
            ("Clear-Site-Data", '"cache"', '"cookies"'),
            ("Link", "</a>", "</b>"),
        ]
        if name not in {"Cache-Control", "Expires"}
    ),
    *(
        behaviour(
            f"3.2 a 304 does not update {name}",
            first(FRESH, TAG, (name, before)),
            again(True, after_s=100, status=200, **not_modified(FRESH, TAG, (name, after))),
            again(False, gives=b"first", has={name: kept}),
        )
        for name, before, after, kept in [
            ("Content-Length", "5", "9", "5"),
            ("Keep-Alive", "a", "b", ABSENT),
            ("Proxy-Authenticate", "a", "b", ABSENT),
            ("Proxy-Authentication-Info", "a", "b", ABSENT),
            ("Trailer", "a", "b", ABSENT),
            ("Upgrade", "a", "b", ABSENT),
            ("TE", "a", "b", ABSENT),
        ]
    ),
    behaviour(
        "4.3.4 a 304 makes it as young as itself",
        first(FRESH, TAG),
        again(True, after_s=100, status=200, **not_modified(FRESH, TAG, ("Age", "20"))),
        again(False, after_s=10, has={"Age": "30"}),
        again(True, after_s=31),
    ),
    behaviour(
        "4.3.4 a 304 may change for how long it is fresh",
        first(FRESH, TAG),
        again(True, after_s=100, status=200, **not_modified((CC, "max-age=1000"), TAG)),
        again(False, after_s=900, gives=b"first"),
    ),
    behaviour(
        "4.3.4 one without a word about it leaves it as it was",
        first(FRESH, TAG),
        again(True, after_s=100, status=200, **not_modified(TAG)),
        again(False, after_s=50, gives=b"first"),
        again(True, after_s=20),
    ),
    behaviour(
        "4.3.5 a HEAD of the same updates what it says",
        first(FRESH, TAG, ("Foo", "1")),
        again(
            True,
            (CC, "no-cache"),
            method="HEAD",
            reply=reply(FRESH, TAG, ("Foo", "2"), ("Content-Length", "5")),
        ),
        again(False, gives=b"first", has={"Foo": "2"}),
    ),
    behaviour(
        "4.3.5 a HEAD that fails says nothing",
        first(FRESH, TAG),
        again(True, (CC, "no-cache"), method="HEAD", reply=reply(status=404)),
        again(False, gives=b"first"),
    ),
]

REQUESTS = [
    behaviour("5.2.1 directives in any case", first(FRESH), again(True, (CC, "NO-CACHE"))),
    behaviour("5.2.1 among others", first(FRESH), again(True, (CC, "foo, no-cache , bar=1"))),
    behaviour("5.2.1 on another line", first(FRESH), again(True, (CC, "foo"), (CC, "no-cache"))),
    behaviour("5.2.1 unknown ones", first(FRESH), again(False, (CC, "foo=bar, baz"))),
    behaviour("5.2.1 response directives", first(FRESH), again(False, (CC, "must-revalidate"))),
    behaviour(
        "5.2.1.1 max-age in quotes", first(FRESH), again(True, (CC, 'max-age="5"'), after_s=9)
    ),
    behaviour(
        "5.2.1.1 a max-age that is none", first(FRESH), again(True, (CC, "max-age=x"), after_s=1)
    ),
    behaviour("5.2.1.1 a large max-age", first(FRESH), again(False, (CC, "max-age=9999999999999"))),
    behaviour(
        "5.2.1.1 a large max-age does not make it fresher",
        first(FRESH),
        again(True, (CC, "max-age=1000"), after_s=100),
    ),
    behaviour(
        "5.2.1.2 a max-stale that is none permits nothing",
        first(FRESH),
        again(True, (CC, "max-stale=x"), after_s=100),
    ),
    behaviour(
        "5.2.1 max-age and max-stale both count",
        first(FRESH),
        again(True, (CC, "max-age=10, max-stale=500"), after_s=100),
    ),
    *(
        behaviour(
            f"4.2.4 {said} forbids max-stale",
            first((CC, said), TAG),
            again(True, (CC, "max-stale=1000"), after_s=100),
        )
        for said in ("max-age=60, proxy-revalidate", "s-maxage=60", "no-cache, max-age=60")
    ),
    behaviour(
        "5.2.1.7 only-if-cached of what is stale",
        first(FRESH),
        again(False, (CC, "only-if-cached"), after_s=100, status=504),
    ),
    behaviour(
        "5.2.1.7 only-if-cached of a stale one that is taken",
        first(FRESH),
        again(False, (CC, "only-if-cached, max-stale"), after_s=100, gives=b"first"),
    ),
    behaviour("5.4 Pragma in any case", first(FRESH), again(True, ("Pragma", "No-Cache"))),
    behaviour("5.4 Pragma among others", first(FRESH), again(True, ("Pragma", "foo, no-cache"))),
    behaviour(
        "3.5 what is not for all is not kept for all",
        Step(asks=True, headers=[("Authorization", "a")], reply=reply(FRESH, ("ETag", '"s"'))),
        again(True, ("Authorization", "a")),
        again(True),
    ),
    behaviour(
        "3.5 a refusal to somebody does not drop what others get",
        first(FRESH),
        again(True, ("Authorization", "a"), (CC, "no-cache"), status=401, reply=reply(status=401)),
        again(False, gives=b"first"),
    ),
    behaviour(
        "15.5.17 a range that cannot be does not drop what is stored",
        first(FRESH, TAG),
        again(
            True,
            ("Range", "bytes=99-"),
            (CC, "no-cache"),
            status=416,
            reply=reply(("Content-Range", "bytes */5"), status=416),
        ),
        again(False, gives=b"first"),
    ),
    behaviour(
        "9.3.1 a GET with content goes to the origin",
        first(FRESH),
        Step(asks=True, body=b"query", gives=b"new"),
        again(False, gives=b"first"),
    ),
]

ALL = [*VARY, *TAGS, *UPDATES, *REQUESTS]


@pytest.mark.parametrize("rule", ALL, ids=str)
@pytest.mark.parametrize("is_usual", [True, False], ids=["usual", "unusual"])
async def test_rule(rule: Behaviour, is_usual: bool) -> None:
    async with caching() as cache:
        cache.is_usual = is_usual
        await show(cache, rule)
