"""Bundles that an origin makes: what is in them, what they cost, and what is left out."""

from __future__ import annotations

import asyncio
from collections import Counter

from kit.clock import ManualClock
from kit.object_storage.testing import MemoryStorage
from manifests.addresses import TrustBundleAddress
from manifests.locations import TRUST_PREFIX
from manifests.names import Channel
from manifests.trust_bundle import HEAD, parse_bundle
from manifests.trust_metadata import root_with
from manifests.trust_roles import METADATA_SIZE_MAX, ROOT, publisher_role
from origin.trust_bundles import TrustBundle, TrustBundles
from tests import titles
from tests.bundles_of_trust import STUDIO, documents_of, vouching_for
from tests.serving import running_origin
from tests.trust_repository import TrustRepository, a_release, trusted_root

title = titles.some_title()
ADDRESS = TrustBundleAddress(titles.TITLE, titles.LIVE)


class CountingStorage(MemoryStorage):
    """Remembers which keys were read."""

    def __init__(self) -> None:
        super().__init__()
        self.read_keys: Counter[str] = Counter()

    async def get(self, key: str, *, size_max: int) -> bytes:
        self.read_keys[key] += 1
        return await super().get(key, size_max=size_max)


class World:
    """A title in storage, what vouches for it, and the bundles made of both."""

    def __init__(self, *, fresh_s: float = 1.0, max_bytes: int = 64 << 20) -> None:
        self.clock = ManualClock()
        self.storage = CountingStorage()
        self.repository = vouching_for(title)
        self.bundles = TrustBundles(
            self.storage,
            asyncio.Semaphore(4),
            fresh_s=fresh_s,
            max_bytes=max_bytes,
            clock=self.clock,
        )

    async def put(self) -> None:
        await titles.put(self.storage, title)
        for name, document in self.repository.files.items():
            await self.storage.put(TRUST_PREFIX + name, document)

    async def bundle(self) -> TrustBundle:
        return await self.bundles.get(ADDRESS)

    async def documents(self) -> dict[str, bytes]:
        return parse_bundle((await self.bundle()).content)


async def test_bundle_holds_all_that_a_console_must_see() -> None:
    world = World()
    await world.put()
    assert await world.documents() == documents_of(world.repository, title.head)


async def test_fresh_bundle_costs_no_read() -> None:
    world = World()
    await world.put()
    await world.bundle()
    world.storage.read_keys.clear()
    for _ in range(10):
        await world.bundle()
    assert not world.storage.read_keys


async def test_unchanged_bundle_costs_two_reads_and_is_the_same() -> None:
    world = World()
    await world.put()
    first = await world.bundle()
    world.storage.read_keys.clear()
    world.clock.advance(2)
    assert (await world.bundle()).content == first.content
    assert sorted(world.storage.read_keys) == ["t/a-title/h/live", "trust/timestamp.json"]


async def test_many_that_ask_at_once_cost_one_look() -> None:
    world = World()
    await world.put()
    await asyncio.gather(*(world.bundle() for _ in range(20)))
    assert max(world.storage.read_keys.values()) <= 2, "a root that is not there yet, and once"
    assert world.storage.read_keys["trust/timestamp.json"] == 1


async def test_what_was_signed_since_is_read_and_nothing_else() -> None:
    world = World()
    await world.put()
    await world.bundle()
    world.repository.sign_again(publisher_role(STUDIO), [world.repository.publishers[STUDIO]])
    await world.put()
    world.clock.advance(2)
    world.storage.read_keys.clear()
    assert await world.documents() == documents_of(world.repository, title.head)
    signed = [key for key in world.storage.read_keys if "publisher" in key or "snapshot" in key]
    assert len(signed) == 2
    assert not [key for key in world.storage.read_keys if "shard" in key or "targets" in key]


async def test_newest_root_is_in_the_bundle() -> None:
    world = World()
    for _ in range(2):
        root = root_with(trusted_root(world.repository), {}, world.repository.now_s)
        world.repository.put(ROOT, root, world.repository.root_signers)
    await world.put()
    found = await world.documents()
    assert [name for name in found if name.endswith(".root.json")] == ["3.root.json"]


async def test_channel_that_nobody_vouches_for_has_its_head_and_the_top() -> None:
    world = World()
    world.repository = TrustRepository()
    await world.put()
    found = await world.documents()
    assert found[HEAD] == title.head
    assert not [name for name in found if "publisher" in name or "bin" in name]


async def test_damaged_metadata_is_left_to_consoles_to_refuse() -> None:
    world = World()
    await world.put()
    version = world.repository.signed["snapshot"].version
    await world.storage.put(f"{TRUST_PREFIX}{version}.snapshot.json", b"[" * 5000)
    found = await world.documents()
    assert found[f"{version}.snapshot.json"] == b"[" * 5000


async def test_publisher_of_very_many_builds_is_left_out_of_the_bundle() -> None:
    world = World()
    for counter in range(2, 10_000, 2000):
        many = (a_release("a-title", counter + index) for index in range(2000))
        world.repository.vouch(STUDIO, *many)
    await world.put()
    role = publisher_role(STUDIO)
    name = f"{world.repository.signed[role].version}.{role}.json"
    assert len(world.repository.files[name]) < METADATA_SIZE_MAX
    expected = documents_of(world.repository, title.head)
    del expected[name]
    assert await world.documents() == expected


async def test_memory_is_bounded() -> None:
    world = World(max_bytes=10_000)
    await world.put()
    for index in range(20):
        channel = Channel(f"channel-{index}")
        await world.storage.put(f"t/a-title/h/{channel}", title.head)
        await world.bundles.get(TrustBundleAddress(titles.TITLE, channel))
    assert world.bundles.held_bytes <= 10_000


async def test_unknown_channel_and_a_storage_without_trust_are_not_found() -> None:
    storage = MemoryStorage()
    async with running_origin(storage) as origin:
        assert (await origin.ask(ADDRESS.path)).status == 404
        await titles.put(storage, title)
        assert (await origin.ask(ADDRESS.path)).status == 404


async def test_lock_of_the_repository_is_not_served() -> None:
    storage = MemoryStorage()
    await storage.put("trust/w/0000000001-token", b"{}")
    async with running_origin(storage) as origin:
        assert (await origin.ask("/trust/w/0000000001-token")).status == 404
