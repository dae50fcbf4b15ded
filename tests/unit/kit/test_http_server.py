"""What every HTTP service does the same way, over a socket and byte by byte."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import structlog
from aiohttp import web

from kit.errors import Conflict, SettingsError, Unavailable
from kit.http_content import Pieces, Representation, answer
from kit.http_settings import ListenSettings
from kit.service import Binder, serving
from tests.polling import eventually
from tests.serving import Node, running

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


class Service:
    """A few routes, each of which does one thing."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.left = 0

    def bind(self, binder: Binder) -> None:
        binder.routes(
            web.get("/ok", self.ok),
            web.get("/conflict", self.conflict),
            web.get("/down", self.down),
            web.get("/bug", self.bug),
            web.get("/wait", self.wait),
            web.get("/short", self.short),
            web.get("/long", self.long),
            web.post("/echo", self.echo),
            web.get("/title/{name}", self.ok),
        )

    async def ok(self, request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def conflict(self, request: web.Request) -> web.Response:
        raise Conflict("channel live is being promoted")

    async def down(self, request: web.Request) -> web.Response:
        raise Unavailable("storage is down")

    async def bug(self, request: web.Request) -> web.Response:
        raise KeyError("secret")

    async def wait(self, request: web.Request) -> web.Response:
        await self.gate.wait()
        return web.Response(text="waited")

    async def short(self, request: web.Request) -> web.StreamResponse:
        async def pieces(start: int, end: int) -> Pieces:
            yield b"only this"

        return await answer(request, Representation("ab", 100, "text/plain", "no-store"), pieces)

    async def long(self, request: web.Request) -> web.StreamResponse:
        async def pieces(start: int, end: int) -> Pieces:
            while True:
                yield bytes(1 << 20)

        found = Representation("ab", 1 << 40, "text/plain", "no-store")
        return await answer(request, found, pieces)

    async def echo(self, request: web.Request) -> web.Response:
        return web.Response(body=await request.read())


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
async def node(service: Service) -> AsyncIterator[Node]:
    binder = Binder("store", ListenSettings(requests_max=3))
    service.bind(binder)
    async with running(binder) as node:
        yield node


async def raw(node: Node, request: bytes) -> bytes:
    """Send bytes as they are, and return all that comes until the server closes."""
    host, _, port = node.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    try:
        async with asyncio.timeout(5):
            return await reader.read()
    finally:
        writer.close()


def is_400(reply: bytes) -> bool:
    """Tell whether it is, from us or (as HTTP/1.0) from aiohttp's parser."""
    return reply.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))


def request_for(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode("latin-1")


async def test_an_error_becomes_a_problem_document(node: Node) -> None:
    reply = await node.ask("/conflict", traceparent=f"00-{TRACE_ID}-00f067aa0ba902b7-01")
    assert reply.status == 409
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.json() == {
        "type": "urn:playhead:error:conflict",
        "code": "conflict",
        "status": 409,
        "detail": "channel live is being promoted",
        "trace_id": TRACE_ID,
    }
    assert "Retry-After" not in reply.headers


async def test_an_error_that_may_pass_says_when_to_try_again(node: Node) -> None:
    reply = await node.ask("/down")
    assert (reply.status, reply.headers["Retry-After"]) == (503, "1")


async def test_a_bug_is_logged_and_not_shown(node: Node) -> None:
    with structlog.testing.capture_logs() as events:
        reply = await node.ask("/bug")
    assert (reply.status, reply.json()["code"]) == (500, "internal")
    assert b"secret" not in reply.body
    [failed] = [event for event in events if event["event"] == "request.failed"]
    assert failed["log_level"] == "error"


async def test_no_route_is_a_problem_document_too(node: Node) -> None:
    reply = await node.ask("/nowhere")
    assert (reply.status, reply.json()["code"]) == (404, "not-found")
    reply = await node.ask("/ok", "DELETE")
    assert (reply.status, reply.json()["code"]) == (405, "method-not-allowed")
    assert reply.headers["Allow"] == "GET,HEAD"


async def test_each_request_is_one_line_with_its_trace(node: Node) -> None:
    with structlog.testing.capture_logs(
        processors=[structlog.contextvars.merge_contextvars]
    ) as events:
        await node.ask("/ok", traceparent=f"00-{TRACE_ID}-00f067aa0ba902b7-01")
        await node.ask("/conflict")

        async def are_logged() -> bool:
            return len(events) >= 2

        await eventually(are_logged)
    first, second = events
    assert (first["event"], first["method"], first["path"]) == ("request.served", "GET", "/ok")
    assert (first["status"], first["service"], first["trace_id"]) == (200, "store", TRACE_ID)
    assert second["status"] == 409
    assert second["trace_id"] != TRACE_ID


async def test_the_trace_goes_on_in_the_answer(node: Node) -> None:
    reply = await node.ask("/ok", traceparent=f"00-{TRACE_ID}-00f067aa0ba902b7-01")
    version, trace_id, span_id, flags = reply.headers["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", TRACE_ID, "01")
    assert span_id != "00f067aa0ba902b7"


@pytest.mark.parametrize(
    "target",
    [
        "/%6fk",
        "/ok%2F",
        "/title/a%2fb",
        "/title/\xff",
        "//ok",
        "/./ok",
        "/title/../ok",
        "/title/a b",
        "/ok#fragment",
        "http://x/ok",
        "http://other.example/ok",
    ],
)
async def test_a_target_with_two_readings_is_refused(node: Node, target: str) -> None:
    assert is_400(await raw(node, request_for(target)))


@pytest.mark.parametrize("target", ["/ok", "/title/a-b_c.d~e", "/title/a%20b", "/ok?a=%31&b"])
async def test_a_target_with_one_reading_is_served(node: Node, target: str) -> None:
    assert (await raw(node, request_for(target))).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("framing", ["Content-Length: 3", "Transfer-Encoding: chunked"])
async def test_a_body_on_get_is_refused_and_the_connection_closed(node: Node, framing: str) -> None:
    body = "abc" if "Length" in framing else "3\r\nabc\r\n0\r\n\r\n"
    request = f"GET /ok HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n{body}".encode()
    reply = await raw(node, request)
    assert is_400(reply)
    assert b"bad-request" in reply


async def test_a_post_may_have_a_body(node: Node) -> None:
    async with node.session.post(node.url + "/echo", data=b"abc") as reply:
        assert (reply.status, await reply.read()) == (200, b"abc")


async def test_huge_headers_are_refused(node: Node) -> None:
    request = b"GET /ok HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000 + b"\r\n\r\n"
    with structlog.testing.capture_logs() as events:
        assert is_400(await raw(node, request))
    [event] = [event for event in events if event["event"] == "request.malformed"]
    assert "exc_info" not in event


async def test_one_request_too_many_is_refused_at_once(node: Node, service: Service) -> None:
    waiting = [asyncio.create_task(node.ask("/wait")) for _ in range(3)]

    async def is_full() -> bool:
        return node.metric("playhead_store_http_requests_running") == 3

    await eventually(is_full)
    refused = await node.ask("/ok")
    assert (refused.status, refused.json()["code"]) == (503, "overloaded")
    assert (await node.ask("/readyz")).status == 200
    service.gate.set()
    assert [reply.status for reply in await asyncio.gather(*waiting)] == [200] * 3
    assert (await node.ask("/ok")).status == 200


async def test_a_body_that_is_not_whole_ends_with_the_connection(node: Node) -> None:
    request = request_for("/short").replace(b"Connection: close\r\n", b"")
    head, _, body = (await raw(node, request)).partition(b"\r\n\r\n")
    assert b"Content-Length: 100" in head
    assert body == b"only this"


async def test_a_client_that_leaves_frees_its_place(node: Node, service: Service) -> None:
    host, _, port = node.url.removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(request_for("/wait"))

    async def is_served() -> bool:
        return node.binder.state.running == 1

    await eventually(is_served)
    writer.transport.abort()
    service.gate.set()

    async def is_over() -> bool:
        return node.binder.state.running == 0

    await eventually(is_over)


async def test_a_client_that_leaves_in_mid_body_is_no_error(node: Node) -> None:
    with structlog.testing.capture_logs() as events:
        async with node.session.get(node.url + "/long") as reply:
            await reply.content.readexactly(3 << 20)

        async def is_logged() -> bool:
            return bool(events)

        await eventually(is_logged)
    assert [(event["event"], event["status"]) for event in events] == [("request.served", 499)]


async def test_requests_are_counted_by_status(node: Node) -> None:
    await node.ask("/ok")
    await node.ask("/down")
    metrics = (await node.ask("/metrics")).body.decode()
    assert 'playhead_store_http_requests_total{status="200"} 1.0' in metrics
    assert 'playhead_store_http_requests_total{status="503"} 1.0' in metrics


async def test_alive_is_not_ready() -> None:
    faults: list[str] = ["database: no route to host"]
    binder = Binder("store", ListenSettings())

    async def check() -> None:
        if faults:
            raise Unavailable(faults[0])

    binder.ready("database", check)
    async with running(binder) as node:
        assert (await node.ask("/healthz")).status == 200
        reply = await node.ask("/readyz")
        assert reply.status == 503
        assert reply.json() == {"ready": False, "faults": {"database": faults[0]}}
        faults.clear()
        assert (await node.ask("/readyz")).json() == {"ready": True, "faults": {}}


async def test_draining_is_not_ready_and_says_close(node: Node) -> None:
    node.binder.state.is_draining = True
    reply = await node.ask("/readyz")
    assert (reply.status, reply.json()["faults"]) == (503, {"process": "is draining"})
    assert reply.headers["Connection"] == "close"


@pytest.mark.parametrize(
    ("host", "reason"),
    [("no-such-host.invalid", "no address"), ("192.0.2.1", "no address")],
)
async def test_an_address_of_another_machine_is_named_by_its_setting(
    host: str, reason: str
) -> None:
    with pytest.raises(SettingsError, match=f"store.listen.host: '{host}' is {reason}"):
        async with running(Binder("store", ListenSettings(host=host))):
            pass


async def test_a_port_in_use_is_named_by_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        binder = Binder("store", ListenSettings(port=port))
        with pytest.raises(SettingsError, match=rf"store.listen.port: port {port} .*in use.* set"):
            async with running(binder):
                pass


async def test_lifetimes_are_left_in_reverse_order() -> None:
    steps: list[str] = []
    binder = Binder("store", ListenSettings())

    def lifetime(name: str) -> Any:
        @asynccontextmanager
        async def live() -> AsyncIterator[None]:
            steps.append(f"enter {name}")
            yield
            steps.append(f"leave {name}")

        return live

    binder.lifetime(lifetime("a"))
    binder.lifetime(lifetime("b"))
    async with running(binder):
        steps.append("serve")
    assert steps == ["enter a", "enter b", "serve", "leave b", "leave a"]


async def test_a_background_task_runs_while_serving_and_its_end_is_a_fault() -> None:
    stop = asyncio.Event()
    binder = Binder("store", ListenSettings())

    async def work() -> None:
        await stop.wait()
        raise Unavailable("lost the log")

    binder.background("follow", work)
    async with running(binder) as node:
        assert (await node.ask("/readyz")).status == 200
        stop.set()

        async def is_noticed() -> bool:
            return (await node.ask("/readyz")).status == 503

        await eventually(is_noticed)
        assert "lost the log" in (await node.ask("/readyz")).json()["faults"]["follow"]


async def test_several_listeners_share_a_process() -> None:
    async with (
        serving([Binder("store", ListenSettings()), Binder("social", ListenSettings())]) as found,
        aiohttp.ClientSession() as session,
    ):
        assert [address.name for address in found] == ["store", "social"]
        for address in found:
            async with session.get(address.url + "/healthz") as reply:
                assert reply.status == 200


async def test_what_was_begun_is_ended_when_a_later_listener_cannot_start() -> None:
    steps: list[str] = []

    @asynccontextmanager
    async def live() -> AsyncIterator[None]:
        steps.append("enter")
        yield
        steps.append("leave")

    @asynccontextmanager
    async def broken() -> AsyncIterator[None]:
        raise SettingsError("edge.cache_dir: another edge works on it")
        yield

    first, second = Binder("store", ListenSettings()), Binder("edge", ListenSettings())
    first.lifetime(live)
    second.lifetime(broken)
    with pytest.raises(SettingsError, match="another edge"):
        async with serving([first, second]):
            pass
    assert steps == ["enter", "leave"]
