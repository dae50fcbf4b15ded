"""Addresses of hosts are remembered, tried in order, and looked up again when they fail."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st

from kit.address_book import ADDRESSES_MAX, HOSTS_MAX, KEPT_S, AddressBook, KnownHost
from kit.clock import ManualClock
from kit.errors import Unavailable
from kit.http_client import HttpClient
from kit.http_settings import ClientSettings
from kit.pinned_resolver import PinnedResolver
from kit.units import Seconds
from tests.polling import eventually

PATIENCE = ClientSettings(connect_within=Seconds(2), stall_after=Seconds(2))

hosts = st.sampled_from(["a", "b", "c"])
addresses = st.sampled_from([f"10.0.0.{n}" for n in range(12)])


@dataclass
class Names(AbstractResolver):
    """Knows names, and counts who asks."""

    known: dict[str, list[str]]
    asked: list[str] = field(default_factory=list)
    is_closed: bool = False

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        if host not in self.known:
            raise OSError(f"{host} is unknown")
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in self.known[host]
        ]

    async def close(self) -> None:
        self.is_closed = True


def tried(results: list[ResolveResult]) -> list[str]:
    return [result["host"] for result in results]


@given(st.lists(st.tuples(hosts, st.lists(addresses, min_size=1), addresses)))
def test_a_book_only_ever_names_addresses_that_were_found(
    events: list[tuple[str, list[str], str]],
) -> None:
    book, latest = AddressBook(ManualClock()), dict[str, set[str]]()
    for host, found, answering in events:
        book.found(host, found)
        latest[host] = set(found)
        book.answered(host, answering)
        for name, right in latest.items():
            known = book.addresses(name)
            assert set(known) <= right
            assert 1 <= len(known) <= ADDRESSES_MAX
        if answering in book.addresses(host):
            assert book.addresses(host)[0] == answering


def test_the_address_that_answered_stays_first_as_long_as_it_is_found() -> None:
    book = AddressBook(ManualClock())
    book.found("edge", ["10.0.0.1", "10.0.0.2"])
    book.answered("edge", "10.0.0.2")
    book.found("edge", ["10.0.0.1", "10.0.0.2", "10.0.0.3"])
    assert book.addresses("edge") == ("10.0.0.2", "10.0.0.1", "10.0.0.3")
    book.found("edge", ["10.0.0.3"])
    assert book.addresses("edge") == ("10.0.0.3",)


def test_what_nobody_has_looked_up_for_a_day_is_not_believed() -> None:
    clock = ManualClock()
    book = AddressBook(clock)
    book.found("edge", ["10.0.0.1"])
    clock.advance(KEPT_S)
    assert book.addresses("edge") == ()


def test_what_was_found_by_a_clock_that_is_set_back_is_not_believed() -> None:
    book = AddressBook(ManualClock(), [KnownHost("edge", ("10.0.0.1",), 1e12)])
    assert book.addresses("edge") == ()


def test_a_book_forgets_the_host_that_was_longest_not_looked_up() -> None:
    book = AddressBook(ManualClock())
    for number in range(HOSTS_MAX + 1):
        book.found(f"edge-{number}", ["10.0.0.1"])
    assert book.addresses("edge-0") == ()
    assert len(book.known()) == HOSTS_MAX


async def test_a_host_that_is_known_is_not_waited_for_but_looked_up_meanwhile() -> None:
    names = Names({"edge": ["10.0.0.2"]})
    book = AddressBook(ManualClock())
    book.found("edge", ["10.0.0.1"])
    resolver = PinnedResolver(book, names)
    assert tried(await resolver.resolve("edge", 80)) == ["10.0.0.1"]

    async def is_looked_up() -> bool:
        return book.addresses("edge") == ("10.0.0.2",)

    await eventually(is_looked_up)
    await resolver.resolve("edge", 80)
    assert names.asked == ["edge"]
    await resolver.close()
    assert names.is_closed


async def test_a_host_that_is_unknown_is_looked_up_once_for_all_who_wait() -> None:
    names = Names({"edge": ["10.0.0.1"]})
    resolver = PinnedResolver(AddressBook(ManualClock()), names)
    assert tried(await resolver.resolve("edge", 80)) == ["10.0.0.1"]
    assert tried(await resolver.resolve("edge", 80)) == ["10.0.0.1"]
    assert names.asked == ["edge"]
    with pytest.raises(OSError, match="unknown"):
        await resolver.resolve("nowhere", 80)
    await resolver.close()


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Serve on 127.0.0.1 only: at 127.0.0.2 nobody answers."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="here")

    app = web.Application()
    app.router.add_route("*", "/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


@pytest.mark.may_block
async def test_the_next_address_is_tried_and_the_one_that_answers_is_the_first_from_then_on(
    port: int,
) -> None:
    book = AddressBook(ManualClock())
    book.found("localhost", ["127.0.0.2", "127.0.0.1"])
    async with (
        HttpClient(PATIENCE, addresses=book) as client,
        client.get(f"http://localhost:{port}/") as reply,
    ):
        assert bytes(await reply.read(size_max=10)) == b"here"
    assert book.addresses("localhost")[0] == "127.0.0.1"


@pytest.mark.may_block
@pytest.mark.parametrize("body", [None, b"something"])
async def test_an_address_that_is_out_of_date_costs_no_request(
    port: int, body: bytes | None
) -> None:
    book = AddressBook(ManualClock())
    book.found("localhost", ["127.0.0.2"])
    async with (
        HttpClient(PATIENCE, addresses=book) as client,
        client.send("POST", f"http://localhost:{port}/", body=body) as reply,
    ):
        assert reply.status == 200
    assert book.addresses("localhost")[0] == "127.0.0.1"


@pytest.mark.may_block
async def test_a_server_that_is_down_is_so_after_its_name_was_looked_up_again(port: int) -> None:
    book = AddressBook(ManualClock())
    book.found("localhost", ["127.0.0.2"])
    async with HttpClient(PATIENCE, addresses=book) as client:
        with pytest.raises(Unavailable, match="localhost:1"):
            async with client.get("http://localhost:1/"):
                pass
    assert book.addresses("localhost") != ("127.0.0.2",)
