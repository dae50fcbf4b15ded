"""Who may read content through nginx and Varnish: as through our edge, but for some seconds."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from chunks.slices import SLICE_SIZE
from edge.engines.deviations import DETAIL, REVOKED_AT_ONCE, deviates
from manifests.lease import HEADER, SKEW_S, Lease, encode_lease
from manifests.lease_gate import Revocation
from manifests.names import TitleId
from tests import titles
from tests.engines import ENGINES, Engine, running
from tests.leases import ANN, KEY, KEY_ID, lease_at
from tests.polling import eventually
from tests.servers.upstream import Upstream
from tests.serving import Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")

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

REMEMBER_S = 1
LATE_S = REMEMBER_S + 1
"""nginx counts in whole seconds."""


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=ENGINES)
async def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Engine]:
    folder, origin = tmp_path_factory.mktemp(request.param), Upstream()
    origin.publish(title)
    async with (
        origin.running(),
        running(request.param, folder, origin, remember_s=REMEMBER_S) as engine,
    ):
        yield engine


def problem_of(reply: Reply) -> tuple[int, str]:
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.headers["Cache-Control"] == "no-store"
    return reply.status, reply.json()["code"]


@content
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_without_a_lease_there_is_no_content(engine: Engine, what: str, method: str) -> None:
    for _ in "cold", "warm":
        refused = await engine.ask(CONTENT[what], method, lease=None)
        assert refused.status == 401
        assert refused.headers["WWW-Authenticate"] == HEADER
        assert (await engine.ask(CONTENT[what], method)).status == 200


async def test_why_there_is_none_is_said_in_words_of_ours(engine: Engine) -> None:
    for path in CONTENT.values():
        assert problem_of(await engine.ask(path, lease=None)) == (401, "lease-missing")


async def test_a_refusal_does_not_repeat_the_lease(engine: Engine) -> None:
    lease = engine.lease(OTHER)
    refused = await engine.ask(CONTENT["slice"], lease=lease)
    assert lease not in refused.body.decode()
    in_words = TITLE in refused.json()["detail"]
    assert in_words != deviates(engine.name, DETAIL)


async def test_what_a_store_shows_needs_none(engine: Engine) -> None:
    for path in OPEN:
        assert (await engine.ask(path, lease=None)).status == 200


@content
async def test_a_lease_for_another_title_is_refused(engine: Engine, what: str) -> None:
    assert (await engine.ask(CONTENT[what])).status == 200
    reply = await engine.ask(CONTENT[what], lease=engine.lease(OTHER))
    assert problem_of(reply) == (403, "lease-other-title")


@content
async def test_a_title_is_not_read_under_another_ones_name(engine: Engine, what: str) -> None:
    assert (await engine.ask(CONTENT[what])).status == 200
    path = CONTENT[what].replace(f"/t/{TITLE}/", f"/t/{OTHER}/")
    assert (await engine.ask(path, lease=engine.lease(OTHER))).status == 404
    assert problem_of(await engine.ask(path)) == (403, "lease-other-title")


@content
async def test_a_lease_by_another_key_or_changed_is_refused(engine: Engine, what: str) -> None:
    forged = lease_at(engine.clock, TITLE, key=bytes(32))
    good = engine.lease()
    assert (await engine.ask(CONTENT[what], lease=good)).status == 200
    changed = good[:60] + ("A" if good[60] != "A" else "B") + good[61:]
    for lease in (forged, changed, "x", "é", "A" * 3000, f"{good}, {good}"):
        reply = await engine.ask(CONTENT[what], lease=lease)
        assert problem_of(reply) == (401, "lease-invalid")


async def test_a_range_needs_a_lease_too(engine: Engine) -> None:
    path = CONTENT["bundle"]
    assert (await engine.ask(path, Range=f"bytes=0-{SLICE_SIZE}")).status == 206
    reply = await engine.ask(path, lease=None, Range=f"bytes=0-{SLICE_SIZE}")
    assert reply.status == 401


async def test_what_one_lease_brought_another_finds(engine: Engine) -> None:
    """It is no part of a cache key."""
    assert (await engine.ask(CONTENT["slice"])).status == 200
    before = engine.origin.asked.copy()
    reply = await engine.ask(CONTENT["slice"])
    assert "hit" in reply.headers["Cache-Status"]
    assert engine.origin.asked == before


async def test_a_players_lease_does_not_go_upstream(engine: Engine) -> None:
    if engine.name == "edge":
        pytest.skip("that of our edge is tested where its upstreams are")
    path = title.bundle_address.slice(2).path
    lease = engine.lease()
    for asked in (path, CONTENT["bundle"], OPEN[0]):
        assert (await engine.ask(asked, lease=lease)).status == 200
    assert engine.shown
    assert lease not in engine.shown
    assert None not in engine.shown


async def test_nobody_names_the_lease_to_fetch_by(engine: Engine) -> None:
    """Headers that an engine uses inside count for nothing when a player sends them."""
    sent = {
        "Playhead_Node_Lease": lease_at(engine.clock, None),
        "Playhead_Step": "content",
        "Playhead_Url": CONTENT["slice"],
        "X_Accel_Redirect": CONTENT["slice"],
    }
    reply = await engine.ask(CONTENT["slice"], lease=None, **sent)
    assert problem_of(reply) == (401, "lease-missing")
    reply = await engine.ask(CONTENT["slice"], lease="", **sent)
    assert reply.body == title.slice(1)


async def refused_after(engine: Engine, path: str, lease: str) -> tuple[float, tuple[int, str]]:
    """Ask until it is refused; return how many seconds later, and why."""
    began, found = time.monotonic(), [(0, "")]

    async def is_refused() -> bool:
        reply = await engine.ask(path, lease=lease)
        if reply.status == 200:
            return False
        found[0] = problem_of(reply)
        return True

    await eventually(is_refused)
    return time.monotonic() - began, found[0]


async def test_what_is_revoked_ends_and_what_is_granted_after_does_not(engine: Engine) -> None:
    lease, path = engine.lease(), CONTENT["slice"]
    assert (await engine.ask(path, lease=lease)).status == 200
    epoch = int(engine.clock.now() * 1000) + 1
    engine.gate.use_revocations([Revocation(ANN, TITLE, epoch)])
    late_s, why = await refused_after(engine, path, lease)
    assert why == (403, "lease-revoked")
    assert late_s < (LATE_S if deviates(engine.name, REVOKED_AT_ONCE) else 0) + 0.5

    async def is_let_in() -> bool:
        return (await engine.ask(path)).status == 200

    await eventually(is_let_in)


async def test_a_lease_is_not_believed_beyond_its_end(engine: Engine) -> None:
    now_s = int(engine.clock.now())
    ends_at = now_s + 3
    made = Lease(ANN, TITLE, now_s - 900, ends_at - SKEW_S, now_s * 1000 + 10**6, b"soon over")
    lease, path = encode_lease(made, KEY_ID, KEY), CONTENT["slice"]
    assert (await engine.ask(path, lease=lease)).status == 200
    _, why = await refused_after(engine, path, lease)
    assert why == (401, "lease-expired")
    assert ends_at <= engine.clock.now() < ends_at + 1.5


async def test_with_its_gate_gone_an_engine_lets_nobody_in(engine: Engine) -> None:
    """The last test of each engine: there is no gate after it."""
    if engine.name == "edge":
        pytest.skip("our edge is its own gate")
    await engine.gate_door.aclose()
    lease = engine.lease()
    reply = await engine.ask(CONTENT["slice"], lease=lease)
    assert problem_of(reply) == (503, "unavailable")
    assert reply.headers["Retry-After"] == "1"
