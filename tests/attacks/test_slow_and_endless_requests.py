"""Clients that hold a server's connections by slowness, or its memory by requests without an end.

While each attack lasts somebody else is served at once; and it ends, though nobody ends it.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import repeat
from pathlib import Path

import pytest

from chunks.bundle import TARGET_SIZE, Bundle, BundleWriter
from chunks.chunk_id import digest_of
from manifests.documents import Release
from playhead.publishing import Desk
from tests.attacks import wire
from tests.attacks.stage import NEW, Stage, running_stage
from tests.polling import eventually_sync

pytestmark = [pytest.mark.slow, pytest.mark.may_block]

SLOW_COUNT = 100
"""Connections of one attacker; what a server may serve at once is less."""
LIMITS = ["requests_max=32", "close_idle_after=1s", "drop_stalled_after=1s"]
PROMPT_S = 5.0


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Servers that wait no longer than a second for what is slow."""
    edge, origin = ([f"{role}.listen.{limit}" for limit in LIMITS] for role in ("edge", "origin"))
    with running_stage(tmp_path_factory.mktemp("hurried"), edge=edge, origin=origin) as stage:
        yield stage


@pytest.fixture(scope="module")
def release(hurried: Stage) -> Release:
    return hurried.publish(hurried.new_title(), NEW)


@pytest.fixture(scope="module")
def bundle(hurried: Stage, release: Release) -> Bundle:
    """Sixteen megabytes: far more than the sockets between a server and its client hold."""
    writer = BundleWriter(TARGET_SIZE)
    for seed in range(TARGET_SIZE >> 20):
        noise = random.Random(seed).randbytes(1 << 20)
        writer.add(digest_of(noise), len(noise), noise)
    bundle = writer.close()

    async def put(desk: Desk) -> Bundle:
        assert await desk.store.put_bundle(bundle)
        return bundle

    return hurried.at_desk(release.title, put)


@pytest.fixture(params=["origin", "edge"])
def url(request: pytest.FixtureRequest, hurried: Stage) -> str:
    return hurried.origin.url if request.param == "origin" else hurried.edge.url


def assert_served(url: str, release: Release) -> None:
    started = time.monotonic()
    assert wire.get(url, f"/t/{release.title}/h/live").status == 200
    assert time.monotonic() - started < PROMPT_S


def is_over(sock: socket.socket) -> bool:
    """Tell whether the server has hung up."""
    with suppress(BlockingIOError):
        try:
            while sock.recv(1 << 16, socket.MSG_DONTWAIT):
                pass
        except ConnectionError:
            pass
        return True
    return False


def drip(sock: socket.socket, piece: bytes) -> None:
    with suppress(OSError):
        sock.send(piece)


@pytest.mark.parametrize(
    ("begun", "piece"),
    [
        (b"", b""),
        (b"G", b"E"),
        (b"GET /t/x/h/live HTTP/1.1\r\nHost: an-edge\r\n", b"X-A: b\r\n"),
        (b"GET /t/x/h/live HTTP/1.1\r\nHost: an-edge\r\nX-Long: ", b"a"),
        (b"POST /t/x/h/live HTTP/1.1\r\nHost: an-edge\r\nContent-Length: 99999\r\n\r\n", b"a"),
        (b"GET /t/x/h/live HTTP/1.1\r\nHost: an-edge\r\nContent-Length: 99999\r\n\r\n", b"a"),
    ],
    ids=["silence", "a letter", "header by header", "one header", "a body", "a body on GET"],
)
def test_who_never_finishes_a_request_is_hung_up_on_while_others_are_served(
    url: str, release: Release, begun: bytes, piece: bytes
) -> None:
    with ExitStack() as held:
        slow = [held.enter_context(wire.connect(url)) for _ in range(SLOW_COUNT)]
        for sock in slow:
            sock.sendall(begun)

        def all_are_over() -> bool:
            assert_served(url, release)
            for sock in slow:
                drip(sock, piece)
            return all(map(is_over, slow))

        eventually_sync(all_are_over, within_s=10)
    assert_served(url, release)


def test_who_asks_for_much_and_takes_nothing_is_dropped_while_others_are_served(
    hurried: Stage, url: str, release: Release, bundle: Bundle
) -> None:
    lease, path = hurried.lease(release.title), f"/t/{release.title}/b/{bundle.bundle_id.hex()}"
    lines = [f"GET {path} HTTP/1.1", "Host: an-edge"]
    lines += [f"{name}: {value}" for name, value in lease.items()]
    asked = "\r\n".join([*lines, "", ""]).encode()
    with ExitStack() as held:
        slow = [held.enter_context(wire.connect(url)) for _ in range(30)]
        for sock in slow:
            sock.sendall(asked)
        assert digest_of(wire.get(url, f"{path}/0", lease).body) == bundle.slices.digests[0]

        def are_dropped() -> bool:
            running = wire.get(url, "/metrics").body.decode()
            return "http_requests_running 0.0" in running

        eventually_sync(are_dropped, within_s=20)
    assert_served(url, release)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a" * 100_000 + b": b\r\n\r\n",
    ],
    ids=["a target", "a header", "a name"],
)
def test_a_line_longer_than_any_has_to_be_is_refused(
    url: str, release: Release, head: bytes
) -> None:
    [reply] = wire.exchange(url, head)
    assert reply.status in {400, 414, 431}
    assert_served(url, release)


def test_headers_without_an_end_take_no_memory_to_speak_of(
    hurried: Stage, release: Release, url: str
) -> None:
    """Until the server hangs up, or 40 MB were sent: more than anybody should listen to."""
    pid = hurried.origin.pid if url == hurried.origin.url else hurried.edge.pid
    before = resident_bytes(pid)
    sent = 0
    with wire.connect(url) as sock, suppress(ConnectionError):
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        for lines in repeat(b"".join(b"X-%d: %s\r\n" % (n, b"a" * 90) for n in range(1000)), 400):
            sock.sendall(lines)
            sent += len(lines)
    assert resident_bytes(pid) - before < 20 << 20
    assert sent < 40_000_000
    assert_served(url, release)


def resident_bytes(pid: int) -> int:
    """Return the memory that a process has in use."""
    [line] = [
        line
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmRSS")
    ]
    return int(line.split()[1]) << 10
