"""Whatever is wrong with a published title is found and named, and the search goes on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from chunks.bundle import BundleWriter
from chunks.chunk_id import Digest, chunk_id_of, digest_of
from kit.clock import ManualClock
from kit.errors import NotFound, Unavailable
from kit.object_storage.testing import SLOW_DOWN, FaultyStorage, MemoryStorage
from manifests import locations
from manifests.documents import Head, ObjectRef, Release, encode
from manifests.model import BundleRef
from manifests.names import Version
from packager.findings import Rule
from packager.title_store import TitleStore
from packager.verify import Progress, Verdict, verify
from tests.builds import file
from tests.publishing import (
    BETA,
    LIVE,
    TITLE,
    Place,
    page_refs,
    places_of,
    publish,
    store_manifest,
)
from tests.vouchers import Notary

clock = ManualClock(1_777_888_000)

OLD = {f"file{n}": bytes([n]) * 50 + f"{n}".encode() * 400 for n in range(20)}
NEW = OLD | {"file3": b"changed", "more": b"more" * 99}


@dataclass
class Title:
    """Two releases that share most bundles, and the keys of their parts."""

    store: TitleStore
    old: Release
    new: Release

    async def content(self, key: str) -> bytes:
        return await self.store.storage.get(key, size_max=1 << 25)

    async def put(self, key: str, content: bytes) -> None:
        await self.store.storage.put(key, content)

    async def drop(self, key: str) -> None:
        await self.store.storage.delete([key])

    async def bundle_ids(self) -> list[Digest]:
        """In play order of the old build."""
        places = await places_of(self.store, self.old.root)
        return list(dict.fromkeys(place.bundle.bundle_id for place in places.values()))

    async def release_of(self, root: ObjectRef) -> None:
        """Make ``root`` the one of a third release."""
        release = Release(
            title=TITLE,
            counter=3,
            version=Version("3"),
            created_at="2026-05-04T10:00:00Z",
            root=root,
        )
        await self.store.add_release(release)


@pytest.fixture
async def title() -> Title:
    store = TitleStore(MemoryStorage(clock=clock), TITLE)
    old = await publish(store, OLD, "1.0", clock=clock)
    return Title(store, old, await publish(store, NEW, "1.1", BETA, clock=clock))


def found(verdict: Verdict) -> set[tuple[str, Rule, tuple[int, ...]]]:
    return {(problem.key, problem.rule, problem.releases) for problem in verdict.problems}


@pytest.mark.parametrize("is_quick", [False, True])
async def test_a_sound_title_has_no_problems(title: Title, is_quick: bool) -> None:
    verdict = await verify(title.store, is_quick=is_quick, witness=Notary())
    assert verdict.is_sound, verdict.problems
    assert (verdict.release_count, verdict.build_count) == (2, 2)
    bundles = [s async for s in title.store.storage.list(locations.bundles_prefix(TITLE))]
    assert verdict.bundle_count == len(bundles) > 2
    assert verdict.bundle_size == sum(stat.size for stat in bundles)


async def test_a_title_that_is_not_there_is_named() -> None:
    with pytest.raises(NotFound, match="title a-title"):
        await verify(TitleStore(MemoryStorage(), TITLE), witness=Notary())


async def test_every_bundle_is_read_once_and_progress_ends_at_all(title: Title) -> None:
    storage = FaultyStorage(title.store.storage)
    heard: list[Progress] = []
    verdict = await verify(TitleStore(storage, TITLE), on_progress=heard.append, witness=Notary())
    documents, manifests = 2 + 2, 2 + 2  # heads and releases; a root and a page each
    assert storage.calls["get"] == documents + manifests + 2 * verdict.bundle_count
    assert [progress.bundle_count_done for progress in heard] == [
        number + 1 for number in range(verdict.bundle_count)
    ]
    assert heard[-1].size_done == heard[-1].size == verdict.bundle_size


async def test_storage_that_is_down_is_no_finding(title: Title) -> None:
    storage = FaultyStorage(title.store.storage)
    storage.next("get", *[SLOW_DOWN] * 99)
    with pytest.raises(Unavailable):
        await verify(TitleStore(storage, TITLE), witness=Notary())


Damage = Callable[[Title], Awaitable[str]]


async def head_cut_off(title: Title) -> str:
    key = locations.head_key(TITLE, LIVE)
    await title.put(key, (await title.content(key))[:40])
    return key


async def head_of_newer_format(title: Title) -> str:
    key = locations.head_key(TITLE, LIVE)
    await title.put(key, b'{"format":2}')
    return key


async def head_of_no_channel(title: Title) -> str:
    await title.put(key := f"{locations.heads_prefix(TITLE)}Live", b"{}")
    return key


async def release_of_newer_format(title: Title) -> str:
    key = locations.release_key(TITLE, 1)
    await title.put(key, b'{"format":2}')
    return key


async def release_too_long(title: Title) -> str:
    key = locations.release_key(TITLE, 1)
    await title.put(key, b" " * 99_999)
    return key


async def release_gone(title: Title) -> str:
    await title.drop(key := locations.release_key(TITLE, 1))
    return key


async def release_of_strange_name(title: Title) -> str:
    await title.put(key := f"{locations.releases_prefix(TITLE)}one", b"{}")
    return key


async def head_contradicts_release(title: Title) -> str:
    odd = Release(
        title=TITLE, counter=2, version=Version("9"), created_at="2026-05-04T10:00:00Z",
        root=title.new.root,
    )  # fmt: skip
    await title.put(
        key := locations.head_key(TITLE, BETA),
        encode(Head(title=TITLE, channel=BETA, release=odd)),
    )
    return key


async def root_damaged(title: Title) -> str:
    key = locations.manifest_key(TITLE, title.old.root.raw_digest)
    await title.put(key, (await title.content(key)).replace(b"launch", b"Launch"))
    return key


async def root_of_newer_format(title: Title) -> str:
    root = await title.store.put_manifest(b'{"format":2}')
    await title.release_of(root)
    return locations.manifest_key(TITLE, root.raw_digest)


async def root_gone(title: Title) -> str:
    await title.drop(key := locations.manifest_key(TITLE, title.old.root.raw_digest))
    return key


async def page_cut_off(title: Title) -> str:
    (page,) = await page_refs(title.store, title.old.root)
    key = locations.manifest_key(TITLE, page.raw_digest)
    await title.put(key, (await title.content(key))[:-1])
    return key


async def page_gone(title: Title) -> str:
    (page,) = await page_refs(title.store, title.old.root)
    await title.drop(key := locations.manifest_key(TITLE, page.raw_digest))
    return key


async def bad_path(title: Title) -> str:
    content = OLD["file0"]
    places = await places_of(title.store, title.old.root)
    entries = [file("a/../b", len(content))]
    root = await store_manifest(title.store, entries, [content], places)
    await title.release_of(root)
    return locations.manifest_key(TITLE, root.raw_digest)


async def bundle_bit_flipped(title: Title) -> str:
    key = locations.bundle_key(TITLE, (await title.bundle_ids())[0])
    content = bytearray(await title.content(key))
    content[3] ^= 4
    await title.put(key, bytes(content))
    return key


async def bundle_cut_off(title: Title) -> str:
    key = locations.bundle_key(TITLE, (await title.bundle_ids())[0])
    await title.put(key, (await title.content(key))[:-1])
    return key


async def bundle_empty(title: Title) -> str:
    await title.put(key := locations.bundle_key(TITLE, (await title.bundle_ids())[0]), b"")
    return key


async def bundle_too_long(title: Title) -> str:
    key = locations.bundle_key(TITLE, (await title.bundle_ids())[0])
    await title.put(key, bytes((32 << 20) + 1))
    return key


async def bundle_gone(title: Title) -> str:
    await title.drop(key := locations.bundle_key(TITLE, (await title.bundle_ids())[0]))
    return key


async def slice_list_gone(title: Title) -> str:
    await title.drop(key := locations.slice_list_key(TITLE, (await title.bundle_ids())[0]))
    return key


async def slice_list_of_another_bundle(title: Title) -> str:
    first, second, *_ = [
        locations.slice_list_key(TITLE, bundle_id) for bundle_id in await title.bundle_ids()
    ]
    await title.put(first, await title.content(second))
    return first


async def chunk_elsewhere(title: Title) -> str:
    content = OLD["file5"]
    id_ = chunk_id_of(digest_of(content))
    place = (await places_of(title.store, title.old.root))[id_]
    moved = place._replace(offset=place.offset + 1)
    entries = [file("f", len(content))]
    await title.release_of(await store_manifest(title.store, entries, [content], {id_: moved}))
    return locations.bundle_key(TITLE, place.bundle.bundle_id)


async def bundle_of_another_size(title: Title) -> str:
    content = OLD["file5"]
    id_ = chunk_id_of(digest_of(content))
    place = (await places_of(title.store, title.old.root))[id_]
    ref = BundleRef(place.bundle.bundle_id, place.bundle.size + 1)
    entries = [file("f", len(content))]
    places = {id_: place._replace(bundle=ref)}
    await title.release_of(await store_manifest(title.store, entries, [content], places))
    return locations.bundle_key(TITLE, ref.bundle_id)


async def chunk_of_other_bytes(title: Title) -> str:
    """Every digest is right but the chunk's own: a publisher stored it wrongly."""
    content = b"what was promised"
    writer = BundleWriter(1 << 20)
    writer.add(digest_of(content), len(content), content[::-1])
    bundle = writer.close()
    await title.store.put_bundle(bundle)
    ref = BundleRef(bundle.bundle_id, len(bundle.data))
    place = Place(ref, 0, len(content), len(content))
    entries = [file("f", len(content))]
    places = {chunk_id_of(digest_of(content)): place}
    await title.release_of(await store_manifest(title.store, entries, [content], places))
    return locations.bundle_key(TITLE, bundle.bundle_id)


@pytest.mark.parametrize(
    ("damage", "rules", "releases"),
    [
        (head_cut_off, {Rule.FORMAT}, ()),
        (head_of_newer_format, {Rule.FORMAT}, ()),
        (head_of_no_channel, {Rule.FORMAT}, ()),
        (head_contradicts_release, {Rule.RELEASE}, (2,)),
        (release_of_newer_format, {Rule.FORMAT}, (1,)),
        (release_too_long, {Rule.DIGEST}, (1,)),
        (release_gone, {Rule.MISSING}, (1,)),
        (release_of_strange_name, {Rule.FORMAT}, ()),
        (root_damaged, {Rule.DIGEST}, (1,)),
        (root_of_newer_format, {Rule.FORMAT}, (3,)),
        (root_gone, {Rule.MISSING}, (1,)),
        (page_cut_off, {Rule.DIGEST}, (1,)),
        (page_gone, {Rule.MISSING}, (1,)),
        (bad_path, {Rule.FORMAT}, (3,)),
        (bundle_bit_flipped, {Rule.SLICE, Rule.CHUNK}, (1, 2)),
        (bundle_cut_off, {Rule.SIZE, Rule.FORMAT}, (1, 2)),
        (bundle_empty, {Rule.SIZE, Rule.FORMAT}, (1, 2)),
        (bundle_too_long, {Rule.DIGEST}, (1, 2)),
        (bundle_gone, {Rule.MISSING}, (1, 2)),
        (slice_list_gone, {Rule.MISSING}, (1, 2)),
        (slice_list_of_another_bundle, {Rule.DIGEST}, (1, 2)),
        (chunk_elsewhere, {Rule.PLACE}, (1, 2, 3)),
        (bundle_of_another_size, {Rule.SIZE}, (1, 2, 3)),
        (chunk_of_other_bytes, {Rule.CHUNK}, (3,)),
    ],
)
async def test_damage_is_found_where_it_is_and_nowhere_else(
    title: Title, damage: Damage, rules: set[Rule], releases: tuple[int, ...]
) -> None:
    key = await damage(title)
    verdict = await verify(title.store, witness=Notary())
    assert found(verdict) == {(key, rule, releases) for rule in rules}


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (bundle_gone, Rule.MISSING),
        (bundle_cut_off, Rule.SIZE),
        (slice_list_gone, Rule.MISSING),
        (page_gone, Rule.MISSING),
        (root_damaged, Rule.DIGEST),
    ],
)
async def test_a_quick_look_sees_what_is_missing_or_cut_off(
    title: Title, damage: Damage, rule: Rule
) -> None:
    key = await damage(title)
    assert {
        (p.key, p.rule)
        for p in (await verify(title.store, is_quick=True, witness=Notary())).problems
    } == {(key, rule)}


async def test_a_quick_look_reads_no_bundle(title: Title) -> None:
    await bundle_bit_flipped(title)
    assert (await verify(title.store, is_quick=True, witness=Notary())).is_sound


async def test_nothing_stops_at_the_first_finding(title: Title) -> None:
    keys = {
        await head_cut_off(title),
        await slice_list_gone(title),
        await bundle_bit_flipped(title),
        await chunk_of_other_bytes(title),
        await release_of_strange_name(title),
    }
    assert {
        problem.key for problem in (await verify(title.store, witness=Notary())).problems
    } == keys


async def test_a_finding_says_what_is_wrong_in_words(title: Title) -> None:
    await bundle_bit_flipped(title)
    details = {p.rule: p.detail for p in (await verify(title.store, witness=Notary())).problems}
    assert details[Rule.SLICE].startswith("1 of 1 slices wrong: slice 0, bytes 0 to ")
    assert details[Rule.CHUNK].startswith("1 of ")
