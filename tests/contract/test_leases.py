"""Who may read content: one suite on every node that serves it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from chunks.slices import SLICE_SIZE
from kit.clock import ManualClock
from kit.object_storage.testing import MemoryStorage
from manifests.lease import HEADER, SKEW_S
from manifests.lease_gate import Gate, Revocation
from manifests.names import TitleId
from tests import titles
from tests.leases import ANN, KEY_ID, gate_at, lease_at
from tests.serving import Node, Reply, running_edge, running_origin

NOW_S = 1_800_000_000
title = titles.some_title()
TITLE, OTHER = titles.TITLE, TitleId("other-title")
CONTENT = {
    "manifest": title.manifest_address.path,
    "bundle": title.bundle_address.path,
    "slices": title.slice_list_address.path,
    "slice": title.bundle_address.slice(1).path,
}
OPEN = [title.head_address.path, title.release_address.path]
content = pytest.mark.parametrize("what", CONTENT)


@dataclass(frozen=True)
class Guarded:
    """A node behind a gate, at a time of its own."""

    node: Node
    gate: Gate
    clock: ManualClock

    async def ask(self, path: str, lease: str | None, method: str = "GET") -> Reply:
        headers = {} if lease is None else {HEADER.replace("-", "_"): lease}
        return await self.node.ask(path, method, **headers)


@pytest.fixture(params=["origin", "cold edge", "warm edge", "edge behind an edge"])
async def guarded(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Guarded]:
    storage, clock = MemoryStorage(), ManualClock(NOW_S)
    await titles.put(storage, title)
    gate, node_lease = gate_at(clock), lease_at(clock, None, lasts_s=10**6)
    async with running_origin(storage, guard=gate) as origin:
        match request.param:
            case "origin":
                yield Guarded(origin, gate, clock)
            case "edge behind an edge":
                async with (
                    running_edge(
                        tmp_path / "near", origin.url, guard=gate, node_lease=node_lease
                    ) as shield,
                    running_edge(
                        tmp_path / "far", shield.url, guard=gate, node_lease=node_lease
                    ) as edge,
                ):
                    yield Guarded(edge, gate, clock)
            case _:
                async with running_edge(
                    tmp_path, origin.url, guard=gate, node_lease=node_lease
                ) as edge:
                    found = Guarded(edge, gate, clock)
                    if request.param == "warm edge":
                        for path in CONTENT.values():
                            reply = await found.ask(path, lease_at(clock, TITLE))
                            assert reply.status == 200
                    yield found


def problem_of(reply: Reply) -> tuple[int, str]:
    assert reply.headers["Cache-Control"] == "no-store"
    return reply.status, reply.json()["code"]


@content
async def test_a_lease_opens_its_title(guarded: Guarded, what: str) -> None:
    lease = lease_at(guarded.clock, TITLE)
    assert (await guarded.ask(CONTENT[what], lease)).status == 200
    assert (await guarded.ask(CONTENT[what], lease, "HEAD")).status == 200


@content
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_without_a_lease_there_is_no_content(
    guarded: Guarded, what: str, method: str
) -> None:
    reply = await guarded.ask(CONTENT[what], None, method)
    assert reply.status == 401
    assert reply.headers["WWW-Authenticate"] == HEADER


async def test_what_a_store_shows_needs_none(guarded: Guarded) -> None:
    for path in OPEN:
        assert (await guarded.ask(path, None)).status == 200


@content
async def test_a_lease_for_another_title_is_refused(guarded: Guarded, what: str) -> None:
    reply = await guarded.ask(CONTENT[what], lease_at(guarded.clock, OTHER))
    assert problem_of(reply) == (403, "lease-other-title")


@content
async def test_a_title_is_not_read_under_another_ones_name(guarded: Guarded, what: str) -> None:
    """Even from the cache of a node that has it, by whoever knows its digests."""
    assert (await guarded.ask(CONTENT[what], lease_at(guarded.clock, TITLE))).status == 200
    path = CONTENT[what].replace(f"/t/{TITLE}/", f"/t/{OTHER}/")
    reply = await guarded.ask(path, lease_at(guarded.clock, OTHER))
    assert reply.status == 404
    assert (await guarded.ask(CONTENT[what], lease_at(guarded.clock, TITLE))).status == 200


@content
async def test_a_lease_that_is_over_is_refused_and_a_new_one_is_not(
    guarded: Guarded, what: str
) -> None:
    lease = lease_at(guarded.clock, TITLE)
    guarded.clock.advance(900 + SKEW_S)
    assert problem_of(await guarded.ask(CONTENT[what], lease)) == (401, "lease-expired")
    assert (await guarded.ask(CONTENT[what], lease_at(guarded.clock, TITLE))).status == 200


@content
async def test_a_lease_by_another_key_or_changed_is_refused(guarded: Guarded, what: str) -> None:
    forged = lease_at(guarded.clock, TITLE, key=bytes(32))
    good = lease_at(guarded.clock, TITLE)
    changed = good[:60] + ("A" if good[60] != "A" else "B") + good[61:]
    for lease in (forged, changed, "x", "é", "A" * 4000):
        assert problem_of(await guarded.ask(CONTENT[what], lease)) == (401, "lease-invalid")


async def test_what_is_revoked_is_refused_at_once_and_what_is_granted_after_is_not(
    guarded: Guarded,
) -> None:
    lease, path = lease_at(guarded.clock, TITLE), CONTENT["slice"]
    assert (await guarded.ask(path, lease)).status == 200
    guarded.gate.use_revocations([Revocation(ANN, TITLE, NOW_S * 1000 + 1)])
    assert problem_of(await guarded.ask(path, lease)) == (403, "lease-revoked")
    guarded.clock.advance(1)
    assert (await guarded.ask(path, lease_at(guarded.clock, TITLE))).status == 200


async def test_a_key_that_is_gone_opens_nothing(guarded: Guarded) -> None:
    lease = lease_at(guarded.clock, TITLE)
    assert (await guarded.ask(CONTENT["slice"], lease)).status == 200
    guarded.gate.use_keys({KEY_ID: bytes(32)})
    assert problem_of(await guarded.ask(CONTENT["slice"], lease)) == (401, "lease-invalid")


async def test_a_refusal_says_what_and_why_and_does_not_repeat_the_lease(guarded: Guarded) -> None:
    lease = lease_at(guarded.clock, OTHER)
    reply = await guarded.ask(CONTENT["slice"], lease)
    detail = msgspec.json.decode(reply.body)["detail"]
    assert TITLE in detail
    assert OTHER in detail
    assert lease not in detail


async def test_a_range_needs_a_lease_too(guarded: Guarded) -> None:
    path = CONTENT["bundle"]
    reply = await guarded.node.ask(path, Range=f"bytes=0-{SLICE_SIZE}")
    assert reply.status == 401
