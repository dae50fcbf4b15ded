"""What is stored and how long it is reused: RFC 9111, sections 3, 4.2, 5.1 to 5.3; RFC 9213."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from tests.conformance.http_cache.behaviours import Behaviour, Lines, Step, first, show
from tests.conformance.http_cache.cache import NOON, caching

CC = "Cache-Control"
CDN = "CDN-Cache-Control"

REUSED: list[tuple[str, Lines]] = [
    ("4.2.1 max-age", [(CC, "max-age=60")]),
    ("4.2.1 s-maxage", [(CC, "s-maxage=60")]),
    ("4.2.1 s-maxage over a smaller max-age", [(CC, "max-age=1, s-maxage=60")]),
    ("4.2.1 max-age over a past Expires", [(CC, "max-age=60"), ("Expires", "@-60@")]),
    ("4.2.1 s-maxage over a past Expires", [(CC, "s-maxage=60"), ("Expires", "@-60@")]),
    ("5.3 Expires", [("Expires", "@+60@")]),
    ("5.3 Expires counts from Date", [("Date", "@-100@"), ("Expires", "@+200@")]),
    ("4.2 Expires in any case", [("Expires", formatdate(NOON + 60, usegmt=True).lower())]),
    ("5.6.7 Expires as RFC 850", [("Expires", "Friday, 15-Jan-27 09:00:00 GMT")]),
    ("5.6.7 Expires as asctime", [("Expires", "Fri Jan 15 09:00:00 2027")]),
    ("5.2 directives in any case", [(CC, "MAX-AGE=60")]),
    ("5.2 directives of several lines", [(CC, "foo"), (CC, "max-age=60")]),
    ("5.2 a quoted argument", [(CC, 'max-age="60"')]),
    ("5.2 unknown directives are ignored", [(CC, 'foo=bar, baz, q="a, b", max-age=60')]),
    ("5.2 a directive in a quoted string is none", [(CC, 'foo="no-store, max-age=0", max-age=60')]),
    ("5.2 blanks around commas", [(CC, " ,, foo ,\tmax-age=60 , ")]),
    ("1.2.2 leading zeros", [(CC, "max-age=00060")]),
    ("1.2.2 more than 2^31", [(CC, "max-age=2147483649")]),
    ("1.2.2 more than 2^64", [(CC, "max-age=99999999999999999999999")]),
    ("4.2.2 a tenth of the time since the change", [("Last-Modified", "@-100000@")]),
    ("5.2.2.9 public with heuristics", [(CC, "public"), ("Last-Modified", "@-100000@")]),
    ("5.2.2.3 must-understand over no-store", [(CC, "no-store, must-understand, max-age=60")]),
    ("5.1 Age less than the lifetime", [(CC, "max-age=60"), ("Age", "30")]),
    ("5.1 an Age that is no number", [(CC, "max-age=60"), ("Age", "foo")]),
    ("5.1 a negative Age", [(CC, "max-age=60"), ("Age", "-7200")]),
    ("5.1 a decimal Age", [(CC, "max-age=60"), ("Age", "7200.0")]),
    ("5.1 the first of a list of Ages", [(CC, "max-age=60"), ("Age", "10, 7200")]),
    ("5.1 the first of two Ages", [(CC, "max-age=60"), ("Age", "10"), ("Age", "7200")]),
    ("4.2.3 no Date", [(CC, "max-age=60"), ("Date", "")]),
    ("4.2.3 a Date to come", [(CC, "max-age=60"), ("Date", "@+1000@")]),
    ("7.3 Set-Cookie forbids nothing", [(CC, "max-age=60"), ("Set-Cookie", "a=b")]),
    ("5.4 Pragma in a response means nothing", [(CC, "max-age=60"), ("Pragma", "no-cache")]),
    ("8246 immutable", [(CC, "max-age=60, immutable")]),
    ("9213 2.2 the targeted field over Cache-Control", [(CDN, "max-age=60"), (CC, "no-store")]),
    ("9213 2.2 the targeted field over Expires", [(CDN, "max-age=60"), ("Expires", "@-60@")]),
    ("9213 2.1 an invalid one is ignored", [(CDN, "max-age=1, &&"), (CC, "max-age=60")]),
    ("9213 2.1 an empty one is ignored", [(CDN, ""), (CC, "max-age=60")]),
    ("9213 2.1 blanks around = are invalid", [(CDN, "max-age = 1"), (CC, "max-age=60")]),
    ("9213 2.1 a name in upper case is invalid", [(CDN, "MAX-AGE=1"), (CC, "max-age=60")]),
    ("9213 2.1 parameters are ignored", [(CDN, "max-age=60;no-store")]),
    ("9213 2.1 the last of two counts", [(CDN, "max-age=1, max-age=60")]),
    (
        "9213 2.2 of other caches' fields nothing",
        [("Foo-Cache-Control", "no-store"), (CC, "max-age=60")],
    ),
    ("9213 2.2 s-maxage in it", [(CDN, "max-age=1, s-maxage=60")]),
    ("Surrogate-Control is not ours", [("Surrogate-Control", "no-store"), (CC, "max-age=60")]),
]

NOT_REUSED: list[tuple[str, Lines]] = [
    ("4.2.1 nothing said", []),
    ("4.2.1 a validator alone", [("ETag", '"a"')]),
    ("4.2.1 max-age is over", [(CC, "max-age=9")]),
    ("4.2.1 max-age=0", [(CC, "max-age=0")]),
    ("4.2.1 s-maxage over a larger max-age", [(CC, "max-age=60, s-maxage=1")]),
    ("4.2.1 max-age over Expires", [(CC, "max-age=1"), ("Expires", "@+60@")]),
    ("4.2.1 max-age that is no number", [(CC, "max-age=a60"), ("Expires", "@+60@")]),
    ("4.2.1 a number and more", [(CC, "max-age=60a")]),
    ("4.2.1 a negative max-age", [(CC, "max-age=-60")]),
    ("4.2.1 a decimal max-age", [(CC, "max-age=60.5")]),
    ("4.2.1 single quotes", [(CC, "max-age='60'")]),
    ("4.2.1 no argument", [(CC, "max-age"), ("Expires", "@+60@")]),
    ("4.2.1 an empty argument", [(CC, "max-age="), ("Expires", "@+60@")]),
    ("5.2 a blank before =", [(CC, "max-age =60")]),
    ("5.2 a blank after =", [(CC, "max-age= 60")]),
    ("5.2 blanks around =", [(CC, "max-age = 60"), ("Expires", "@+60@")]),
    ("5.2 a directive in a quoted string", [(CC, 'foo="max-age=60"')]),
    ("4.2.1 an invalid s-maxage beside max-age", [(CC, "s-maxage=x, max-age=60")]),
    ("5.3 Expires is over", [("Expires", "@+9@")]),
    ("5.3 Expires equals Date", [("Expires", "@0@")]),
    ("5.3 Expires: 0", [("Expires", "0"), ("Last-Modified", "@-100000@")]),
    ("5.3 an invalid Expires", [("Expires", "soon"), ("Last-Modified", "@-100000@")]),
    ("5.3 two Expires", [("Expires", "@+60@"), ("Expires", "@+60@")]),
    ("4.2 Expires of another zone", [("Expires", "Fri, 15 Jan 2027 09:00:00 EST")]),
    ("4.2 Expires in UTC", [("Expires", "Fri, 15 Jan 2027 09:00:00 UTC")]),
    ("5.6.7 one digit of a day", [("Expires", "Fri, 1 Jan 2028 09:00:00 GMT")]),
    ("5.6.7 two blanks", [("Expires", "Fri, 15  Jan 2027 09:00:00 GMT")]),
    ("5.6.7 two digits of a year", [("Expires", "Fri, 15 Jan 27 09:00:00 GMT")]),
    ("5.6.7 dots for colons", [("Expires", "Fri, 15 Jan 2027 09.00.00 GMT")]),
    ("5.3 Expires relative to a Date to come", [("Date", "@+60@"), ("Expires", "@+60@")]),
    ("5.1 an Age over the lifetime", [(CC, "max-age=60"), ("Age", "61")]),
    ("5.1 an Age of 2^31", [(CC, "max-age=60"), ("Age", "2147483648")]),
    ("5.1 an Age over 2^64", [(CC, "max-age=60"), ("Age", "99999999999999999999999")]),
    ("4.2.3 an old Date", [(CC, "max-age=60"), ("Date", "@-61@")]),
    ("4.2.3 Expires with Age", [("Expires", "@+60@"), ("Age", "61")]),
    ("5.2.2.5 no-store", [(CC, "no-store, max-age=60")]),
    ("5.2.2.5 NO-STORE", [(CC, "NO-STORE, max-age=60")]),
    ("5.2.2.5 no-store on another line", [(CC, "max-age=60"), (CC, "no-store")]),
    ("5.2.2.7 private", [(CC, "private, max-age=60")]),
    ("5.2.2.7 private of no field", [(CC, 'private="", max-age=60')]),
    ("5.2.2.4 no-cache", [(CC, "no-cache, max-age=60")]),
    ("5.2.2.4 no-cache with a validator", [(CC, "no-cache, max-age=60"), ("ETag", '"a"')]),
    ("4.1 Vary: *", [(CC, "max-age=60"), ("Vary", "*")]),
    ("4.1 Vary: * among others", [(CC, "max-age=60"), ("Vary", "Accept, *")]),
    ("4.1 Vary: * on another line", [(CC, "max-age=60"), ("Vary", "Accept"), ("Vary", "*")]),
    ("4.2.2 no date of change to go by", [("Last-Modified", "long ago")]),
    ("4.2.2 changed just now", [("Last-Modified", "@-20@")]),
    ("9213 2.2 no-store in it", [(CDN, "no-store"), (CC, "max-age=60")]),
    ("9213 2.2 private in it", [(CDN, "private, max-age=60"), (CC, "max-age=60")]),
    ("9213 2.2 no-cache in it", [(CDN, "no-cache"), (CC, "max-age=60")]),
    ("9213 2.2 max-age=0 in it", [(CDN, "max-age=0"), (CC, "max-age=60"), ("Expires", "@+60@")]),
    ("9213 2.1 a decimal in it", [(CDN, "max-age=60.5"), (CC, "max-age=60")]),
    ("9213 2.1 a string in it", [(CDN, 'max-age="60"'), (CC, "max-age=60")]),
    ("9213 2.1 a negative one in it", [(CDN, "max-age=-1"), (CC, "max-age=60")]),
    ("9213 2.2 Expires counts not beside it", [(CDN, "foo"), ("Expires", "@+60@")]),
    ("9213 2.2 Age counts beside it", [(CDN, "max-age=60"), ("Age", "61")]),
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


HEURISTICALLY = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501]
EXPLICITLY = [*HEURISTICALLY, 201, 202, 299, 302, 303, 307, 400, 403, 418, 451, 499, 500, 503, 599]


@pytest.mark.parametrize("status", EXPLICITLY)
async def test_any_final_status_is_reused_if_it_says_for_how_long(status: int) -> None:
    async with caching() as cache:
        one = first((CC, "max-age=60"), status=status)
        await show(cache, Behaviour(f"3 {status}", (one, Step(asks=False, status=status))))


@pytest.mark.parametrize("status", HEURISTICALLY)
async def test_some_statuses_are_reused_without_being_told(status: int) -> None:
    async with caching() as cache:
        one = first(("Last-Modified", "@-100000@"), status=status)
        await show(cache, Behaviour(f"4.2.2 {status}", (one, Step(asks=False, status=status))))


@pytest.mark.parametrize("status", [201, 202, 302, 303, 307, 400, 403, 418, 500, 503, 599])
async def test_others_are_not(status: int) -> None:
    async with caching() as cache:
        one = first(("Last-Modified", "@-100000@"), status=status)
        await show(cache, Behaviour(f"4.2.2 {status}", (one, Step(asks=True))))


async def test_others_are_with_public() -> None:
    async with caching() as cache:
        one = first((CC, "public"), ("Last-Modified", "@-100000@"), status=299)
        await show(cache, Behaviour("4.2.2 public", (one, Step(asks=False, status=299))))


async def test_must_understand_of_an_unknown_status_is_not_stored() -> None:
    async with caching() as cache:
        one = first((CC, "must-understand, no-store, max-age=60"), status=299)
        await show(cache, Behaviour("5.2.2.3", (one, Step(asks=True))))
        one = first((CC, "must-understand, max-age=60"), status=299)
        await show(cache, Behaviour("5.2.2.3", (one, Step(asks=True))))
