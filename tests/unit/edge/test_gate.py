"""The gate: what it tells an engine, for how long, and who may ask."""

from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from edge.engines import gate as gate_door
from edge.engines.gate import CODE_HEADER, LEASES, NODE, NODE_HEADER
from edge.engines.settings import GateSettings
from kit.clock import ManualClock
from kit.errors import SettingsError
from kit.service import Binder, serving
from manifests.lease import HEADER, SKEW_S
from manifests.lease_gate import Gate
from tests.leases import gate_at, lease_at
from tests.serving import LISTEN, Reply
from tests.titles import TITLE

NOW_S = 1_800_000_000


@dataclass
class Door:
    """A gate that serves, at a time of its own."""

    clock: ManualClock
    gate: Gate
    binder: Binder
    session: aiohttp.ClientSession
    node_lease: str

    async def ask(self, path: str = f"{LEASES}{TITLE}", lease: str | None = None) -> Reply:
        headers = {} if lease is None else {HEADER: lease}
        async with self.session.get(f"http://gate{path}", headers=headers) as reply:
            return Reply(reply.status, reply.headers, await reply.read())


@asynccontextmanager
async def serving_gate(path: Path, **settings: object) -> AsyncIterator[Door]:
    clock = ManualClock(NOW_S)
    gate, binder, node_lease = gate_at(clock), Binder("gate", LISTEN), [lease_at(clock, None)]
    chosen = GateSettings(socket=path, **settings)  # type: ignore[arg-type]
    gate_door.bind(binder, chosen, gate, lambda: node_lease[0], clock)
    async with (
        serving([binder]),
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
    ):
        yield Door(clock, gate, binder, session, node_lease[0])


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with serving_gate(tmp_path / "gate.sock") as door:
        yield door


async def test_a_lease_that_holds_brings_the_one_to_fetch_by(door: Door) -> None:
    reply = await door.ask(lease=lease_at(door.clock, TITLE))
    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers[NODE_HEADER] == door.node_lease
    assert reply.headers["Cache-Control"] == "max-age=5"
    assert door.binder.registry.get_sample_value("playhead_gate_checks_total", {"outcome": "holds"})


async def test_near_its_end_a_lease_is_believed_for_what_is_left(door: Door) -> None:
    lease = lease_at(door.clock, TITLE)
    door.clock.advance(900 + SKEW_S - 2.5)
    assert (await door.ask(lease=lease)).headers["Cache-Control"] == "max-age=2"
    door.clock.advance(2)
    assert (await door.ask(lease=lease)).headers["Cache-Control"] == "no-store"
    door.clock.advance(1)
    assert (await door.ask(lease=lease)).status == 401


@pytest.mark.parametrize(
    ("lease", "status", "code"),
    [(None, 401, "lease-missing"), ("x", 401, "lease-invalid")],
)
async def test_a_refusal_brings_none_and_is_not_to_be_kept(
    door: Door, lease: str | None, status: int, code: str
) -> None:
    reply = await door.ask(lease=lease)
    assert (reply.status, reply.headers[CODE_HEADER]) == (status, code)
    assert reply.headers["Cache-Control"] == "no-store"
    assert NODE_HEADER not in reply.headers
    assert door.binder.registry.get_sample_value(
        "playhead_gate_checks_total", {"outcome": "refused"}
    )


async def test_what_needs_no_lease_is_fetched_by_the_same(door: Door) -> None:
    reply = await door.ask(NODE)
    assert (reply.status, reply.headers[NODE_HEADER]) == (204, door.node_lease)


@pytest.mark.parametrize(
    "path", ["/", "/gate/v1/leases/", f"{LEASES}{TITLE}/x", f"{LEASES}A", "/t/"]
)
async def test_it_knows_nothing_else(door: Door, path: str) -> None:
    reply = await door.ask(path, lease=lease_at(door.clock, TITLE))
    assert reply.status == 404
    assert NODE_HEADER not in reply.headers


async def test_only_owner_and_group_may_connect(tmp_path: Path) -> None:
    path = tmp_path / "gate.sock"
    async with serving_gate(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert not path.exists()


async def test_what_a_killed_gate_left_is_in_nobodys_way(tmp_path: Path) -> None:
    path = tmp_path / "gate.sock"

    def leave() -> None:
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))

    await asyncio.to_thread(leave)
    async with serving_gate(path) as door:
        assert (await door.ask(NODE)).status == 204


async def test_two_gates_do_not_share_a_socket(tmp_path: Path) -> None:
    path = tmp_path / "gate.sock"
    async with serving_gate(path) as door:
        with pytest.raises(SettingsError, match="another gate"):
            async with serving_gate(path):
                pass
        assert (await door.ask(NODE)).status == 204


@pytest.mark.parametrize(
    ("name", "group", "words"),
    [("x" * 120, "", "longer than"), ("gate.sock", "no-such-group", "no group"), ("a", "", "a: ")],
)
async def test_a_socket_that_cannot_be_made_is_named(
    tmp_path: Path, name: str, group: str, words: str
) -> None:
    (tmp_path / "a").write_text("a file")
    with pytest.raises(SettingsError, match=words):
        async with serving_gate(tmp_path / name, group=group):
            pass
