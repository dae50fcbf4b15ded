"""What a publisher can and cannot do to a title, over HTTP, with a real registry behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from chunks.chunk_id import digest_of
from chunks.slices import SliceList
from kit.clock import ManualClock
from kit.errors import Conflict, Denied, InvalidInput, NotFound, Unauthenticated
from manifests import locations
from manifests.documents import Head, Release, encode
from manifests.names import Channel, TitleId
from manifests.publishing_scope import Scope
from manifests.trust_roles import PublisherId
from origin.publishing.settings import PublishingSettings
from packager.remote_voucher import RemoteVoucher
from packager.title_store import TitleStore
from tests.publishing import publish
from tests.publishing_service import Service, running_service
from tests.registries import TestBed

GAME, OTHER = TitleId("game"), TitleId("other")
LIVE, BETA = Channel("live"), Channel("beta")
FILES = {"a": b"a" * 900, "b": b"b" * 700, "c": bytes(range(256)) * 3}


@dataclass
class Bench:
    """A title at an origin, and a publisher of it."""

    bed: TestBed
    service: Service

    def store(self, token: str = "token", title: TitleId = GAME) -> TitleStore:
        return TitleStore(self.service.storage(token), title)

    @property
    def voucher(self) -> RemoteVoucher:
        storage = self.service.storage()

        async def fetch() -> bytes | None:
            return await storage.ask_bytes("GET", "/trust", None, 1 << 20)

        async def hand_in(release: Release, channel: Channel, signed: bytes) -> None:
            path = f"/trust/{release.title}/{channel}/{release.counter:010}"
            await storage.ask_bytes("PUT", path, signed, 1 << 20)

        async def ask_doubt(release: Release, channel: Channel) -> str | None:
            path = f"/trust/{release.title}/{channel}/{release.counter:010}"
            return (await storage.ask_json("GET", path, None, dict[str, str | None]))["doubt"]

        return RemoteVoucher(
            PublisherId("acme"),
            self.bed.keys.publisher("acme"),
            fetch=fetch,
            hand_in=hand_in,
            ask_doubt=ask_doubt,
            clock=self.bed.clock,
        )

    async def release(self, version: str = "1", files: dict[str, bytes] | None = None) -> Release:
        clock = ManualClock(self.bed.clock.now())
        return await publish(self.store(), files or FILES, version, None, clock=clock)

    async def live(self, version: str = "1", files: dict[str, bytes] | None = None) -> Release:
        release = await self.release(version, files)
        await self.voucher.vouch(release, LIVE)
        await self.store().set_head(head_of(release))
        return release

    def grant(self, token: str, **changes: object) -> None:
        scope = msgspec.structs.replace(self.service.tokens["token"], **changes)
        self.service.tokens[token] = scope


def head_of(release: Release, channel: Channel = LIVE) -> Head:
    return Head(title=release.title, channel=channel, release=release)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bed = TestBed()
    registry = await bed.begun()
    await bed.enrol(registry, "acme", GAME)
    settings = PublishingSettings(quarantine_count_max=2)
    async with running_service(
        bed.memory, tmp_path, registry=registry, settings=settings
    ) as service:
        yield Bench(bed, service)


async def test_a_release_that_both_vouch_for_goes_live(bench: Bench) -> None:
    release = await bench.live()
    head = await TitleStore(bench.bed.memory, GAME).head(LIVE)
    assert head.release == release
    assert await bench.voucher.doubt(release, LIVE) is None
    assert await bench.voucher.doubt(release, BETA) is not None
    with closing(bench.bed.client()) as client:
        assert client.believes("acme", release)
    done = {(event.what, event.outcome) for event in (await bench.service.audit())}
    assert done == {("put", "ok"), ("vouch", "ok")}


async def test_a_second_release_moves_on_and_the_first_is_touched(bench: Bench) -> None:
    await bench.live("1")
    second = await bench.live("2", {**FILES, "d": b"d" * 500})
    assert (await bench.store().head(LIVE)).release == second
    assert [r.counter for r in await bench.store().releases()] == [1, 2]


async def test_a_head_that_nobody_vouches_for_is_refused(bench: Bench) -> None:
    release = await bench.release()
    with pytest.raises(Denied, match="not vouched for"):
        await bench.store().set_head(head_of(release))
    with pytest.raises(NotFound):
        await TitleStore(bench.bed.memory, GAME).head(LIVE)


async def test_a_head_with_another_release_under_a_vouched_counter_is_refused(
    bench: Bench,
) -> None:
    release = await bench.live()
    forged = msgspec.structs.replace(release, version="9")
    with pytest.raises(Conflict, match="not stored as the head is"):
        await bench.store().storage.put(
            locations.head_key(GAME, LIVE),
            encode(head_of(forged)),
        )


async def test_a_head_never_goes_back(bench: Bench) -> None:
    first = await bench.live("1")
    await bench.live("2", {"d": b"d" * 500})
    with pytest.raises(Conflict, match="consoles refuse to go back"):
        await bench.store().set_head(head_of(first))


async def test_a_release_that_lacks_a_bundle_is_refused(bench: Bench) -> None:
    release = await bench.release()
    bundle = await anext(keys(bench, locations.bundles_prefix(GAME)))
    await bench.bed.memory.delete([bundle, locations.release_key(GAME, 1)])
    with pytest.raises(Conflict, match=f"needs {bundle}"):
        await bench.store().add_release(release)


async def test_a_release_cannot_name_what_only_another_title_has(bench: Bench) -> None:
    theirs = await publish(
        TitleStore(bench.bed.memory, OTHER), FILES, "1", None, clock=ManualClock(1e9)
    )
    ours = msgspec.structs.replace(theirs, title=GAME)
    with pytest.raises(Conflict, match="not stored"):
        await bench.store().add_release(ours)
    # With their root under our title it still says whose it is.
    key = locations.manifest_key(OTHER, theirs.root.raw_digest)
    root = await bench.bed.memory.get(key, size_max=1 << 20)
    await bench.store().put_manifest(root)
    with pytest.raises(InvalidInput, match="says it is of"):
        await bench.store().add_release(ours)
    with pytest.raises(NotFound):
        await bench.store().release(1)


async def test_a_release_takes_the_next_counter_only(bench: Bench) -> None:
    release = await bench.release()
    with pytest.raises(Conflict, match="2 is the next counter"):
        await bench.store().add_release(msgspec.structs.replace(release, counter=4))


async def test_what_is_stored_once_stays(bench: Bench) -> None:
    release = await bench.release()
    storage = bench.store().storage
    other = msgspec.structs.replace(release, version="other")
    assert not await bench.store().add_release(other)
    with pytest.raises(Conflict, match="written once"):
        await storage.put(locations.release_key(GAME, 1), encode(other))
    with pytest.raises(Denied, match="written once"):
        await storage.put(locations.manifest_key(GAME, release.root.raw_digest), b"other")
    assert await bench.store().release(1) == release


async def test_bytes_that_are_not_what_they_are_called_go_into_quarantine(bench: Bench) -> None:
    storage = bench.store().storage
    bundle_id = SliceList.of(b"the right bytes" * 9).bundle_id
    cases = {
        locations.manifest_key(GAME, digest_of(b"right")): b"wrong",
        locations.bundle_key(GAME, bundle_id): b"the wrong bytes" * 9,
    }
    for key, data in cases.items():
        with pytest.raises(InvalidInput, match="quarantine/acme/"):
            await storage.put_if_absent(key, data)
        with pytest.raises(NotFound):
            await bench.bed.memory.stat(key)
    kept = [stat.key async for stat in bench.bed.memory.list("quarantine/")]
    reasons = [k for k in kept if k.endswith(".json")]
    told = [json.loads(await bench.bed.memory.get(key, size_max=4096)) for key in reasons]
    assert {each["key"] for each in told} == set(cases)
    with pytest.raises(InvalidInput):
        await storage.get(kept[0], size_max=100)
    assert [event.outcome for event in (await bench.service.audit())] == ["quarantined"] * 2


async def test_a_bundle_that_has_the_right_name_and_is_none_is_refused(bench: Bench) -> None:
    data = b"no index at the end of this" * 9
    key = locations.bundle_key(GAME, SliceList.of(data).bundle_id)
    with pytest.raises(InvalidInput, match="does not end in"):
        await bench.store().storage.put_if_absent(key, data)


async def test_quarantine_keeps_the_last_few(bench: Bench) -> None:
    for index in range(5):
        with pytest.raises(InvalidInput):
            await bench.store().storage.put_if_absent(
                locations.manifest_key(GAME, digest_of(b"right")), b"wrong %d" % index
            )
    kept = [stat.key async for stat in bench.bed.memory.list("quarantine/")]
    bodies = [await bench.bed.memory.get(k, size_max=99) for k in kept if k.endswith(".bin")]
    assert len(bodies) == 2
    assert b"wrong 4" in bodies


async def test_a_scope_is_for_its_titles_channels_and_verbs(bench: Bench) -> None:
    release = await bench.live()
    bench.grant("other title", titles=("other",))
    bench.grant("other channel", channels=("beta",))
    bench.grant("push only", verbs=("push",))
    bench.grant("release only", verbs=("release",))
    with pytest.raises(Denied, match="title game is not in what publisher acme was granted"):
        await bench.store("other title").releases()
    with pytest.raises(Denied, match="channel live is not in"):
        await bench.store("other channel").set_head(head_of(release))
    with pytest.raises(Denied, match="may not release here, only push"):
        await bench.store("push only").storage.put(
            locations.head_key(GAME, LIVE), encode(head_of(release))
        )
    with pytest.raises(Denied, match="may not sweep here"):
        await bench.store("push only").storage.delete([locations.release_key(GAME, 1)])
    with pytest.raises(Denied, match="may not push here"):
        await bench.store("release only").put_manifest(b"anything")
    await bench.store("release only").set_head(head_of(release))


async def test_what_a_channel_needs_is_not_deleted_and_what_none_needs_is(bench: Bench) -> None:
    await bench.live("1")
    await bench.live("2", {"new": b"n" * 900})
    storage = bench.store().storage
    needed = await bench.store().release(2)
    for key in (
        locations.head_key(GAME, LIVE),
        locations.release_key(GAME, 2),
        locations.manifest_key(GAME, needed.root.raw_digest),
    ):
        with pytest.raises((Denied, Conflict)):
            await storage.delete([key])
    await storage.delete([locations.release_key(GAME, 1)])
    assert await bench.store().release_counters() == [2]


async def test_claims_are_for_whoever_may_change_the_title(bench: Bench) -> None:
    storage, claim = bench.store().storage, f"t/game/w/{1:010}-{'0' * 16}"
    await storage.put(claim, b"{}")
    assert (await storage.stat(claim)).size == 2
    await storage.delete([claim])
    assert await bench.service.audit() == []


async def test_nothing_is_answered_without_a_token(bench: Bench) -> None:
    await bench.live()
    with pytest.raises(Unauthenticated):
        await bench.store("no such token").releases()
    for path in ("whoami", "list?prefix=t/game/", f"objects/t/game/r/{1:010}", "trust"):
        reply = await bench.service.node.ask(f"/publish/v1/{path}")
        assert (reply.status, reply.json()["code"]) == (401, "unauthenticated")


async def test_a_body_that_is_too_large_is_refused_before_it_is_sent(bench: Bench) -> None:
    host, port = bench.service.node.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    key = locations.head_key(GAME, LIVE)
    writer.write(
        f"PUT /publish/v1/objects/{key} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token\r\n"
        f"Content-Length: {1 << 40}\r\n\r\n".encode()
    )
    assert b"413" in await reader.readline()
    writer.close()


@pytest.mark.parametrize(
    "key",
    [
        "trust/timestamp.json",
        "quarantine/acme/x",
        "upload/acme/x",
        "t/game/x/y",
        "t/game/m/short",
        "t/game",
        "t/game/h/Live",
    ],
)
async def test_what_is_no_object_of_a_title_is_nobodys(bench: Bench, key: str) -> None:
    storage = bench.store().storage
    await bench.bed.memory.put("quarantine/acme/x", b"kept")
    for call in (
        storage.get(key, size_max=100),
        storage.stat(key),
        storage.put(key, b"x"),
        storage.put_if_absent(key, b"x"),
        storage.delete([key]),
    ):
        with pytest.raises((InvalidInput, NotFound)):
            await call


@pytest.mark.parametrize("prefix", ["", "t/", "t/game", "t/other/", "trust/", "t/game-two/r/"])
async def test_only_what_is_below_a_title_of_ones_own_is_listed(bench: Bench, prefix: str) -> None:
    await bench.bed.memory.put("t/other/r/0000000001", b"theirs")
    with pytest.raises((InvalidInput, Denied)):
        [stat async for stat in bench.store().storage.list(prefix)]


def test_scopes_are_read_back_as_they_were_written() -> None:
    scope = Scope(publisher="acme", titles=("game",), channels=("live",))
    assert msgspec.convert(msgspec.to_builtins(scope), Scope) == scope


async def keys(bench: Bench, prefix: str) -> AsyncIterator[str]:
    async for stat in bench.bed.memory.list(prefix):
        yield stat.key
