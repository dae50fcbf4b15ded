"""Whoever is no operator tries the operators' doors of an edge; an operator errs at them."""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path

import pytest

from kit.object_storage.testing import MemoryStorage
from kit.service import Binder
from tests import titles
from tests.attacks import wire
from tests.operated_edge import SECRET, Operated, operated_edge
from tests.polling import eventually
from tests.serving import LISTEN, Node, running, running_edge, running_origin

title = titles.some_title()
BUNDLE = title.bundle_address
BEARER = {"Authorization": f"Bearer {SECRET}"}
EVIL = "https://evil.example"


@pytest.fixture
async def origin() -> AsyncIterator[Node]:
    storage = MemoryStorage()
    await titles.put(storage, title)
    async with running_origin(storage) as origin:
        yield origin


@pytest.fixture
async def operated(origin: Node, tmp_path: Path) -> AsyncIterator[Operated]:
    """An edge with a title in its cache; after the attack it has all of it still."""
    async with operated_edge(tmp_path / "cache", origin.url) as operated:
        assert (await operated.node.ask(BUNDLE.path)).body == title.bundle

        async def is_kept() -> bool:
            return not operated.edge.blobs.is_writing

        await eventually(is_kept)
        fills = operated.node.metric("playhead_edge_fills_total")
        yield operated
        assert (await operated.node.ask(BUNDLE.path)).body == title.bundle
        assert operated.node.metric("playhead_edge_fills_total") == fills
        assert not (await operated.get("status"))["draining"]


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        (f"?token={SECRET}", {}),
        (f"?access_token={SECRET}", {}),
        ("", {"Cookie": f"token={SECRET}"}),
        ("", {"Authorization": f"Basic {SECRET}"}),
        ("", {"Authorization": SECRET}),
        ("", {"Proxy-Authorization": f"Bearer {SECRET}"}),
        ("", {"X-Authorization": f"Bearer {SECRET}", "X-Forwarded-For": "127.0.0.1"}),
        ("", {"Playhead-Lease": SECRET}),
    ],
)
async def test_the_operators_secret_counts_in_its_header_alone(
    operated: Operated, query: str, headers: dict[str, str]
) -> None:
    for path in ("status", "drain"):
        url = f"{operated.node.url}/edge/v1/{path}{query}"
        method, body = ("GET", None) if path == "status" else ("POST", b'{"draining": true}')
        async with operated.node.session.request(method, url, headers=headers, data=body) as reply:
            assert reply.status == 401
            assert SECRET not in await reply.text()
    assert not [line for line in operated.notes if SECRET in str(line)]


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
async def test_a_page_elsewhere_does_nothing_in_an_operators_name(
    operated: Operated, content_type: str
) -> None:
    """No door knows an operator by what his browser sends by itself, and none lets pages ask."""
    headers = {"Origin": EVIL, "Content-Type": content_type, "Sec-Fetch-Site": "cross-site"}
    url = f"{operated.node.url}/edge/v1/purge"
    body = b'{"target": "a-title", "hard": true}'
    async with operated.node.session.post(url, headers=headers, data=body) as reply:
        assert reply.status == 401
    asks = {**headers, "Access-Control-Request-Method": "POST"}
    asks["Access-Control-Request-Headers"] = "authorization"
    async with operated.node.session.options(url, headers=asks) as reply:
        assert reply.status == 405
        assert not [name for name in reply.headers if name.startswith("Access-Control")]
    known = await operated.node.ask("/edge/v1/status", Origin=EVIL, **BEARER)
    assert known.status == 200
    assert not [name for name in known.headers if name.startswith("Access-Control")]


BODIES = {
    "nothing": b"",
    "no JSON": b"purge everything",
    "a list": b"[]",
    "null": b"null",
    "another type": b'{"target": ["a-title"], "hard": true}',
    "a member too many": b'{"target": "a-title", "hard": true, "all": true}',
    "deep": b"[" * 16_000,
    "deep within": b'{"target": ' + b'{"a":' * 2000 + b"1" + b"}" * 2000 + b"}",
    "no UTF-8": b'{"target": "\xff\xfe"}',
    "a number without an end": b'{"target": "a-title", "hard": ' + b"9" * 9000 + b"}",
    "zero bytes": b'{"target": "a-title\\u0000"}',
    "too much": b'{"target": "' + b"a" * (17 << 10) + b'"}',
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("door", ["purge", "pins", "warms", "supersede", "drain"])
async def test_a_body_that_is_none_changes_nothing(
    operated: Operated, door: str, body: str
) -> None:
    url = f"{operated.node.url}/edge/v1/{door}"
    async with operated.node.session.post(url, headers=BEARER, data=BODIES[body]) as reply:
        assert reply.status in {400, 413, 422}, await reply.text()
        assert reply.content_type == "application/problem+json"
    assert (await operated.get("warms")) == []


@pytest.mark.may_block
def test_a_body_without_an_end_is_refused_before_a_byte_of_it(tmp_path: Path) -> None:
    async def attack() -> None:
        async with operated_edge(tmp_path / "cache", "http://127.0.0.1:9") as operated:
            url = operated.node.url
            told = f"POST /edge/v1/purge HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SECRET}\r\n"
            for framing, status in (
                ("Content-Length: 99999999999\r\n\r\n", 413),
                ("Transfer-Encoding: chunked\r\n\r\n", 411),
            ):
                sent = (told + framing).encode()
                with wire.connect(url) as sock:
                    sock.sendall(sent)
                    head = await asyncio.to_thread(sock.recv, 1 << 16)
                assert head.startswith(f"HTTP/1.1 {status} ".encode()), head

    asyncio.run(attack())


LEAVING = [
    "warms/../status",
    "warms/..%2f..%2fkeys%2foperator.token",
    "warms/%2e%2e/status",
    "warms/....//....//keys",
    "warms/20260101t000000-00000000%00.json",
    "warms/20260101t000000-0000000g",
    "warms/" + "a" * 4000,
    "crew/names/..%2fother",
    "explain/../../../etc/passwd",
    "explain/..%2f..%2f..%2fetc%2fpasswd",
    "explain/t/../../etc/passwd",
    "explain//t/a-title",
]


@pytest.mark.parametrize("path", LEAVING)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_name_that_leaves_its_folder_names_nothing(
    operated: Operated, method: str, path: str
) -> None:
    sent = f"{method} /edge/v1/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    sent += f"Authorization: Bearer {SECRET}\r\n\r\n"
    host, _, port = operated.node.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(sent.encode())
    answer = await reader.read()
    writer.close()
    status = int(answer.split()[1])
    assert status in {400, 404, 405, 422}, answer[:300]
    assert b"root:" not in answer


EVERYTHING = ["*", "", "/", "/t", "/t/", "/t/*", "/t/a-title", "/t/a-title/", "/t/a-title/b/*"]
EVERYTHING += ["a-*", "a-title@*", "a-title@", "@live", "@", "%", ".", "..", "a-title ", "A-TITLE"]
EVERYTHING += ["a-title,b-title", "a-title\n", ".*", "?", "trust", "/trust/", "all", "0" * 63]


@pytest.mark.parametrize("target", EVERYTHING)
async def test_nothing_that_might_mean_everything_is_purged(
    operated: Operated, target: str
) -> None:
    for door in ("purge", "pins"):
        body = {"target": target, **({"hard": True} if door == "purge" else {"until_s": 0})}
        reply = await operated.tell("POST", door, body)
        if reply.status == 200:  # a title may have such a name, and has nothing
            found = reply.json()
            amounts = [found.get(name, {}).get("count", 0) for name in ("blobs", "documents")]
            assert amounts == [0, 0], reply
        else:
            assert reply.status in {404, 422}, reply


async def test_what_is_named_as_another_titles_is_not_touched(operated: Operated) -> None:
    other = BUNDLE.path.replace("/a-title/", "/another-title/")
    for target in (other, f"{other}/slices", f"{other}/0", "another-title"):
        reply = await operated.tell("POST", "purge", {"target": target, "hard": True})
        assert reply.status in {200, 404, 502}, reply
        assert reply.status != 200 or reply.json()["blobs"]["count"] == 0, (target, reply)


def test_the_page_makes_nothing_of_text_but_text() -> None:
    """Names, versions and faults on it are whoever's: none may become markup or a script."""
    page = files("edge.operating").joinpath("page.html").read_text()
    sinks = r"innerHTML|outerHTML|insertAdjacent|document\.write|createContextualFragment|eval\("
    sinks += r"|new Function|setAttribute\(\s*['\"]on|srcdoc|javascript:|\.href\s*="
    assert not re.search(sinks, page)


async def test_what_an_edge_keeps_and_its_sockets_are_for_its_user_alone(
    origin: Node, tmp_path: Path
) -> None:
    before = os.umask(0)
    try:
        binder = Binder("edge", LISTEN)
        binder.unix_socket = tmp_path / "worker-0.sock"
        async with running(binder), running_edge(tmp_path / "cache", origin.url) as edge:
            assert (await edge.ask(BUNDLE.path)).body == title.bundle
            assert stat.S_IMODE(binder.unix_socket.stat().st_mode) == 0o600

            async def is_kept() -> bool:
                return len(list(tmp_path.glob("cache/segments/*/*.data"))) > 0

            await eventually(is_kept)
            kept = [
                path
                for path in tmp_path.glob("cache/segments/*/*")
                if path.name == "lock" or path.suffix in {".data", ".index", ".paths"}
            ]
            found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in kept}
            assert set(found.values()) == {0o600}, found
    finally:
        os.umask(before)
