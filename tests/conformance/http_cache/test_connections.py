"""Messages as they pass: 1xx, framing, bodies, broken connections, many at once, stale and behind.

Source: RFC 9110, sections 7 and 15.2; RFC 9111, 4; RFC 9112; RFC 5861.
"""

from __future__ import annotations

import asyncio
import hashlib
import random

import pytest

from kit.http_settings import ClientSettings, ListenSettings
from kit.units import ByteSize, Seconds
from tests.conformance.http_cache.behaviours import Step, behaviour, first, reply, show
from tests.conformance.http_cache.cache import caching, until
from tests.conformance.http_cache.origin import Reply
from tests.conformance.http_cache.wire import read_head, read_response
from tests.polling import eventually

FRESH = ("Cache-Control", "max-age=60")
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\nX: 1\r\n\r\n"


@pytest.mark.parametrize(
    ("status", "raw"),
    [
        (103, EARLY),
        (102, b"HTTP/1.1 102 Processing\r\n\r\n"),
        (100, b"HTTP/1.1 100 Continue\r\n\r\n"),
        (199, b"HTTP/1.1 199 Whatever\r\nFoo: bar\r\n\r\n"),
    ],
)
async def test_informational_responses_are_passed_on_and_not_stored(
    status: int, raw: bytes
) -> None:
    async with caching() as cache:
        cache.origin.reply = Reply(headers=(FRESH,), body=b"all", before=raw + raw)
        answer = await cache.ask()
        assert [head.status for head in answer.interim] == [status, status]
        assert answer.interim[0].get("x") is None
        assert (answer.status, answer.body) == (200, b"all")
        again = await cache.ask()
        assert (again.interim, again.body) == ((), b"all")


async def test_an_informational_response_does_not_wait_for_the_final_one() -> None:
    async with caching():
        done = asyncio.Event()

        async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_head(reader)
            writer.write(EARLY)
            await done.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(slow, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with caching(upstream=url) as other:
            reader, writer = await asyncio.open_connection(other.host, other.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            head = await read_head(reader)
            assert head is not None
            assert head.status == 103
            done.set()
            assert (await read_response(reader)).body == b"ok"
            writer.close()
        server.close()


async def test_a_client_of_http_1_0_gets_no_informational_response() -> None:
    async with caching() as cache:
        cache.origin.reply = Reply(body=b"all", before=EARLY)
        answer = await cache.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        assert (answer.interim, answer.body) == ((), b"all")


async def test_fields_keep_order_case_and_repetition() -> None:
    async with caching() as cache:
        sent = (("b", "2"), ("A-a", "1"), FRESH, ("b", "1"), ("B", "3"), ("Date", "x"))
        cache.origin.reply = Reply(headers=sent)
        for _ in range(2):
            answer = await cache.ask()
            names = {"b", "a-a", "cache-control", "date"}
            assert tuple(pair for pair in answer.head.lines if pair[0].lower() in names) == sent
        await cache.ask("/b", [("zz", "2"), ("Yy", "1"), ("ZZ", "3")])
        asked = cache.origin.asked[-1].head.lines
        assert [p for p in asked if p[0].lower() in {"zz", "yy"}] == [
            ("zz", "2"),
            ("Yy", "1"),
            ("ZZ", "3"),
        ]


async def test_status_and_reason_are_passed_on_and_nothing_is_added() -> None:
    async with caching() as cache:
        cache.origin.reply = Reply(status=299, reason="Quite Fine", headers=(("Date", "x"),))
        answer = await cache.ask()
        assert answer.head.first == "HTTP/1.1 299 Quite Fine"
        names = [name.lower() for name, _ in answer.head.lines]
        assert names == ["date", "content-length", "cache-status", "via"]


@pytest.mark.parametrize(
    "target",
    ["//a//b", "/a/../b", "/%41?a=%2f&b", "/a?b?c", "/a;b=c", "/a|b", "/%zz", "/?", "*"],
)
async def test_targets_are_passed_on_as_they_are_spelled(target: str) -> None:
    async with caching() as cache:
        method = "OPTIONS" if target == "*" else "GET"
        await cache.ask(target, method=method)
        assert cache.origin.asked[-1].head.first == f"{method} {target} HTTP/1.1"


async def test_an_absolute_target_is_the_same_as_its_path_and_host() -> None:
    async with caching() as cache:
        cache.origin.reply = Reply(headers=(FRESH,), body=b"x")
        await cache.send(b"GET http://EXAMPLE.org:80/a HTTP/1.1\r\nHost: other\r\n\r\n")
        assert cache.origin.asked[-1].head.first == "GET /a HTTP/1.1"
        assert cache.origin.asked[-1].head.get("host") == "EXAMPLE.org:80"
        await cache.ask("/a")
        assert len(cache.origin.asked) == 1


async def test_hosts_are_kept_apart() -> None:
    async with caching() as cache:
        cache.origin.reply = Reply(headers=(FRESH,), body=b"x")
        await cache.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await cache.send(b"GET / HTTP/1.1\r\nHost: b\r\n\r\n")
        assert len(cache.origin.asked) == 2


CHUNKED = b"5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nTrailer-Field: x\r\n\r\n"


async def test_chunks_are_stored_without_trailers() -> None:
    async with caching() as cache:
        headers = (FRESH, ("Transfer-Encoding", "chunked"), ("Trailer", "Trailer-Field"))
        cache.origin.reply = Reply(headers=headers, body=CHUNKED)
        answer = await cache.ask()
        assert (answer.body, answer.trailers) == (b"hello world", ())
        assert answer.get("trailer") is None
        again = await cache.ask()
        assert (again.body, again.get("content-length")) == (b"hello world", "11")
        assert again.get("transfer-encoding") is None
        assert len(cache.origin.asked) == 1


async def test_a_response_that_ends_with_its_connection_is_stored() -> None:
    async with caching() as cache:
        cache.origin.reply = Reply(headers=(FRESH,), body=b"until the end", is_framed=False)
        for _ in range(2):
            assert (await cache.ask()).body == b"until the end"
        assert len(cache.origin.asked) == 1


@pytest.mark.parametrize("framing", [("Content-Length", "10"), ("Transfer-Encoding", "chunked")])
async def test_a_response_that_breaks_off_is_seen_to_and_not_stored(
    framing: tuple[str, str],
) -> None:
    async with caching() as cache:
        body = b"0123456789" if framing[0] == "Content-Length" else b"a\r\n0123456789\r\n0\r\n\r\n"
        cache.origin.reply = Reply(headers=(FRESH, framing), body=body, cut_at=7)
        assert not (await cache.ask()).is_complete
        cache.origin.reply = reply(FRESH, body=b"whole")
        assert (await cache.ask()).body == b"whole"
        assert (await cache.ask()).body == b"whole"
        assert len(cache.origin.asked) == 2


async def test_bodies_of_requests_are_streamed_however_they_are_framed() -> None:
    async with caching() as cache:
        body = random.Random(7).randbytes(3_000_000)
        answer = await cache.ask("/a", method="PUT", body=body)
        assert answer.status == 200
        assert cache.origin.asked[-1].body == body
        raw = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED
        assert (await cache.send(raw)).status == 200
        assert cache.origin.asked[-1].body == b"hello world"


async def test_expect_is_passed_on_and_the_origin_says_go() -> None:
    async with caching() as cache:
        cache.origin.reply = Reply(before=b"HTTP/1.1 100 Continue\r\n\r\n", body=b"got it")
        raw = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi"
        answer = await cache.send(raw)
        assert (answer.interim[0].status, answer.body) == (100, b"got it")
        assert cache.origin.asked[-1].head.get("expect") == "100-continue"


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_what_is_too_large_to_keep_is_streamed(is_chunked: bool) -> None:
    async with caching(object_max_bytes=ByteSize(100_000)) as cache:
        body = random.Random(7).randbytes(4_000_000)
        framed = b"".join(
            b"%x\r\n%s\r\n" % (len(piece), piece)
            for piece in (body[i : i + 50_000] for i in range(0, len(body), 50_000))
        )
        cache.origin.reply = (
            Reply(headers=(FRESH, ("Transfer-Encoding", "chunked")), body=framed + b"0\r\n\r\n")
            if is_chunked
            else Reply(headers=(FRESH,), body=body)
        )
        for _ in range(2):
            answer = await cache.ask()
            assert hashlib.sha256(answer.body).digest() == hashlib.sha256(body).digest()
        assert len(cache.origin.asked) == 2


async def test_a_large_response_is_sent_again_whole_and_in_parts() -> None:
    async with caching() as cache:
        body = random.Random(7).randbytes(3_000_000)
        cache.origin.reply = Reply(headers=(FRESH, ("ETag", '"a"')), body=body)
        assert (await cache.ask()).body == body
        assert (await cache.ask()).body == body
        part = await cache.ask(headers=[("Range", "bytes=1000000-2999998")])
        assert part.body == body[1_000_000:2_999_999]
        assert len(cache.origin.asked) == 1


async def test_a_client_that_leaves_does_not_end_what_is_stored() -> None:
    async with caching() as cache:
        cache.origin.reply = Reply(headers=(FRESH,), body=b"x" * 2_000_000)
        _, writer = await asyncio.open_connection(cache.host, cache.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n")
        await until(lambda: len(cache.origin.asked) == 1)
        writer.transport.abort()
        assert len((await cache.ask()).body) == 2_000_000
        assert len(cache.origin.asked) == 1


async def test_a_kept_connection_that_died_is_replaced() -> None:
    async with caching() as cache:
        await cache.ask("/a")
        cache.origin.reply = Reply(resets=True)
        failing = await cache.ask("/b", method="POST", body=b"x")
        assert failing.status == 502
        assert len(cache.origin.asked) == 2
        cache.origin.reply = Reply()
        await cache.ask("/c")
        connections = cache.origin.connections
        await cache.ask("/d")
        assert cache.origin.connections == connections


async def test_one_that_dies_with_the_request_is_asked_once_more() -> None:
    async with caching() as cache:
        await cache.ask("/a")
        cache.origin.reply = Reply(resets=True)
        assert (await cache.ask("/b")).status == 502
        assert [asked.head.first for asked in cache.origin.asked[1:]] == ["GET /b HTTP/1.1"] * 2


async def test_nobody_listens_is_a_502() -> None:
    async with caching(upstream="http://127.0.0.1:1") as cache:
        assert (await cache.ask()).status == 502


async def test_an_upstream_that_says_nothing_is_a_504() -> None:
    client = ClientSettings(stall_after=Seconds(0.05))
    async with caching(client=client) as cache:
        cache.origin.gate.clear()
        assert (await cache.ask()).status == 504


async def test_what_is_no_http_is_a_502() -> None:
    async with caching() as cache:
        cache.origin.reply = Reply(before=b"hello\r\n\r\n")
        assert (await cache.ask()).status == 502


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"hello\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", 400),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n",
            400,
        ),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"x" * 40_000 + b"\r\n\r\n", 431),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 501),
        (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ],
)
async def test_what_cannot_be_passed_on_is_refused(raw: bytes, status: int) -> None:
    async with caching() as cache:
        assert (await cache.send(raw)).status == status
        assert cache.origin.asked == []


async def test_many_requests_on_one_connection_and_pipelined() -> None:
    async with caching() as cache:
        cache.origin.reply = Reply(headers=(FRESH,), body=b"x")
        reader, writer = await asyncio.open_connection(cache.host, cache.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 20)
        for _ in range(20):
            assert (await read_response(reader)).body == b"x"
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await read_response(reader)).body == b"x"
        writer.close()
        assert len(cache.origin.asked) == 1


async def test_who_asks_for_the_same_at_once_shares_one_request() -> None:
    async with caching() as cache:
        cache.origin.reply = Reply(headers=(FRESH, ("Date", "@0@")), body=b"x" * 100_000)
        cache.origin.gate.clear()
        asking = [asyncio.create_task(cache.ask("/a")) for _ in range(50)]
        await until(lambda: len(cache.origin.asked) == 1)
        cache.origin.gate.set()
        answers = await asyncio.gather(*asking)
        assert {len(answer.body) for answer in answers} == {100_000}
        assert len(cache.origin.asked) == 1
        collapsed = [a for a in answers if "collapsed" in (a.get("cache-status") or "")]
        assert len(collapsed) + sum("hit" in (a.get("cache-status") or "") for a in answers) == 49


@pytest.mark.parametrize("said", ["no-store", "private", "no-cache", "max-age=0"])
async def test_what_is_not_for_all_is_asked_for_by_each(said: str) -> None:
    async with caching() as cache:
        cache.origin.reply = Reply(headers=(("Cache-Control", said), ("ETag", '"a"')))
        cache.origin.gate.clear()
        asking = [asyncio.create_task(cache.ask("/a")) for _ in range(10)]
        await until(lambda: len(cache.origin.asked) == 1)
        cache.origin.gate.set()
        await asyncio.gather(*asking)
        assert len(cache.origin.asked) == 10


async def test_what_was_asked_for_before_an_invalidation_is_not_stored() -> None:
    async with caching() as cache:
        cache.origin.reply = Reply(headers=(FRESH,), body=b"old")
        cache.origin.gate.clear()
        asking = asyncio.create_task(cache.ask("/a"))
        await until(lambda: len(cache.origin.asked) == 1)
        changing = asyncio.create_task(cache.ask("/a", method="POST", body=b"x"))
        await until(lambda: len(cache.origin.asked) == 2)
        await asyncio.sleep(0)
        cache.origin.gate.set()
        await asyncio.gather(asking, changing)
        cache.origin.reply = Reply(headers=(FRESH,), body=b"new")
        newer = await cache.ask("/a")
        # Which of both answers came first is not certain; if the GET's did, it was forgotten.
        assert newer.body == b"new"


async def test_stale_while_revalidate_sends_at_once_and_asks_behind() -> None:
    async with caching() as cache:
        rule = behaviour(
            "5861 3",
            first(("Cache-Control", "max-age=60, stale-while-revalidate=60"), ("ETag", '"a"')),
        )
        await show(cache, rule)
        cache.clock.advance(100)
        cache.origin.reply = reply(FRESH, ("ETag", '"b"'), body=b"second")
        stale = await cache.ask()
        assert (stale.body, stale.get("age")) == (b"first", "100")
        assert stale.get("cache-status") == "playhead;hit;ttl=-40"
        await until(lambda: len(cache.origin.asked) == 2)
        assert cache.origin.asked[-1].head.get("if-none-match") == '"a"'

        async def is_second() -> bool:
            return (await cache.ask()).body == b"second"

        await eventually(is_second)
        assert len(cache.origin.asked) == 2


@pytest.mark.parametrize(
    ("said", "after_s"),
    [
        ("max-age=60, stale-while-revalidate=30", 100),
        ("max-age=60, stale-while-revalidate=60, must-revalidate", 100),
        ("max-age=60, stale-while-revalidate=60, proxy-revalidate", 100),
        ("max-age=60, stale-while-revalidate=60, no-cache", 10),
        ("max-age=60, stale-while-revalidate=x", 61),
    ],
)
async def test_but_not_for_longer_nor_where_it_is_forbidden(said: str, after_s: float) -> None:
    async with caching() as cache:
        rule = behaviour(
            said,
            first(("Cache-Control", said), ("ETag", '"a"')),
            Step(asks=True, after_s=after_s, gives=b"new"),
        )
        await show(cache, rule)


async def test_variants_of_one_url_are_limited() -> None:
    async with caching(variants_max=4) as cache:
        cache.origin.reply = Reply(headers=(FRESH, ("Vary", "Foo")))
        for number in range(6):
            await cache.ask(headers=[("Foo", str(number))])
        await cache.ask(headers=[("Foo", "5")])
        assert len(cache.origin.asked) == 6
        await cache.ask(headers=[("Foo", "0")])
        assert len(cache.origin.asked) == 7


async def test_memory_is_limited() -> None:
    async with caching(max_bytes=ByteSize(1_000_000)) as cache:
        cache.origin.reply = Reply(headers=(FRESH,), body=b"x" * 100_000)
        for number in range(30):
            await cache.ask(f"/{number}")
        assert cache.stored_bytes() <= 1_000_000
        assert cache.stored_bytes() > 500_000


async def test_more_requests_than_there_may_be_are_told_to_come_back() -> None:
    listen = ListenSettings(requests_max=1, drain_for=Seconds(2), linger_for=Seconds(0))
    async with caching(listen=listen) as cache:
        cache.origin.gate.clear()
        one = asyncio.create_task(cache.ask("/a"))
        await until(lambda: len(cache.origin.asked) == 1)
        refused = await cache.ask("/b")
        assert (refused.status, refused.get("retry-after")) == (503, "1")
        cache.origin.gate.set()
        assert (await one).status == 200


async def test_a_client_that_takes_nothing_is_dropped() -> None:
    listen = ListenSettings(
        drop_stalled_after=Seconds(0.2), drain_for=Seconds(2), linger_for=Seconds(0)
    )
    async with caching(listen=listen, object_max_bytes=ByteSize(1000)) as cache:
        cache.origin.reply = Reply(body=b"x" * 50_000_000)
        reader, writer = await asyncio.open_connection(cache.host, cache.port, limit=1000)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: cache.connections() == 1)
        await until(lambda: cache.connections() == 0)
        writer.close()
        del reader


async def test_hundreds_of_connections_are_served() -> None:
    async with caching() as cache:
        cache.origin.reply = Reply(headers=(FRESH,), body=b"x")
        pairs = [await asyncio.open_connection(cache.host, cache.port) for _ in range(300)]
        for _ in range(3):
            for _, writer in pairs:
                writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            for reader, _ in pairs:
                assert (await read_response(reader)).body == b"x"
        for _, writer in pairs:
            writer.close()
        assert len(cache.origin.asked) == 1
