"""TLS of a listener, seen by a client: what it speaks, what it replaces, what it refuses."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import takewhile
from pathlib import Path

import pytest
from aiohttp import web

from kit import listening
from kit.errors import SettingsError, Unavailable
from kit.http_client import HttpClient
from kit.http_content import Pieces, Representation, answer
from kit.http_settings import ClientSettings, ListenSettings, TlsSettings
from kit.service import Address, Binder, serving
from kit.tls import FIRST_WRITE_SIZE
from tests.polling import eventually
from tests.tls_files import believing, some_certificate

HEADERS = 1024
"""More than those of an answer take."""

BODY = bytes(range(256)) * 1024


async def _body(request: web.Request) -> web.StreamResponse:
    async def pieces(start: int, end: int) -> Pieces:
        yield BODY[start:end]

    found = Representation("d" * 64, len(BODY), "application/octet-stream", "no-store")
    return await answer(request, found, pieces)


@asynccontextmanager
async def running(tls: TlsSettings | None) -> AsyncIterator[tuple[Address, Binder]]:
    binder = Binder("edge", ListenSettings(tls=tls))
    binder.routes(web.get("/body", _body))
    async with serving([binder]) as [address]:
        yield address, binder


@pytest.fixture(params=["aiofastnet", "asyncio"])
def transports(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Serve by either kind of transports: where the faster has no wheel, all is the same."""
    if request.param == "asyncio":
        monkeypatch.setattr(listening, "aiofastnet", None)
    return str(request.param)


async def connected(address: Address, context: ssl.SSLContext) -> ssl.SSLObject:
    """Return what was agreed upon."""
    _, writer = await asyncio.open_connection(address.host, address.port, ssl=context)
    agreed = writer.get_extra_info("ssl_object")
    writer.close()
    assert isinstance(agreed, ssl.SSLObject)
    return agreed


def serial_of(agreed: ssl.SSLObject) -> object:
    return (agreed.getpeercert() or {})["serialNumber"]


async def test_a_listener_with_a_certificate_is_asked_by_https(
    tmp_path: Path, transports: str
) -> None:
    made, tls = await some_certificate(tmp_path)
    async with running(tls) as (address, _):
        assert address.url == f"https://127.0.0.1:{address.port}"
        async with (
            HttpClient(ClientSettings(ca_file=made.authority)) as client,
            client.get(f"{address.url}/body") as reply,
        ):
            assert await reply.read(size_max=len(BODY)) == BODY


async def test_tls_1_3_is_spoken_and_http_1_1_agreed_on(tmp_path: Path, transports: str) -> None:
    made, tls = await some_certificate(tmp_path)
    context = believing(made)
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with running(tls) as (address, _):
        agreed = await connected(address, context)
    assert (agreed.version(), agreed.selected_alpn_protocol()) == ("TLSv1.3", "http/1.1")


async def test_tls_1_2_is_refused(tmp_path: Path, transports: str) -> None:
    made, tls = await some_certificate(tmp_path)
    context = believing(made)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with running(tls) as (address, _):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await connected(address, context)


async def test_a_client_believes_only_the_authorities_it_was_given(tmp_path: Path) -> None:
    _, tls = await some_certificate(tmp_path / "ours")
    other, _ = await some_certificate(tmp_path / "others")
    async with running(tls) as (address, _):
        for ca_file in (other.authority, None):
            async with HttpClient(ClientSettings(ca_file=ca_file)) as client:
                with pytest.raises(Unavailable, match="certificate verify failed"):
                    async with client.get(f"{address.url}/body"):
                        pass


async def test_a_client_that_comes_again_resumes_its_session(
    tmp_path: Path, transports: str
) -> None:
    made, tls = await some_certificate(tmp_path)
    context = believing(made)

    def ask_twice(port: int) -> bool:
        session, is_resumed = None, None
        for _ in range(2):
            with (
                socket.create_connection(("127.0.0.1", port)) as plain,
                context.wrap_socket(plain, server_hostname="localhost", session=session) as sock,
            ):
                sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                assert sock.recv(1 << 16).startswith(b"HTTP/1.1 200")
                session, is_resumed = sock.session, sock.session_reused
        return bool(is_resumed)

    async with running(tls) as (address, _):
        assert await asyncio.to_thread(ask_twice, address.port)


async def test_a_replaced_certificate_is_taken_up_and_open_connections_go_on(
    tmp_path: Path, transports: str
) -> None:
    made, tls = await some_certificate(tmp_path)
    async with running(tls) as (address, binder):
        before = serial_of(await connected(address, believing(made)))
        reader, writer = await asyncio.open_connection(
            address.host, address.port, ssl=believing(made)
        )
        await some_certificate(tmp_path, "another.example")

        async def is_new() -> bool:
            return serial_of(await connected(address, believing(made))) != before

        await eventually(is_new)
        writer.write(b"GET /body HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).endswith(BODY)
        writer.close()
        assert binder.registry.get_sample_value("playhead_edge_tls_not_after_seconds") == (
            pytest.approx(made.not_after.timestamp(), abs=60)
        )


@pytest.mark.parametrize("fault", ["no certificate", "another's key", "open to others", "gone"])
async def test_the_old_certificate_goes_on_while_the_new_one_is_wrong(
    tmp_path: Path, fault: str, capfd: pytest.CaptureFixture[str]
) -> None:
    made, tls = await some_certificate(tmp_path / "served")
    other, _ = await some_certificate(tmp_path / "other")
    async with running(tls) as (address, _):
        before = serial_of(await connected(address, believing(made)))
        match fault:
            case "no certificate":
                tls.certificate.write_text("hello")
            case "another's key":
                shutil.copy(other.key, tls.key)
            case "open to others":
                tls.key.chmod(0o644)
                tls.key.touch()
            case "gone":
                tls.key.unlink()

        async def is_logged() -> bool:
            return "tls.refused" in capfd.readouterr().out

        await eventually(is_logged)
        assert serial_of(await connected(address, believing(made))) == before
        _, tls = await some_certificate(tmp_path / "served")

        async def is_mended() -> bool:
            return serial_of(await connected(address, believing(made))) != before

        await eventually(is_mended)


@pytest.mark.parametrize("fault", ["gone", "another's key", "no certificate", "open to others"])
async def test_a_listener_does_not_start_with_a_wrong_certificate(
    tmp_path: Path, fault: str
) -> None:
    _, tls = await some_certificate(tmp_path / "served")
    other, _ = await some_certificate(tmp_path / "other")
    match fault:
        case "gone":
            tls.certificate.unlink()
        case "another's key":
            shutil.copy(other.key, tls.key)
        case "no certificate":
            tls.certificate.write_text("hello")
        case "open to others":
            tls.key.chmod(0o640)
    with pytest.raises(SettingsError, match=r"edge\.listen\.tls"):
        async with running(tls):
            pass


async def test_the_first_record_of_an_answer_fits_what_a_connection_may_send_at_first(
    tmp_path: Path, transports: str
) -> None:
    made, tls = await some_certificate(tmp_path)
    async with running(tls) as (address, _):
        sizes = await plain_sizes(address, believing(made), b"/body")
    assert sum(sizes) > len(BODY)
    until_first_large = sum(takewhile(lambda size: size <= FIRST_WRITE_SIZE + HEADERS, sizes))
    assert FIRST_WRITE_SIZE < until_first_large < FIRST_WRITE_SIZE + HEADERS
    assert max(sizes) > 8 << 10


async def plain_sizes(address: Address, context: ssl.SSLContext, path: bytes) -> list[int]:
    """Ask for ``path`` and return how many plain bytes each record of the answer holds."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")

    async def feed_record() -> bool:
        """Give ``tls`` one record more, header and all; tell whether there was one."""
        try:
            head = await reader.readexactly(5)
            incoming.write(head + await reader.readexactly(int.from_bytes(head[3:])))
        except asyncio.IncompleteReadError:
            return False
        return True

    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            writer.write(outgoing.read())
            assert await feed_record()
    tls.write(b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path)
    writer.write(outgoing.read())
    sizes = []
    while await feed_record():
        try:
            sizes.append(len(tls.read(1 << 20)))
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            continue
    writer.close()
    return [size for size in sizes if size]
