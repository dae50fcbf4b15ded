"""A client frames a request so that two servers disagree where it ends, and hides another in it.

What is hidden asks for ``HIDDEN``; whoever answers it was smuggled past. Nothing but the visible
request may be answered, and after a refusal the connection must be over: where the next request
would begin is not certain.
"""

from __future__ import annotations

import pytest

from manifests.documents import Release
from tests.attacks import wire
from tests.attacks.stage import NEW, Stage

pytestmark = [pytest.mark.slow, pytest.mark.may_block]

HIDDEN = "GET /smuggled HTTP/1.1\r\nHost: an-edge\r\nConnection: close\r\n\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"
NO_CHUNKS = "0\r\n\r\n"
SIZE = f"Content-Length: {len(HIDDEN)}\r\n"

FRAMINGS = {
    "length and chunks": f"Content-Length: 4\r\n{CHUNKED}\r\n{NO_CHUNKS}{HIDDEN}",
    "chunks and length": f"{CHUNKED}Content-Length: 5\r\n\r\n{NO_CHUNKS}{HIDDEN}",
    "two lengths": f"Content-Length: 0\r\n{SIZE}\r\n{HIDDEN}",
    "two lengths in one": f"Content-Length: 0, {len(HIDDEN)}\r\n\r\n{HIDDEN}",
    "a signed length": f"Content-Length: +{len(HIDDEN)}\r\n\r\n{HIDDEN}",
    "a negative length": f"Content-Length: -1\r\n\r\n{HIDDEN}",
    "a hexadecimal length": f"Content-Length: 0x0\r\n\r\n{HIDDEN}",
    "an endless length": f"Content-Length: {'9' * 400}\r\n\r\n{HIDDEN}",
    "a length with a space before its colon": f"Content-Length : 0\r\n{SIZE}\r\n{HIDDEN}",
    "unknown coding": f"Transfer-Encoding: xchunked\r\n\r\n{NO_CHUNKS}{HIDDEN}",
    "chunks twice": f"{CHUNKED}{CHUNKED}\r\n{NO_CHUNKS}{HIDDEN}",
    "chunks before another coding": f"Transfer-Encoding: chunked, identity\r\n\r\n{HIDDEN}",
    "a tab": f"Transfer-Encoding:\tchunked\r\nContent-Length: 5\r\n\r\n{NO_CHUNKS}{HIDDEN}",
    "a folded header": f"Transfer-Encoding:\r\n chunked\r\n\r\n{NO_CHUNKS}{HIDDEN}",
    "a header that begins with a space": f" Content-Length: 9\r\n\r\n{HIDDEN}",
    "a bare line feed": f"X: y\nContent-Length: 9\r\n\r\n{HIDDEN}",
    "bare line feeds at the end": f"X: y\n\n{HIDDEN}",
    "a bare carriage return": f"X: y\rContent-Length: 9\r\n\r\n{HIDDEN}",
    "a zero byte": f"X: y\0z\r\n\r\n{HIDDEN}",
    "a header without a name": f": y\r\n\r\n{HIDDEN}",
    "a header without a colon": f"Content-Length 9\r\n\r\n{HIDDEN}",
    "a chunk of negative size": f"{CHUNKED}\r\n-1\r\n{HIDDEN}",
    "a chunk of no size": f"{CHUNKED}\r\nz\r\n\r\n{HIDDEN}",
    "a chunk that is longer than it says": f"{CHUNKED}\r\n1\r\nabc\r\n{NO_CHUNKS}{HIDDEN}",
    "two hosts": f"Host: another\r\n\r\n{HIDDEN}",
}


@pytest.fixture(scope="module")
def release(shared_stage: Stage) -> Release:
    return shared_stage.publish(shared_stage.new_title(), NEW)


@pytest.mark.parametrize("role", ["origin", "edge"])
@pytest.mark.parametrize("framing", FRAMINGS)
def test_no_request_is_hidden_behind_another(
    stage: Stage, release: Release, framing: str, role: str
) -> None:
    server = stage.origin if role == "origin" else stage.edge
    path = f"/t/{release.title}/h/live"
    sent = f"GET {path} HTTP/1.1\r\nHost: an-edge\r\n{FRAMINGS[framing]}"
    answers = wire.exchange(server.url, sent.encode("latin-1"))
    assert [answer.status for answer in answers] == [400], answers
    assert stage.upstream.asked == []
    assert wire.get(server.url, path).status == 200


@pytest.mark.parametrize("role", ["origin", "edge"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("body", ["Content-Length: 5\r\n\r\nhello", f"{CHUNKED}\r\n0\r\n\r\n"])
def test_a_body_where_none_has_a_meaning_is_refused_and_ends_the_connection(
    stage: Stage, release: Release, method: str, body: str, role: str
) -> None:
    server = stage.origin if role == "origin" else stage.edge
    path = f"/t/{release.title}/h/live"
    sent = f"{method} {path} HTTP/1.1\r\nHost: an-edge\r\n{body}{HIDDEN}"
    received = wire.exchange(server.url, sent.encode(), method=method)
    assert [reply.status for reply in received] == [400]
    assert "smuggled" not in repr(received)
    assert received[0].headers["Connection"] == "close"
    assert wire.get(server.url, path).status == 200


@pytest.mark.parametrize("role", ["origin", "edge"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "CONNECT", "TRACE", "PURGE"])
def test_nobody_writes_through_a_server_that_only_reads(
    stage: Stage, release: Release, method: str, role: str
) -> None:
    server = stage.origin if role == "origin" else stage.edge
    path = f"/t/{release.title}/h/live"
    before = wire.get(server.url, path).body
    reply = wire.get(server.url, path, {"Content-Length": "0"}, method=method)
    assert reply.status in {400, 405}
    assert wire.get(server.url, path).body == before
