"""What the platform vouches for, in storage: only what publishers signed, and nothing half."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Root, Targets

from kit.clock import ManualClock, SystemClock
from kit.errors import Conflict, Denied, IntegrityError, InvalidInput, NotFound, SettingsError
from kit.object_storage.testing import RESET, SLOW_DOWN, Fault, FaultyStorage
from kit.storage_lock import LockSettings, StorageLock
from kit.units import Seconds
from manifests.locations import trust_key, trust_lock_prefix
from manifests.names import Channel, TitleId
from manifests.trust_document import parse, sign
from manifests.trust_metadata import (
    RoleKeys,
    again,
    root_with,
    shard_with,
    shard_without,
    targets_with,
    vouched,
)
from manifests.trust_roles import (
    RELEASE,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    PublisherId,
    publisher_role,
    shard_role,
)
from origin.registry import Registry
from origin.submission import Stale
from tests.registries import LIVE, StockClient, TestBed
from tests.trust_repository import NOW_S, a_release, keys_of, offline_signer, online_signer

ACME = PublisherId("acme")
TITLE = TitleId("a-title")
HOUR_S, DAY_S = 3600, 86400


@pytest.fixture
def bed() -> TestBed:
    return TestBed()


@pytest.fixture
async def registry(bed: TestBed) -> Registry:
    made = await bed.begun()
    await bed.enrol(made, "acme", "a-title", "b-title")
    return made


@pytest.fixture
def client(bed: TestBed, registry: Registry) -> Iterator[StockClient]:
    made = bed.client()
    yield made
    made.close()


async def next_signed(registry: Registry, bed: TestBed, *titles: str) -> bytes:
    """What the publisher signs next, on top of what is newest."""
    data = await registry.publisher_metadata(ACME)
    before = None if data is None else parse(data, Targets, publisher_role(ACME)).signed
    releases = [a_release(title) for title in titles]
    return sign(vouched(before, ACME, releases, bed.clock.now()), [bed.keys.publisher("acme")])


async def test_release_is_believed_once_both_vouched(
    registry: Registry, bed: TestBed, client: StockClient
) -> None:
    release = a_release("a-title")
    await bed.store(release)
    await registry.accept(ACME, await next_signed(registry, bed, "a-title"), release, LIVE)
    assert client.believes("acme", release)
    assert await registry.publisher_of(TITLE) == ACME


async def test_accepting_again_changes_nothing(registry: Registry, bed: TestBed) -> None:
    release = a_release("a-title")
    await bed.store(release)
    signed = await next_signed(registry, bed, "a-title")
    await registry.accept(ACME, signed, release, LIVE)
    await bed.vouch(registry, "acme", a_release("b-title"))
    stored = dict(bed.memory._objects)
    await registry.accept(ACME, signed, release, LIVE)
    await bed.registry().accept(ACME, signed, release, LIVE)
    assert bed.memory._objects == stored


async def test_vouched_release_is_promoted_by_what_is_signed_already(
    registry: Registry, bed: TestBed, client: StockClient
) -> None:
    release = a_release("a-title")
    await bed.vouch(registry, "acme", release, Channel("beta"))
    signed = await registry.publisher_metadata(ACME)
    assert signed is not None
    await registry.accept(ACME, signed, release, LIVE)
    assert client.believes("acme", release)


async def test_version_that_is_not_the_next_is_stale(registry: Registry, bed: TestBed) -> None:
    signed = await next_signed(registry, bed, "a-title")
    await bed.vouch(registry, "acme", a_release("b-title"))
    await bed.store(a_release("a-title"))
    with pytest.raises(Stale, match="publisher-acme is version 1, and 1 is the newest here"):
        await registry.accept(ACME, signed, a_release("a-title"), LIVE)


async def test_signature_of_another_key_is_denied(registry: Registry, bed: TestBed) -> None:
    await bed.store(a_release("a-title"))
    said = vouched(None, ACME, [a_release("a-title")], NOW_S)
    with pytest.raises(Denied, match=r"publisher-acme, version 1: .* signed by 0/1 keys"):
        await registry.accept(ACME, sign(said, [offline_signer()]), a_release("a-title"), LIVE)


async def test_title_of_another_publisher_is_denied(registry: Registry, bed: TestBed) -> None:
    await bed.enrol(registry, "mallory", "other")
    mallory = PublisherId("mallory")
    said = vouched(None, mallory, [a_release("a-title")], NOW_S)
    await bed.store(a_release("a-title"))
    with pytest.raises(Denied, match="title a-title is not enrolled for publisher mallory"):
        await registry.accept(
            mallory, sign(said, [bed.keys.publisher("mallory")]), a_release("a-title"), LIVE
        )
    with pytest.raises(Conflict, match="title a-title is enrolled for publisher acme"):
        await bed.enrol(registry, "mallory", "a-title")


async def test_publisher_cannot_change_what_it_said(registry: Registry, bed: TestBed) -> None:
    await bed.vouch(registry, "acme", a_release("a-title"))
    release = a_release("a-title", 2)
    await bed.store(release)
    data = await registry.publisher_metadata(ACME)
    assert data is not None
    before = parse(data, Targets, publisher_role(ACME)).signed
    signer = bed.keys.publisher("acme")
    more = vouched(before, ACME, [release, a_release("a-title", 3)], NOW_S)
    less = vouched(None, ACME, [release], NOW_S)
    less.version = 2
    short = vouched(before, ACME, [release], NOW_S - 3640 * DAY_S)
    odd = vouched(before, ACME, [release], NOW_S)
    odd.unrecognized_fields["note"] = "hello"
    for said in (more, less, short, odd):
        with pytest.raises(InvalidInput, match="publisher-acme"):
            await registry.accept(ACME, sign(said, [signer]), release, LIVE)
    other = vouched(None, ACME, [a_release("a-title", 1, salt="x")], NOW_S)
    other.version = 2
    await bed.store(a_release("a-title", 1, salt="x"))
    with pytest.raises(Conflict, match="a counter is used once"):
        await registry.accept(ACME, sign(other, [signer]), a_release("a-title", 1, salt="x"), LIVE)


async def test_release_that_is_not_stored_is_not_vouched_for(
    registry: Registry, bed: TestBed
) -> None:
    signed = await next_signed(registry, bed, "a-title")
    with pytest.raises(NotFound):
        await registry.accept(ACME, signed, a_release("a-title"), LIVE)
    await bed.store(a_release("a-title", 1, salt="other"))
    with pytest.raises(IntegrityError, match="another release than the one vouched for"):
        await registry.accept(ACME, signed, a_release("a-title"), LIVE)


async def test_channel_is_never_taken_back(
    registry: Registry, bed: TestBed, client: StockClient
) -> None:
    await bed.vouch(registry, "acme", a_release("a-title", 2))
    with pytest.raises(Conflict, match="would take consoles back"):
        await bed.vouch(registry, "acme", a_release("a-title", 1))
    assert client.believes("acme", a_release("a-title", 2))


async def test_publications_at_once_are_one_commit(
    bed: TestBed, registry: Registry, client: StockClient
) -> None:
    storage = FaultyStorage(bed.memory)
    many = bed.registry(storage)
    names = [f"p{index}" for index in range(12)]
    handed_in = []
    for name in names:
        await bed.enrol(registry, name, f"title-{name}")
        release, who = a_release(f"title-{name}"), PublisherId(name)
        await bed.store(release)
        signed = sign(vouched(None, who, [release], NOW_S), [bed.keys.publisher(name)])
        handed_in.append((who, signed, release))
    await asyncio.gather(*(many.accept(*each, LIVE) for each in handed_in))
    assert storage.calls["put"] == 1  # the timestamp
    assert all(client.believes(name, a_release(f"title-{name}")) for name in names)


async def test_writers_in_two_processes_take_turns(bed: TestBed, registry: Registry) -> None:
    def locked() -> StorageLock:
        return StorageLock(
            bed.memory,
            trust_lock_prefix(),
            "the repository of trust",
            clock=SystemClock(),
            settings=LockSettings(look_every=Seconds(0.01)),
            command="a test",
        )

    for name in ("one", "two"):
        await bed.enrol(registry, name, f"title-{name}")
    writers = [bed.registry(new_lock=locked) for _ in range(2)]
    for counter in range(1, 4):
        await asyncio.gather(
            *(
                bed.vouch(writer, name, a_release(f"title-{name}", counter))
                for writer, name in zip(writers, ("one", "two"), strict=True)
            )
        )
    client = bed.client()
    assert client.believes("one", a_release("title-one", 3))
    assert client.believes("two", a_release("title-two", 3))
    assert not [key for key in bed.memory._objects if key.startswith(trust_lock_prefix())]
    client.close()


async def test_what_both_vouch_for_takes_no_lock(bed: TestBed, registry: Registry) -> None:
    def refused() -> StorageLock:
        raise AssertionError("a lock was taken")

    await bed.vouch(registry, "acme", a_release("a-title"))
    idle = bed.registry(new_lock=refused)
    await bed.vouch(idle, "acme", a_release("a-title"))
    assert await idle.renew() == []


async def test_one_bad_publication_does_not_spoil_those_beside_it(
    bed: TestBed, registry: Registry, client: StockClient
) -> None:
    await bed.store(a_release("a-title"))
    signer = bed.keys.publisher("acme")
    good = registry.vouch(ACME, signer, a_release("a-title"), LIVE)
    bad = registry.vouch(ACME, signer, a_release("not-stored"), LIVE)
    results = await asyncio.gather(bad, good, return_exceptions=True)
    assert isinstance(results[0], NotFound)
    assert results[1] is None
    assert client.believes("acme", a_release("a-title"))


@pytest.mark.parametrize("fault", [SLOW_DOWN, RESET], ids=["before", "after"])
async def test_crash_at_any_write_leaves_a_valid_state_and_the_same_call_finishes(
    bed: TestBed, registry: Registry, client: StockClient, fault: Fault
) -> None:
    assert isinstance(bed.clock, ManualClock)
    await bed.vouch(registry, "acme", a_release("a-title", 1))
    counter, finished = 1, set[str]()
    for operation in ("put_if_absent", "put"):
        for index in range(8):
            counter += 1
            release = a_release("a-title", counter)
            await bed.store(release)
            storage = FaultyStorage(bed.memory)
            storage.next(operation, *[_NO_FAULT] * index, fault)  # type: ignore[arg-type]
            dying = bed.registry(storage)
            try:
                await dying.vouch(ACME, bed.keys.publisher("acme"), release, LIVE)
            except type(fault.error):  # type: ignore[union-attr]
                pass
            else:
                finished.add(operation)
                break
            left = versioned(bed)
            before = client.head("a-title")
            assert before is not None
            assert before.custom["counter"] in (counter - 1, counter)
            # Somebody else is first after the crash, later, and in a process of its own.
            bed.clock.advance(60)
            await bed.vouch(bed.registry(), "acme", a_release("b-title", counter))
            await bed.vouch(bed.registry(), "acme", release)
            assert client.believes("acme", release)
            assert client.believes("acme", a_release("b-title", counter))
            # What an edge may have cached meanwhile is what everybody has: no version twice.
            now = versioned(bed)
            assert {key: now[key] for key in left} == left
    assert finished == {"put_if_absent", "put"}


def versioned(bed: TestBed) -> dict[str, bytes]:
    """All metadata whose name holds its version."""
    return {
        key: data
        for key, (data, _) in bed.memory._objects.items()
        if key.startswith("trust/") and key != trust_key(TIMESTAMP)
    }


class _NoFault:
    """Stands for a call that nothing happens to."""


_NO_FAULT = _NoFault()


async def test_crash_while_a_repository_is_made_is_finished_by_the_same_call(
    bed: TestBed,
) -> None:
    for operation in ("put_if_absent", "put"):
        for index in range(6):
            fresh = TestBed()
            storage = FaultyStorage(fresh.memory)
            storage.next(operation, *[_NO_FAULT] * index, RESET)  # type: ignore[arg-type]
            try:
                await fresh.registry(storage).begin(fresh.first_targets, bin_bits=4)
            except type(RESET.error):
                pass
            registry = await fresh.begun()
            await fresh.enrol(registry, "acme", "a-title")
            await fresh.vouch(registry, "acme", a_release("a-title"))
            client = fresh.client()
            assert client.believes("acme", a_release("a-title"))
            client.close()


async def test_repository_of_other_keys_is_left_alone(bed: TestBed, registry: Registry) -> None:
    other = TestBed(memory=bed.memory)
    stored = dict(bed.memory._objects)
    with pytest.raises(Conflict, match=r"trust/1.root.json is another root"):
        await other.begun()
    assert bed.memory._objects == stored


async def test_registry_does_not_sign_what_it_cannot_verify(
    registry: Registry, bed: TestBed
) -> None:
    await bed.vouch(registry, "acme", a_release("a-title"))
    for key in [key for key in bed.memory._objects if "release-bin" in key or "publisher" in key]:
        data, when = bed.memory._objects[key]
        bed.memory._objects[key] = (data.replace(b'"length":', b'"length":1'), when)
    with pytest.raises(Denied):
        await bed.vouch(bed.registry(), "acme", a_release("a-title", 2))


async def test_wrong_online_key_is_named_and_signs_nothing(
    registry: Registry, bed: TestBed
) -> None:
    bed.keys.online[SNAPSHOT] = [online_signer()]
    stored = dict(bed.memory._objects)
    await bed.store(a_release("a-title"))
    with pytest.raises(SettingsError, match="for role snapshot is not one that the"):
        await bed.registry().vouch(ACME, bed.keys.publisher("acme"), a_release("a-title"), LIVE)
    assert {k for k in bed.memory._objects if k.startswith("trust/")} == {
        k for k in stored if k.startswith("trust/")
    }


async def test_renewal_signs_what_expires_soon_and_nothing_else(bed: TestBed) -> None:
    assert isinstance(bed.clock, ManualClock)
    registry = await bed.begun()
    await bed.enrol(registry, "acme", "a-title")
    await bed.vouch(registry, "acme", a_release("a-title"))
    assert await registry.renew() == []
    bed.clock.advance(HOUR_S)
    assert await registry.renew() == [TIMESTAMP]
    bed.clock.advance(4 * DAY_S)
    assert await registry.renew() == [TIMESTAMP, SNAPSHOT]
    client = bed.client()
    for _ in range(15):
        bed.clock.advance(23 * DAY_S)
        renewed = await registry.renew()
        assert {TIMESTAMP, SNAPSHOT, RELEASE} < set(renewed)
        assert client.believes("acme", a_release("a-title"))
    client.close()


async def test_expired_timestamp_is_renewed_from(bed: TestBed, registry: Registry) -> None:
    assert isinstance(bed.clock, ManualClock)
    bed.clock.advance(100 * DAY_S)
    assert TIMESTAMP in await bed.registry().renew()
    bed.client().close()


class TestInstalling:
    """What holders of offline keys sign."""

    async def shard(self, registry: Registry) -> Targets:
        found = await registry.said(shard_role(ACME))
        assert found is not None
        return found

    async def test_publisher_taken_out_is_believed_no_more(
        self, registry: Registry, bed: TestBed, client: StockClient
    ) -> None:
        await bed.vouch(registry, "acme", a_release("a-title"))
        signed = shard_without(await self.shard(registry), ACME, NOW_S)
        await registry.install({shard_role(ACME): sign(signed, bed.keys.holders)})
        assert not client.believes("acme", a_release("a-title"))
        with pytest.raises(Denied):
            await bed.vouch(registry, "acme", a_release("a-title", 2))

    async def test_publisher_key_is_replaced_without_a_gap(
        self, registry: Registry, bed: TestBed, client: StockClient
    ) -> None:
        await bed.vouch(registry, "acme", a_release("a-title"))
        role = publisher_role(ACME)
        said = await registry.said(role)
        assert said is not None
        signer = offline_signer()
        shard = shard_with(await self.shard(registry), ACME, keys_of(signer), [TITLE], NOW_S)
        await registry.install(
            {
                shard_role(ACME): sign(shard, bed.keys.holders),
                role: sign(again(role, said, NOW_S), [signer]),
            }
        )
        assert client.believes("acme", a_release("a-title"))
        former = bed.keys.publishers["acme"]
        await bed.store(a_release("a-title", 2))
        with pytest.raises(Denied):
            await registry.vouch(ACME, former, a_release("a-title", 2), LIVE)
        await registry.vouch(ACME, signer, a_release("a-title", 2), LIVE)
        assert client.believes("acme", a_release("a-title", 2))

    async def test_stolen_publisher_key_is_refused_by_consoles(
        self, registry: Registry, bed: TestBed, client: StockClient
    ) -> None:
        await bed.vouch(registry, "acme", a_release("a-title"))
        shard = shard_with(
            await self.shard(registry), ACME, keys_of(offline_signer()), [TITLE], NOW_S
        )
        await registry.install({shard_role(ACME): sign(shard, bed.keys.holders)})
        with pytest.raises(UnsignedMetadataError):
            client.believes("acme", a_release("a-title"))

    async def test_shard_not_signed_by_its_holders_is_denied(self, registry: Registry) -> None:
        signed = shard_without(await self.shard(registry), ACME, NOW_S)
        with pytest.raises(Denied, match="signed by 0/1 keys"):
            await registry.install({shard_role(ACME): sign(signed, [offline_signer()])})

    async def test_change_made_before_another_is_refused(
        self, registry: Registry, bed: TestBed
    ) -> None:
        signed = shard_without(await self.shard(registry), ACME, NOW_S)
        await bed.enrol(registry, "acme", "another")
        with pytest.raises(Conflict, match="made before another change"):
            await registry.install({shard_role(ACME): sign(signed, bed.keys.holders)})

    async def test_release_key_is_replaced_with_every_bin(
        self, registry: Registry, bed: TestBed, client: StockClient
    ) -> None:
        await bed.vouch(registry, "acme", a_release("a-title"))
        await bed.vouch(registry, "acme", a_release("b-title"))
        bed.keys.online = {**bed.keys.online, RELEASE: [online_signer()]}
        state = await registry.state()
        targets = targets_with(
            state.targets,
            shards=keys_of(*bed.keys.holders),
            release=keys_of(*bed.keys.online[RELEASE]),
            now_s=NOW_S,
        )
        replaced = bed.registry()
        document = sign(targets, bed.keys.holders)
        await replaced.install({TARGETS: document})
        stored = dict(bed.memory._objects)
        await replaced.install({TARGETS: document})
        assert bed.memory._objects == stored
        await bed.vouch(replaced, "acme", a_release("b-title", 2))
        for release in (a_release("a-title"), a_release("b-title", 2)):
            assert client.believes("acme", release)

    async def test_new_holders_must_sign_every_shard_that_is_left(
        self, registry: Registry, bed: TestBed
    ) -> None:
        state = await registry.state()
        both = keys_of(*bed.keys.holders, offline_signer())
        targets = targets_with(
            state.targets, shards=both, release=keys_of(*bed.keys.online[RELEASE]), now_s=NOW_S
        )
        with pytest.raises(Denied, match=r"shard-.. was signed by 1/2 keys"):
            await registry.install({TARGETS: sign(targets, bed.keys.holders)})

    @pytest.mark.parametrize("fault", [SLOW_DOWN, RESET], ids=["before", "after"])
    async def test_online_keys_are_replaced_without_a_moment_of_refusal(
        self, bed: TestBed, registry: Registry, client: StockClient, fault: Fault
    ) -> None:
        await bed.vouch(registry, "acme", a_release("a-title"))
        finished = set[str]()
        for operation in ("put_if_absent", "put"):
            for index in range(6):
                former = bed.keys.online
                bed.keys.online = {
                    **former,
                    TIMESTAMP: [*former[TIMESTAMP][-1:], online_signer()],
                    SNAPSHOT: [*former[SNAPSHOT][-1:], online_signer()],
                }
                root = sign(
                    root_with(
                        (await registry.state()).root,
                        {
                            role: keys_of(bed.keys.online[role][-1])
                            for role in (TIMESTAMP, SNAPSHOT)
                        },
                        NOW_S,
                    ),
                    bed.keys.holders,
                )
                storage = FaultyStorage(bed.memory)
                storage.next(operation, *[_NO_FAULT] * index, fault)  # type: ignore[arg-type]
                try:
                    await bed.registry(storage).install({ROOT: root})
                except type(fault.error):  # type: ignore[union-attr]
                    assert client.believes("acme", a_release("a-title"))
                    registry = bed.registry()
                    await registry.install({ROOT: root})
                    assert client.believes("acme", a_release("a-title"))
                else:
                    registry = bed.registry()
                    finished.add(operation)
                    break
        assert finished == {"put_if_absent", "put"}

    async def test_root_that_leaves_targets_unsigned_is_denied(
        self, registry: Registry, bed: TestBed
    ) -> None:
        stranger = offline_signer()
        root = root_with(
            (await registry.state()).root, {TARGETS: RoleKeys((stranger.public_key,))}, NOW_S
        )
        with pytest.raises(Denied, match="metadata of targets, version 1"):
            await registry.install({ROOT: sign(root, bed.keys.holders)})

    async def test_root_needs_the_old_holders_and_the_new(
        self, registry: Registry, bed: TestBed, client: StockClient
    ) -> None:
        added = offline_signer()
        both = keys_of(*bed.keys.holders, added)
        root = root_with((await registry.state()).root, {ROOT: both}, NOW_S)
        with pytest.raises(Denied, match="root was signed by 1/2 keys"):
            await registry.install({ROOT: sign(root, bed.keys.holders)})
        with pytest.raises(Denied, match="root was signed by 0/1 keys"):
            await registry.install({ROOT: sign(root, [added])})
        await registry.install({ROOT: sign(root, [*bed.keys.holders, added])})
        assert client.refreshed()._trusted_set.root.version == 2
        assert parse(bed.memory._objects[trust_key(ROOT, 2)][0], Root, ROOT).signed == root


async def test_doubts_of_consoles_are_said_in_words(
    registry: Registry, bed: TestBed, client: StockClient
) -> None:
    first, second = a_release("a-title"), a_release("a-title", 2)
    assert await registry.doubt(first, LIVE) == (
        "the platform does not vouch for head/a-title/live"
    )
    await bed.vouch(registry, "acme", first)
    assert await registry.doubt(first, LIVE) is None
    assert client.believes("acme", first)
    assert await registry.doubt(second, LIVE) == (
        "the platform vouches for release 1 at head/a-title/live, not for this"
    )
    shard = await registry.said(shard_role(ACME))
    assert shard is not None
    without = shard_without(shard, ACME, NOW_S)
    await registry.install({shard_role(ACME): sign(without, bed.keys.holders)})
    assert await registry.doubt(first, LIVE) == (
        f"{shard_role(ACME)} does not give the title to publisher acme"
    )
    after = shard_with(without, ACME, keys_of(offline_signer()), [TITLE], NOW_S)
    await registry.install({shard_role(ACME): sign(after, bed.keys.holders)})
    assert "publisher-acme was signed by 0/1 keys" in str(await registry.doubt(first, LIVE))


async def test_what_has_expired_is_doubted(registry: Registry, bed: TestBed) -> None:
    assert isinstance(bed.clock, ManualClock)
    await bed.vouch(registry, "acme", a_release("a-title"))
    bed.clock.advance(48 * HOUR_S)
    assert await registry.doubt(a_release("a-title"), LIVE) == (
        "what timestamp signed expired on 2026-01-03"
    )


async def test_enrolling_again_changes_nothing(registry: Registry, bed: TestBed) -> None:
    stored = dict(bed.memory._objects)
    await bed.enrol(registry, "acme", "a-title")
    assert bed.memory._objects == stored


async def test_title_that_nobody_has_is_not_found(registry: Registry, client: StockClient) -> None:
    with pytest.raises(NotFound, match="title nobodys is enrolled for no publisher"):
        await registry.publisher_of(TitleId("nobodys"))
    with pytest.raises(RepositoryError):
        client.head("a-title")
