"""``playhead serve edge --generic`` as a process of its own, before servers that come and go."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from tests.polling import eventually
from tests.servers.ports import free_ports
from tests.tls_files import some_certificate

MIB = 1 << 20
LARGE = 96 * MIB
GROWTH_MAX = 48 * MIB
"""Of the memory of a process that passes on twice as much."""


@dataclass
class Server:
    """An upstream that answers by path, and remembers what it was asked."""

    port: int = 0
    asked: list[str] = field(default_factory=list)
    left: int = 0
    """Clients that left before all was sent."""

    @asynccontextmanager
    async def running(self, context: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
        """Serve until the block is left; again on the same port."""
        tasks: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                while request := await reader.readuntil(b"\r\n\r\n"):
                    path = request.split(b" ", 2)[1].decode()
                    self.asked.append(path)
                    await _ANSWERS[path.split("?")[0]](self, reader, writer)
            except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", self.port, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def fresh(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer what may be kept for a minute."""
        head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 5\r\n\r\n"
        writer.write(head + b"fresh")
        await writer.drain()

    async def large(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer what is too large to be kept."""
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
        for _ in range(LARGE // MIB):
            writer.write(bytes(MIB))
            await writer.drain()

    async def reset(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Break off in the middle."""
        writer.write(
            b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 9\r\n\r\nhalf"
        )
        await writer.drain()
        writer.transport.abort()
        raise ConnectionResetError

    async def slow(self, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        """Say nothing until the client leaves."""
        while await reader.read(100):
            pass
        self.left += 1


_ANSWERS: dict[
    str, Callable[[Server, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
] = {"/fresh": Server.fresh, "/large": Server.large, "/reset": Server.reset, "/slow": Server.slow}


@dataclass(frozen=True)
class Process:
    """A cache that runs."""

    url: str
    pid: int

    @property
    def rss(self) -> int:
        """Bytes of memory that are its own."""
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()
        return (int(pages[1]) - int(pages[2])) * os.sysconf("SC_PAGE_SIZE")


@asynccontextmanager
async def running_cache(upstream: str, folder: Path, **env: str) -> AsyncIterator[Process]:
    """Start one before ``upstream``; SIGTERM must end it well."""
    port, operators = free_ports(2)
    words = ["-m", "playhead", "serve", "edge", "--generic"]
    words += ["--upstream", upstream, "--listen", f"127.0.0.1:{port}"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *words,
        cwd=folder,
        env={**os.environ, "PLAYHEAD_EDGE__GENERIC__OPERATORS__PORT": str(operators), **env},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )

    async def listens() -> bool:
        assert process.returncode is None, process.returncode
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    try:
        await eventually(listens)
        yield Process(f"http://127.0.0.1:{port}", process.pid)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server().running() as server:
        yield server


@pytest.fixture
async def cache(server: Server, tmp_path: Path) -> AsyncIterator[Process]:
    async with running_cache(f"http://127.0.0.1:{server.port}", tmp_path) as cache:
        yield cache


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def get(session: aiohttp.ClientSession, url: str) -> bytes:
    async with session.get(url) as reply:
        assert reply.status == 200
        return await reply.read()


async def test_clients_that_stay_connected_share_what_was_asked_for_once(
    server: Server, cache: Process, session: aiohttp.ClientSession
) -> None:
    answers = await asyncio.gather(*(get(session, f"{cache.url}/fresh") for _ in range(200)))
    assert set(answers) == {b"fresh"}
    assert server.asked == ["/fresh"]


async def test_what_is_large_passes_in_little_memory(
    cache: Process, session: aiohttp.ClientSession
) -> None:
    await get(session, f"{cache.url}/fresh")
    before, most, size = cache.rss, 0, 0
    for _ in range(2):
        async with session.get(f"{cache.url}/large") as reply:
            async for piece in reply.content.iter_any():
                size += len(piece)
                most = max(most, cache.rss)
    assert size == 2 * LARGE
    assert most - before < GROWTH_MAX


async def test_what_breaks_off_is_seen_to_and_asked_for_again(
    server: Server, cache: Process, session: aiohttp.ClientSession
) -> None:
    for _ in range(2):
        with pytest.raises(aiohttp.ClientError):
            await get(session, f"{cache.url}/reset")
    assert server.asked == ["/reset"] * 2


async def test_a_client_that_leaves_is_noticed_soon(server: Server, cache: Process) -> None:
    port = int(cache.url.rpartition(":")[2])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /slow HTTP/1.1\r\nHost: a\r\nAuthorization: x\r\n\r\n")

    async def was_asked() -> bool:
        return server.asked == ["/slow"]

    async def has_left() -> bool:
        return server.left == 1

    await eventually(was_asked)
    writer.close()
    await eventually(has_left)


async def test_an_upstream_may_go_and_come_back(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    server = Server()
    async with server.running():
        pass  # to have a port
    async with running_cache(f"http://127.0.0.1:{server.port}", tmp_path) as cache:
        async with session.get(f"{cache.url}/fresh") as reply:
            assert reply.status == 502
        async with server.running():
            assert await get(session, f"{cache.url}/fresh") == b"fresh"
        assert await get(session, f"{cache.url}/fresh") == b"fresh"
        async with session.get(f"{cache.url}/fresh?other") as reply:
            assert reply.status == 502
        async with server.running():
            assert await get(session, f"{cache.url}/fresh?other") == b"fresh"


async def test_an_upstream_of_a_private_authority_is_believed_by_its_file(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    made, tls = await some_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.certificate, tls.key)
    server = Server()
    async with server.running(context):
        url = f"https://127.0.0.1:{server.port}"
        env = {"PLAYHEAD_EDGE__GENERIC__CLIENT__CA_FILE": str(made.authority)}
        async with running_cache(url, tmp_path, **env) as cache:
            for _ in range(2):
                assert await get(session, f"{cache.url}/fresh") == b"fresh"
        assert server.asked == ["/fresh"]
        async with (
            running_cache(url, tmp_path) as cache,
            session.get(f"{cache.url}/fresh") as reply,
        ):
            assert reply.status == 502
