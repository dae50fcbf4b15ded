"""Messages that two readers would take differently, and clients and servers that misbehave.

Source: RFC 9112, sections 2.2, 3.2, 5, 6, 7 and 11.2; RFC 9110, section 7.6.1.
"""

from __future__ import annotations

import asyncio

import pytest

from kit.http_settings import ClientSettings, ListenSettings
from kit.units import Seconds
from tests.conformance.http_cache.behaviours import reply
from tests.conformance.http_cache.cache import Cache, caching, until
from tests.conformance.http_cache.origin import Reply
from tests.conformance.http_cache.wire import read_response

FRESH = ("Cache-Control", "max-age=60")
TAG = ("ETag", '"a"')
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: identity\r\n\r\n",
        POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: +4\r\n\r\nabcd",
        POST + b"Content-Length: -4\r\n\r\nabcd",
        POST + b"Content-Length: 0x4\r\n\r\nabcd",
        POST + b"Content-Length: 4, 5\r\n\r\nabcd",
        POST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
        POST + b"Content-Length : 4\r\n\r\nabcd",
        POST + b"Content-Length: \xb2\r\n\r\nab",
        GET + b"X: a\x00b\r\n\r\n",
        GET + b"X: a\rb\r\n\r\n",
        GET + b"X y: a\r\n\r\n",
        GET + b": a\r\n\r\n",
        GET + b"X\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET // HTTP/2.0\r\nHost: a\r\n\r\n",
        b"G\x00T / HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
async def test_what_two_readers_would_take_differently_goes_no_further(raw: bytes) -> None:
    async with caching() as cache:
        answer = await cache.send(raw)
        assert answer.status in {400, 501, 505}
        assert answer.get("connection") == "close"
        assert answer.get("cache-control") == "no-store"
        assert cache.origin.asked == []


@pytest.mark.parametrize(
    "chunks",
    [b"x\r\n\r\n", b"-1\r\n\r\n", b"5\r\nhelloXX0\r\n\r\n", b"5 5\r\nhello\r\n0\r\n\r\n"],
)
async def test_chunks_that_are_none_end_the_connection(chunks: bytes) -> None:
    async with caching() as cache:
        reader, writer = await asyncio.open_connection(cache.host, cache.port)
        writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + GET + b"\r\n")
        rest = await reader.read()
        assert rest == b"" or rest.startswith(b"HTTP/1.1 4")
        assert b"200" not in rest.split(b"\r\n")[0]
        writer.close()


async def test_a_request_in_the_body_of_another_is_none() -> None:
    async with caching() as cache:
        inner = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        raw = b"GET /outer HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(inner) + inner
        assert (await cache.send(raw)).status == 200
        assert [asked.head.first for asked in cache.origin.asked] == ["GET /outer HTTP/1.1"]
        assert cache.origin.asked[0].body == inner


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"\x16\x03\x01",
    ],
)
async def test_what_is_no_response_is_a_502_and_never_stored(raw: bytes) -> None:
    async with caching() as cache:
        cache.origin.reply = Reply(before=raw, is_framed=False, resets=False)
        assert (await cache.ask()).status == 502
        cache.origin.reply = reply(FRESH, body=b"good")
        assert (await cache.ask()).body == b"good"


async def test_more_than_was_asked_for_is_nobodys_answer() -> None:
    async with caching() as cache:
        extra = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
        cache.origin.reply = Reply(headers=(("Content-Length", "4"),), body=b"good" + extra)
        assert (await cache.ask("/a")).body == b"good"
        cache.origin.reply = reply(body=b"other")
        assert (await cache.ask("/b")).body == b"other"


async def test_length_counts_not_beside_chunks_of_a_response() -> None:
    async with caching() as cache:
        headers = (FRESH, ("Transfer-Encoding", "chunked"), ("Content-Length", "3"))
        cache.origin.reply = Reply(headers=headers, body=b"5\r\nhello\r\n0\r\n\r\n")
        for _ in range(2):
            assert (await cache.ask()).body == b"hello"


@pytest.mark.parametrize("name", ["Host", "Content-Length", "Cache-Control", "Date"])
async def test_connection_cannot_take_away_what_a_message_is_read_by(name: str) -> None:
    async with caching() as cache:
        cache.origin.reply = reply(FRESH, ("Connection", name), body=b"x")
        await cache.ask(headers=[("Connection", name), ("Cache-Control", "foo")])
        asked = cache.origin.asked[0].head
        assert asked.get("host") == "example.org"
        assert asked.get("cache-control") == "foo"
        answer = await cache.ask()
        assert (answer.get("content-length"), answer.get("cache-control")) == ("1", "max-age=60")
        assert len(cache.origin.asked) == 1


async def test_a_head_that_does_not_end_is_not_waited_for() -> None:
    listen = ListenSettings(head_within=Seconds(0.1), drain_for=Seconds(2))
    async with caching(listen=listen) as cache:
        reader, writer = await asyncio.open_connection(cache.host, cache.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: ")
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


@pytest.mark.parametrize("asks_first", [False, True])
async def test_a_connection_without_a_request_is_closed_after_a_while(asks_first: bool) -> None:
    listen = ListenSettings(close_idle_after=Seconds(0.2), drain_for=Seconds(2))
    async with caching(listen=listen) as cache:
        cache.origin.reply = reply(FRESH, body=b"x")
        await cache.ask()
        reader, writer = await asyncio.open_connection(cache.host, cache.port)
        if asks_first:
            writer.write(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n")
            assert (await read_response(reader)).body == b"x"
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_connections_that_are_idle_are_kept_for_longer_than_that() -> None:
    listen = ListenSettings(head_within=Seconds(0.1), drain_for=Seconds(2))
    async with caching(listen=listen) as cache:
        cache.origin.gate.clear()
        reader, writer = await asyncio.open_connection(cache.host, cache.port)
        writer.write(GET + b"\r\n")
        await until(lambda: len(cache.origin.asked) == 1)
        cache.origin.gate.set()
        assert (await read_response(reader)).status == 200
        other = asyncio.create_task(_slow_head(cache))
        await other
        writer.write(GET + b"\r\n")
        assert (await read_response(reader)).status == 200
        writer.close()


async def _slow_head(cache: Cache) -> None:
    """Take longer than a head may."""
    reader, writer = await asyncio.open_connection(cache.host, cache.port)
    writer.write(b"GET / HTTP/1.1\r\n")
    assert await reader.read() == b""
    writer.close()


async def test_a_client_that_leaves_early_ends_what_is_for_it_alone() -> None:
    async with caching() as cache:
        cache.origin.gate.clear()
        _, writer = await asyncio.open_connection(cache.host, cache.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: x\r\n\r\n")
        await until(lambda: len(cache.origin.asked) == 1)
        writer.close()
        await until(lambda: cache.connections() == 0)
        await until(lambda: cache.origin.left == 1)


async def test_a_client_that_leaves_early_does_not_end_what_others_wait_for() -> None:
    async with caching() as cache:
        cache.origin.reply = reply(FRESH, body=b"for all")
        cache.origin.gate.clear()
        _, writer = await asyncio.open_connection(cache.host, cache.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n")
        await until(lambda: len(cache.origin.asked) == 1)
        other = asyncio.create_task(cache.ask())
        await until(lambda: cache.connections() == 2)
        writer.close()
        await until(lambda: cache.connections() == 1)
        cache.origin.gate.set()
        assert (await other).body == b"for all"
        assert len(cache.origin.asked) == 1


async def test_a_client_that_leaves_in_the_middle_of_a_stream_ends_it() -> None:
    async with caching() as cache:
        cache.origin.reply = Reply(headers=(("Content-Length", "100"),), body=b"half", stays=True)
        reader, writer = await asyncio.open_connection(cache.host, cache.port)
        writer.write(GET + b"\r\n")
        await reader.readuntil(b"half")
        writer.close()
        await until(lambda: cache.connections() == 0)
        await until(lambda: cache.origin.left == 1)


async def test_what_is_sent_before_its_time_is_answered_in_its_turn() -> None:
    async with caching() as cache:
        cache.origin.gate.clear()
        reader, writer = await asyncio.open_connection(cache.host, cache.port)
        writer.write(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: len(cache.origin.asked) == 1)
        writer.write(b"GET /b HTTP/1.1\r\nHost: a\r\n\r\nGET /c HTTP/1.1\r\nHost: a\r\n\r\n")
        cache.origin.gate.set()
        for _ in range(3):
            assert (await read_response(reader)).status == 200
        writer.close()
        assert [asked.head.first[:6] for asked in cache.origin.asked] == [
            "GET /a",
            "GET /b",
            "GET /c",
        ]


async def test_what_broke_off_is_completed_by_a_range() -> None:
    async with caching() as cache:
        cache.origin.reply = reply(FRESH, TAG, body=b"0123456789", cut_at=4)
        assert not (await cache.ask()).is_complete
        part = await cache.ask(headers=[("Range", "bytes=1-2")])
        assert (part.status, part.body) == (206, b"12")
        lies = ("Content-Range", "bytes 4-9/10")
        cache.origin.reply = reply(FRESH, TAG, lies, status=206, body=b"456789")
        for _ in range(2):
            answer = await cache.ask()
            assert (answer.status, answer.body) == (200, b"0123456789")
        assert cache.origin.asked[-1].head.get("range") == "bytes=4-9"
        assert len(cache.origin.asked) == 2


async def test_a_rest_that_is_shorter_than_it_says_is_seen_to() -> None:
    async with caching() as cache:
        cache.origin.reply = reply(FRESH, TAG, body=b"0123456789", cut_at=4)
        await cache.ask()
        lies = ("Content-Range", "bytes 4-9/10")
        cache.origin.reply = reply(FRESH, TAG, lies, status=206, body=b"456")
        assert not (await cache.ask()).is_complete
        lies = ("Content-Range", "bytes 7-9/10")
        cache.origin.reply = reply(FRESH, TAG, lies, status=206, body=b"789")
        assert (await cache.ask()).body == b"0123456789"
        assert cache.origin.asked[-1].head.get("range") == "bytes=7-9"


async def test_what_broke_off_does_not_replace_what_is_whole() -> None:
    async with caching() as cache:
        cache.origin.reply = reply(FRESH, TAG, body=b"old")
        await cache.ask()
        cache.clock.advance(100)
        cache.origin.reply = reply(FRESH, ("ETag", '"b"'), body=b"0123456789", cut_at=4)
        assert not (await cache.ask()).is_complete
        cache.origin.reply = Reply(resets=True)
        assert (await cache.ask()).body == b"old"


async def test_all_who_wait_are_told_of_a_failure_at_once() -> None:
    client = ClientSettings(stall_after=Seconds(0.2))
    async with caching(client=client) as cache:
        cache.origin.gate.clear()
        answers = await asyncio.gather(*(cache.ask("/a") for _ in range(20)))
        assert {answer.status for answer in answers} == {504}
        assert len(cache.origin.asked) == 1


@pytest.mark.parametrize("failing", [Reply(resets=True), reply(status=503)])
async def test_all_who_wait_get_what_is_stale_after_one_failure(failing: Reply) -> None:
    async with caching() as cache:
        cache.origin.reply = reply(FRESH, body=b"old")
        await cache.ask()
        cache.clock.advance(100)
        cache.origin.reply = failing
        cache.origin.gate.clear()
        asking = [asyncio.create_task(cache.ask()) for _ in range(20)]
        await until(lambda: cache.connections() == 20)
        await until(lambda: len(cache.origin.asked) == 2)
        cache.origin.gate.set()
        answers = await asyncio.gather(*asking)
        assert {answer.body for answer in answers} == {b"old"}
        assert len(cache.origin.asked) == 2


async def test_one_validation_is_for_all_who_wait_whatever_they_know() -> None:
    async with caching() as cache:
        cache.origin.reply = reply(FRESH, TAG, body=b"same")
        await cache.ask()
        cache.clock.advance(100)
        cache.origin.reply = reply(FRESH, TAG, status=304)
        cache.origin.gate.clear()
        known = [("If-None-Match", '"a"')]
        asking = [asyncio.create_task(cache.ask(headers=known * (i % 2))) for i in range(20)]
        await until(lambda: cache.connections() == 20)
        cache.origin.gate.set()
        answers = await asyncio.gather(*asking)
        assert sorted({answer.status for answer in answers}) == [200, 304]
        assert {answer.body for answer in answers} == {b"same", b""}
        assert len(cache.origin.asked) == 2


async def test_a_new_response_is_for_all_who_wait_whatever_they_know() -> None:
    async with caching() as cache:
        cache.origin.reply = reply(FRESH, TAG, body=b"old")
        await cache.ask()
        cache.clock.advance(100)
        cache.origin.reply = reply(FRESH, ("ETag", '"b"'), body=b"new")
        cache.origin.gate.clear()
        asking = [
            asyncio.create_task(cache.ask(headers=[("If-None-Match", tag)]))
            for tag in ('"a"', '"b"', '"a"', '"b"')
        ]
        await until(lambda: cache.connections() == 4)
        cache.origin.gate.set()
        answers = await asyncio.gather(*asking)
        assert [answer.status for answer in answers] == [200, 304, 200, 304]
        assert len(cache.origin.asked) == 2
