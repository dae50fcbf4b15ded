"""Ranges and partial responses: RFC 9110, section 14; RFC 9111, sections 3.3 and 3.4."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.http_cache.behaviours import ABSENT, Behaviour, Step, behaviour, reply, show
from tests.conformance.http_cache.cache import caching

FRESH = ("Cache-Control", "max-age=60")
TAG = ("ETag", '"a"')
TEN = b"0123456789"


def stored(*headers: tuple[str, str], body: bytes = TEN) -> Step:
    return Step(asks=True, reply=reply(FRESH, *headers, body=body))


def ranged(asks: bool, range_: str, *headers: tuple[str, str], **more: Any) -> Step:
    return Step(asks=asks, headers=[("Range", range_), *headers], **more)


def part(start: int, end: int, *headers: tuple[str, str], size: str = "10") -> dict[str, Any]:
    lies = ("Content-Range", f"bytes {start}-{end - 1}/{size}")
    return {"reply": reply(FRESH, *headers, lies, status=206, body=TEN[start:end])}


RANGES: list[Behaviour] = [
    *(
        behaviour(
            f"14.1.2 {asked} of what is stored whole",
            stored(TAG),
            ranged(
                False,
                asked,
                status=206,
                gives=TEN[start:end],
                has={
                    "Content-Range": f"bytes {start}-{end - 1}/10",
                    "Content-Length": str(end - start),
                },
            ),
        )
        for asked, start, end in [
            ("bytes=0-0", 0, 1),
            ("bytes=2-4", 2, 5),
            ("bytes=7-", 7, 10),
            ("bytes=-3", 7, 10),
            ("bytes=-30", 0, 10),
            ("bytes=5-99", 5, 10),
            ("BYTES=2-4", 2, 5),
            ("bytes=0-2,3-5", 0, 6),
            ("bytes=4-5, 2-4", 2, 6),
        ]
    ),
    *(
        behaviour(
            f"14.2 {asked} is ignored", stored(TAG), ranged(False, asked, status=200, gives=TEN)
        )
        for asked in ("bytes=5-2", "bytes=a-b", "bytes=", "pages=1-2", "bytes 1-2", "bytes=0-1,8-9")
    ),
    *(
        behaviour(
            f"15.5.17 {asked} cannot be",
            stored(TAG),
            ranged(
                False, asked, status=416, has={"Content-Range": "bytes */10", "Content-Length": "0"}
            ),
        )
        for asked in ("bytes=10-", "bytes=10-20", "bytes=-0")
    ),
    behaviour(
        "14.2 of a HEAD it means nothing",
        stored(TAG),
        ranged(False, "bytes=0-1", method="HEAD", status=200, has={"Content-Length": "10"}),
    ),
    behaviour(
        "13.2.2 conditions come first",
        stored(TAG),
        ranged(False, "bytes=0-1", ("If-None-Match", '"a"'), status=304),
    ),
    behaviour(
        "13.1.5 If-Range of the same tag",
        stored(TAG),
        ranged(False, "bytes=0-1", ("If-Range", '"a"'), status=206),
    ),
    *(
        behaviour(
            f"13.1.5 If-Range of {if_range}",
            stored(("ETag", tag), ("Last-Modified", changed)),
            ranged(False, "bytes=0-1", ("If-Range", if_range), status=200, gives=TEN),
        )
        for tag, changed, if_range in [
            ('"a"', "@-1000@", '"b"'),
            ('"a"', "@-1000@", 'W/"a"'),
            ('W/"a"', "@-1000@", 'W/"a"'),
            ('"a"', "@-1000@", "@-999@"),
            ('"a"', "@-1000@", "@-1001@"),
            ('"a"', "@-1@", "@-1@"),
            ('"a"', "@-1000@", "foo"),
        ]
    ),
    behaviour(
        "13.1.5 If-Range of a strong date",
        stored(("Last-Modified", "@-1000@")),
        ranged(False, "bytes=0-1", ("If-Range", "@-1000@"), status=206, gives=b"01"),
    ),
    behaviour(
        "3.3 a part is passed on, stored and sent again",
        ranged(True, "bytes=2-5", gives=b"2345", asked={"Range": "bytes=2-5"}, **part(2, 6, TAG)),
        ranged(
            False, "bytes=2-5", status=206, gives=b"2345", has={"Content-Range": "bytes 2-5/10"}
        ),
        ranged(
            False,
            "bytes=3-4",
            status=206,
            gives=b"34",
            has={"Content-Range": "bytes 3-4/10", "Content-Length": "2"},
        ),
    ),
    behaviour(
        "3.3 a part is not all",
        ranged(True, "bytes=2-5", **part(2, 6, TAG)),
        Step(
            asks=True,
            gives=TEN,
            reply=reply(FRESH, TAG, body=TEN),
            has={"Cache-Status": "playhead;fwd=partial;fwd-status=200;ttl=60;stored"},
        ),
        Step(asks=False, gives=TEN),
    ),
    behaviour(
        "3.3 nor is it more than it is",
        ranged(True, "bytes=2-5", **part(2, 6, TAG)),
        ranged(True, "bytes=5-6", gives=b"56", **part(5, 7, TAG)),
    ),
    behaviour(
        "3.4 parts of one strong tag are put together",
        ranged(True, "bytes=0-3", **part(0, 4, TAG)),
        ranged(True, "bytes=4-7", **part(4, 8, TAG)),
        ranged(False, "bytes=2-6", status=206, gives=b"23456"),
    ),
    behaviour(
        "3.4 until they are all",
        ranged(True, "bytes=5-", **part(5, 10, TAG)),
        ranged(True, "bytes=0-6", **part(0, 7, TAG)),
        Step(
            asks=False, status=200, gives=TEN, has={"Content-Length": "10", "Content-Range": ABSENT}
        ),
    ),
    *(
        behaviour(
            f"3.4 parts of {tags} are not",
            ranged(True, "bytes=0-3", **part(0, 4, *tags[0])),
            ranged(True, "bytes=4-7", **part(4, 8, *tags[1])),
            ranged(True, "bytes=2-6", **part(2, 7)),
        )
        for tags in [
            ([TAG], [("ETag", '"b"')]),
            ([("ETag", 'W/"a"')], [("ETag", 'W/"a"')]),
            ([TAG], []),
            ([], []),
        ]
    ),
    behaviour(
        "3.4 a part of the same as what is whole updates it",
        stored(TAG),
        ranged(True, "bytes=0-1", ("Cache-Control", "no-cache"), **part(0, 2, TAG, ("Foo", "1"))),
        Step(asks=False, gives=TEN, has={"Foo": "1"}),
    ),
    behaviour(
        "3.4 a part of another takes its place",
        stored(TAG),
        ranged(True, "bytes=0-1", ("Cache-Control", "no-cache"), **part(0, 2, ("ETag", '"b"'))),
        ranged(False, "bytes=0-1", status=206, has={"ETag": '"b"'}),
        Step(asks=True),
    ),
    behaviour(
        "14.4 what is not the span it says is not stored",
        ranged(
            True,
            "bytes=0-3",
            reply=reply(FRESH, TAG, ("Content-Range", "bytes 0-7/10"), status=206, body=b"0123"),
        ),
        ranged(True, "bytes=0-3", **part(0, 4, TAG)),
    ),
    behaviour(
        "14.4 of unknown size nothing can be cut",
        ranged(True, "bytes=0-3", **part(0, 4, TAG, size="*")),
        ranged(True, "bytes=0-3", **part(0, 4, TAG)),
    ),
    behaviour(
        "15.5.17 a 416 is about the range, not the target",
        ranged(True, "bytes=99-", reply=reply(FRESH, status=416)),
        Step(asks=True, gives=b"new"),
    ),
    behaviour(
        "13.2.2 conditions come first of a part too",
        ranged(True, "bytes=2-5", **part(2, 6, TAG)),
        ranged(False, "bytes=2-5", ("If-None-Match", '"a"'), status=304),
        ranged(False, "bytes=2-5", ("If-None-Match", '"b"'), status=206, gives=b"2345"),
    ),
    behaviour(
        "13.1.5 If-Range of a part",
        ranged(True, "bytes=2-5", **part(2, 6, TAG)),
        ranged(False, "bytes=3-4", ("If-Range", '"a"'), status=206, gives=b"34"),
        ranged(
            True,
            "bytes=3-4",
            ("If-Range", '"b"'),
            asked={"If-Range": '"b"', "Range": "bytes=3-4"},
            status=200,
            gives=TEN,
            reply=reply(FRESH, TAG, body=TEN),
        ),
    ),
    behaviour(
        "3.4 what is missing of all is asked for alone",
        ranged(True, "bytes=0-3", **part(0, 4, TAG, ("Foo", "1"), ("Bar", "2"))),
        Step(
            asks=True,
            asked={"Range": "bytes=4-9", "If-Range": '"a"', "If-None-Match": ABSENT},
            status=200,
            gives=TEN,
            has={"Content-Length": "10", "Content-Range": ABSENT, "Foo": "1", "Bar": "3"},
            **part(4, 10, TAG, ("Bar", "3")),
        ),
        Step(asks=False, status=200, gives=TEN, has={"Foo": "1", "Bar": "3"}),
        ranged(False, "bytes=2-8", status=206, gives=TEN[2:9]),
    ),
    behaviour(
        "3.4 also in its middle, by a strong date",
        ranged(True, "bytes=0-2", **part(0, 3, ("Last-Modified", "@-1000@"))),
        ranged(True, "bytes=7-", **part(7, 10, ("Last-Modified", "@-1000@"))),
        Step(
            asks=True,
            asked={"Range": "bytes=3-6", "If-Range": "@-1000@"},
            status=200,
            gives=TEN,
            **part(3, 7, ("Last-Modified", "@-1000@")),
        ),
        Step(asks=False, gives=TEN),
    ),
    behaviour(
        "3.4 and when it is stale",
        ranged(True, "bytes=0-3", **part(0, 4, TAG)),
        Step(asks=True, after_s=100, status=200, gives=TEN, **part(4, 10, TAG)),
        Step(asks=False, after_s=50, gives=TEN),
    ),
    *(
        behaviour(
            f"3.4 not where it must be all of one thing: {why}",
            ranged(True, "bytes=0-3", **part(0, 4, *headers, size=size)),
            Step(asks=True, asked={"Range": ABSENT}, gives=b"new"),
        )
        for why, headers, size in [
            ("a weak tag", [("ETag", 'W/"a"')], "10"),
            ("no validator", [], "10"),
            ("a date that is not strong", [("Last-Modified", "@-1@")], "10"),
            ("an unknown size", [TAG], "*"),
        ]
    ),
    behaviour(
        "3.4 nor where two requests would be needed",
        ranged(True, "bytes=3-4", **part(3, 5, TAG)),
        Step(asks=True, asked={"Range": ABSENT}, gives=b"new"),
    ),
    behaviour(
        "3.4 a rest of something else is not put to it: all is asked for",
        ranged(True, "bytes=0-3", **part(0, 4, TAG)),
        Step(asks=True, status=206, asked={"Range": ABSENT}, **part(4, 10, ("ETag", '"b"'))),
    ),
    behaviour(
        "3.4 what changed since comes whole",
        ranged(True, "bytes=0-3", **part(0, 4, TAG)),
        Step(
            asks=True,
            status=200,
            gives=b"second",
            reply=reply(FRESH, ("ETag", '"b"'), body=b"second"),
        ),
        Step(asks=False, gives=b"second"),
    ),
    behaviour(
        "3.4 a client's conditions are not mixed with it",
        ranged(True, "bytes=0-3", **part(0, 4, TAG)),
        Step(
            asks=True,
            headers=[("If-None-Match", '"b"')],
            asked={"Range": ABSENT, "If-None-Match": '"b"'},
        ),
    ),
    behaviour(
        "14.2 of another unit it is the upstream's to refuse",
        ranged(True, "lines=1-2", asked={"Range": "lines=1-2"}, reply=reply(FRESH, TAG, body=TEN)),
        ranged(False, "lines=1-2", status=200, gives=TEN),
    ),
    behaviour(
        "14.6 several parts pass and are not stored",
        ranged(
            True,
            "bytes=0-1, 8-9",
            gives=b"--x",
            reply=reply(
                FRESH, TAG, ("Content-Type", "multipart/byteranges"), status=206, body=b"--x"
            ),
        ),
        ranged(True, "bytes=0-1, 8-9", **part(0, 2, TAG)),
    ),
    behaviour(
        "14.2 of what is no 200 it means nothing",
        Step(asks=True, reply=reply(FRESH, status=404, body=TEN)),
        ranged(False, "bytes=0-1", status=404, gives=TEN),
    ),
    behaviour(
        "4.3.1 a range of what is stale",
        stored(TAG),
        ranged(
            True,
            "bytes=2-4",
            after_s=100,
            status=206,
            gives=b"234",
            asked={"If-None-Match": '"a"', "Range": "bytes=2-4"},
            reply=reply(FRESH, TAG, status=304),
        ),
    ),
]


@pytest.mark.parametrize("rule", RANGES, ids=str)
@pytest.mark.parametrize("is_usual", [True, False], ids=["usual", "unusual"])
async def test_rule(rule: Behaviour, is_usual: bool) -> None:
    async with caching() as cache:
        cache.is_usual = is_usual
        await show(cache, rule)
