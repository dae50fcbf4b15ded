"""The entitlement service over HTTP: who gets a lease, who may revoke, who may listen."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import pytest

import services.entitlement.routes
from kit.clock import ManualClock
from kit.event_stream import EventStream
from kit.http_client import HttpClient
from kit.http_settings import ClientSettings
from kit.key_ring_file import KeyRingFile
from kit.server_sent_events import ServerEvent
from kit.service import Binder
from kit.units import Seconds
from manifests.lease import HEADER, Subject
from manifests.lease_gate import Gate
from manifests.names import TitleId
from manifests.revocation_feed import CURRENT, PATH, revocations_in
from services.entitlement.ledger import revoke
from services.entitlement.ledger_file import LedgerFile
from services.entitlement.local_ownership import LOCAL_PLAYER, LocalIdentity, LocalOwnership
from services.entitlement.service import Entitlement
from services.entitlement.settings import EntitlementSettings
from tests.leases import gate_at, lease_at
from tests.polling import eventually
from tests.serving import LISTEN, Node, running

NOW_S = 1_800_000_000
GAME = TitleId("game")
PLAYER, OPERATOR = {"Authorization": "Bearer player"}, {"Authorization": "Bearer operator"}
WHOSE = b'{"subject":"local","title":"game"}'


@dataclass
class Service:
    node: Node
    clock: ManualClock
    ledger: LedgerFile
    gate: Gate
    """Believes what the service mints."""

    async def post(
        self, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, dict[str, str]]:
        async with self.node.session.post(
            self.node.url + path, data=body, headers=headers
        ) as reply:
            return reply.status, await reply.json(content_type=None)

    async def minted(self) -> str:
        status, answer = await self.post("/api/v1/leases", b'{"title":"game"}', PLAYER)
        assert status == 200
        return answer["lease"]

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[list[ServerEvent]]:
        heard: list[ServerEvent] = []
        async with HttpClient(ClientSettings(stall_after=Seconds(5))) as client:
            stream = EventStream(
                self.node.url + PATH,
                client,
                headers=lambda: {HEADER: lease_at(self.clock, None)},
                clock=self.clock,
                random=Random(1),
            )
            task = asyncio.create_task(stream.follow(heard.append))
            try:
                yield heard
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def serving_entitlement(folder: Path, **settings: object) -> AsyncIterator[Service]:
    clock = ManualClock(NOW_S)
    chosen = EntitlementSettings(look_every=Seconds(0.02), **settings)  # type: ignore[arg-type]
    ledger = LedgerFile(folder / "ledger.json")
    keys = KeyRingFile(folder / "keys" / "leases.json", clock)
    binder = Binder("entitlement", LISTEN)
    entitlement = Entitlement(chosen, ledger, keys, clock=clock, random=Random(1))
    services.entitlement.routes.bind(
        binder,
        entitlement,
        identity=LocalIdentity(player="player", operator="operator"),
        ownership=LocalOwnership(entitlement.view),
        check_node=gate_at(clock).check_node,
    )
    async with running(binder) as node:

        async def is_ready() -> bool:
            status, _ = await found.post("/api/v1/leases", b'{"title":"game"}', PLAYER)
            return status == 200

        gate = Gate(clock)
        found = Service(node, clock, ledger, gate)
        await eventually(is_ready)
        gate.use_keys((await asyncio.to_thread(keys.read)).believed(clock.now()))
        yield found


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with serving_entitlement(tmp_path) as found:
        yield found


async def test_an_owner_gets_a_lease_that_opens_the_title(service: Service) -> None:
    lease = service.gate.check(await service.minted(), GAME)
    assert (lease.subject, lease.expires_at) == (LOCAL_PLAYER, NOW_S + 900)


async def test_what_is_revoked_gets_no_lease_until_it_is_granted_again(service: Service) -> None:
    before = await service.minted()
    status, answer = await service.post("/api/v1/revocations", WHOSE, OPERATOR)
    assert status == 200
    status, problem = await service.post("/api/v1/leases", b'{"title":"game"}', PLAYER)
    assert (status, problem["code"]) == (403, "not-owned")
    assert "game" in problem["detail"]
    assert (await service.post("/api/v1/grants", WHOSE, OPERATOR))[0] == 200
    after = await service.minted()
    ledger = await asyncio.to_thread(service.ledger.read)
    service.gate.use_revocations(each.revocation for each in ledger.revoked)
    service.gate.check(after, GAME)
    with pytest.raises(Exception, match="taken back"):
        service.gate.check(before, GAME)
    assert int(answer["epoch"]) > NOW_S * 1000


@pytest.mark.parametrize("path", ["/api/v1/leases", "/api/v1/revocations", "/api/v1/grants"])
@pytest.mark.parametrize("bearer", [None, "Bearer", "Basic player", "Bearer wrong", "Bearer é"])
async def test_whoever_does_not_say_who_they_are_gets_nothing(
    service: Service, path: str, bearer: str | None
) -> None:
    headers = {} if bearer is None else {"Authorization": bearer}
    status, problem = await service.post(path, WHOSE, headers)
    assert status == 401
    assert problem["code"] in {"bearer-missing", "bearer-unknown"}


@pytest.mark.parametrize("path", ["/api/v1/revocations", "/api/v1/grants"])
async def test_a_player_is_no_operator(service: Service, path: str) -> None:
    status, problem = await service.post(path, WHOSE, PLAYER)
    assert (status, problem["code"]) == (403, "denied")


@pytest.mark.parametrize(
    "body",
    [b"", b"[" * 500, b"{}", b'{"title":"A"}', b'{"title":"game","x":1}', b" " * 2000],
)
async def test_a_body_that_is_no_wish_is_refused(service: Service, body: bytes) -> None:
    status, problem = await service.post("/api/v1/leases", body, PLAYER)
    assert (status, problem["code"]) == (422, "format")


async def test_nodes_hear_all_that_matters_and_then_each_as_it_happens(service: Service) -> None:
    await service.post("/api/v1/revocations", WHOSE, OPERATOR)
    async with service.listening() as heard:

        async def has(count: int) -> bool:
            return len(heard) >= count

        await eventually(partial(has, 2))
        assert [event.name for event in heard] == ["revoked", CURRENT]
        other = b'{"subject":"local","title":"other"}'
        await service.post("/api/v1/revocations", other, OPERATOR)
        await eventually(partial(has, 3))
        [revocation] = revocations_in(heard[2])
        assert revocation.title == "other"


async def test_what_another_program_writes_is_told_too(service: Service) -> None:
    async with service.listening() as heard:

        async def knows() -> bool:
            return any(event.name == "revoked" for event in heard)

        def change() -> None:
            service.ledger.change(lambda ledger: revoke(ledger, Subject("ann"), GAME, NOW_S))

        await asyncio.to_thread(change)
        await eventually(knows)


async def test_a_damaged_ledger_gives_nothing_back(service: Service) -> None:
    await service.post("/api/v1/revocations", WHOSE, OPERATOR)

    def damage() -> None:
        other = service.ledger.path.with_name("other")
        other.write_bytes(b"{")
        other.chmod(0o600)
        os.replace(other, service.ledger.path)  # noqa: PTH105

    await asyncio.to_thread(damage)
    status, _ = await service.post("/api/v1/leases", b'{"title":"game"}', PLAYER)
    assert status == 403
    # What cannot be read cannot be added to: nothing is lost by overwriting it.
    status, problem = await service.post("/api/v1/revocations", WHOSE, OPERATOR)
    assert (status, problem["code"]) == (500, "settings")


@pytest.mark.parametrize("lease", [None, "player", "x"])
async def test_only_nodes_listen(service: Service, lease: str | None) -> None:
    headers = {} if lease is None else {HEADER.replace("-", "_"): lease}
    if lease == "player":
        headers = {HEADER.replace("-", "_"): lease_at(service.clock, GAME)}
    reply = await service.node.ask(PATH, **headers)
    assert reply.status in {401, 403}


async def test_no_more_listen_than_may(tmp_path: Path) -> None:
    async with (
        serving_entitlement(tmp_path, listeners_max=1) as service,
        service.listening() as heard,
    ):

        async def listens() -> bool:
            return bool(heard)

        await eventually(listens)
        lease = {HEADER.replace("-", "_"): lease_at(service.clock, None)}
        reply = await service.node.ask(PATH, **lease)
        assert (reply.status, reply.json()["code"]) == (503, "listeners-full")
