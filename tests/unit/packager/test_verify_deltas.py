"""Whatever is wrong with a title's delta sets is found and named, and nothing else is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest

from chunks.chunk_id import digest_of
from chunks.delta_bundle import DeltaBundleWriter
from kit.clock import ManualClock
from kit.object_storage.testing import MemoryStorage
from manifests import locations
from manifests.delta_index import StoredDelta, encode_delta_index
from manifests.documents import DeltaSet
from manifests.manifest_delta import encode_manifest_delta
from manifests.model import BundleRef
from packager.findings import Rule
from packager.title_store import TitleStore
from packager.verify import Progress, Verdict, verify
from tests.delta_builds import make, noise, publish_files, sprinkled
from tests.pushes import LIVE, TITLE
from tests.vouchers import Notary

GAME = noise(1, 500_000)


@dataclass
class Title:
    """Two releases, a delta set that leads from one to the other, and its deltas."""

    store: TitleStore
    known: DeltaSet
    deltas: list[StoredDelta]
    sizes: dict[bytes, int]

    @property
    def index_key(self) -> str:
        return locations.manifest_key(TITLE, self.known.index.raw_digest)

    @property
    def manifest_key(self) -> str:
        assert self.known.manifest is not None
        return locations.manifest_key(TITLE, self.known.manifest.raw_digest)

    @property
    def bundle_key(self) -> str:
        return locations.bundle_key(TITLE, self.deltas[0].bundle.bundle_id)

    @property
    def slice_list_key(self) -> str:
        return locations.slice_list_key(TITLE, self.deltas[0].bundle.bundle_id)

    async def content(self, key: str) -> bytes:
        return await self.store.storage.get(key, size_max=1 << 25)

    async def rename(self, *deltas: StoredDelta) -> None:
        """Let an index of other deltas take the place of the true one."""
        data = encode_delta_index(deltas, self.sizes)  # type: ignore[arg-type]
        index = await self.store.put_manifest(data)
        await self.store.put_delta_set(
            msgspec.structs.replace(self.known, index=index, manifest=None)
        )
        head = await self.store.head(LIVE)
        refs = tuple(msgspec.structs.replace(ref, index=index) for ref in head.deltas)
        await self.store.set_head(msgspec.structs.replace(head, deltas=refs))


@pytest.fixture
async def title(tmp_path: Path) -> Title:
    storage = MemoryStorage(clock=ManualClock(1_777_888_000))
    await publish_files(storage, tmp_path, "1", {"game": GAME})
    await publish_files(storage, tmp_path, "2", {"game": sprinkled(GAME, 1, 500)})
    await make(storage, tmp_path)
    store = TitleStore(storage, TITLE)
    (known,) = await store.delta_sets()
    index = await store.delta_index(known.index)
    sizes: dict[bytes, int] = dict(zip(index.all_ids, index.sizes.tolist(), strict=True))
    return Title(store, known, [index.delta(at) for at in range(len(index))], sizes)


def found(verdict: Verdict) -> set[tuple[str, Rule, tuple[int, ...]]]:
    return {(problem.key, problem.rule, problem.releases) for problem in verdict.problems}


@pytest.mark.parametrize("is_quick", [False, True])
async def test_a_sound_title_has_no_problems(title: Title, is_quick: bool) -> None:
    heard: list[Progress] = []
    verdict = await verify(
        title.store, is_quick=is_quick, on_progress=heard.append, witness=Notary()
    )
    assert verdict.is_sound, verdict.problems
    assert verdict.delta_count == len(title.deltas) > 0
    assert verdict.applied_delta_count == (0 if is_quick else verdict.delta_count)
    bundles = [s async for s in title.store.storage.list(locations.bundles_prefix(TITLE))]
    assert verdict.bundle_count == len(bundles)
    assert verdict.bundle_size == sum(stat.size for stat in bundles)
    if not is_quick:
        assert heard[-1].size_done == heard[-1].size == verdict.bundle_size
        assert heard[-1].bundle_count_done == heard[-1].bundle_count


Damage = Callable[[Title], Awaitable[str]]


async def index_gone(title: Title) -> str:
    await title.store.storage.delete([title.index_key])
    return title.index_key


async def index_damaged(title: Title) -> str:
    content = bytearray(await title.content(title.index_key))
    content[-3] ^= 1
    await title.store.storage.put(title.index_key, bytes(content))
    return title.index_key


async def manifest_gone(title: Title) -> str:
    await title.store.storage.delete([title.manifest_key])
    return title.manifest_key


async def manifest_damaged(title: Title) -> str:
    content = bytearray(await title.content(title.manifest_key))
    content[-3] ^= 1
    await title.store.storage.put(title.manifest_key, bytes(content))
    return title.manifest_key


async def manifest_of_other_objects(title: Title) -> str:
    ref = await title.store.put_manifest(encode_manifest_delta([b"old"], [b"new"]) or b"")
    await title.store.put_delta_set(msgspec.structs.replace(title.known, manifest=ref))
    return locations.manifest_key(TITLE, ref.raw_digest)


async def set_of_strange_name(title: Title) -> str:
    key = f"{locations.delta_sets_prefix(TITLE)}1-2"
    await title.store.storage.put(key, b"{}")
    return key


async def set_cut_off(title: Title) -> str:
    key = locations.delta_set_key(TITLE, 1, 2)
    await title.store.storage.put(key, (await title.content(key))[:30])
    return key


async def bundle_gone(title: Title) -> str:
    await title.store.storage.delete([title.bundle_key])
    return title.bundle_key


async def bundle_cut_off(title: Title) -> str:
    await title.store.storage.put(title.bundle_key, (await title.content(title.bundle_key))[:-1])
    return title.bundle_key


async def slice_list_gone(title: Title) -> str:
    await title.store.storage.delete([title.slice_list_key])
    return title.slice_list_key


async def payload_bit_flipped(title: Title) -> str:
    content = bytearray(await title.content(title.bundle_key))
    content[30] ^= 8
    await title.store.storage.put(title.bundle_key, bytes(content))
    return title.bundle_key


async def delta_elsewhere(title: Title) -> str:
    first = title.deltas[0]
    await title.rename(replace(first, size=first.size - 1))
    return title.bundle_key


async def delta_of_another_digest(title: Title) -> str:
    await title.rename(replace(title.deltas[0], check=bytes(16)))
    return title.bundle_key


async def bundle_of_another_size(title: Title) -> str:
    first = title.deltas[0]
    ref = BundleRef(first.bundle.bundle_id, first.bundle.size + 1)
    await title.rename(replace(first, bundle=ref))
    return title.bundle_key


async def delta_of_another_method(title: Title) -> str:
    first = title.deltas[0]
    others = [method for method in type(first.method) if method not in {first.method, 3}]
    await title.rename(replace(first, method=others[0]))
    return title.bundle_key


async def delta_of_other_bases(title: Title) -> str:
    """Every digest is right, and yet it makes nothing of what the index says it is for."""
    first = title.deltas[0]
    await title.rename(replace(first, bases=first.bases[::-1][:1]))
    return title.bundle_key


async def targets_in_another_order(title: Title) -> str:
    first = title.deltas[0]
    assert len(first.targets) > 1
    await title.rename(replace(first, targets=first.targets[::-1]))
    return title.bundle_key


async def nonsense_with_the_right_digest(title: Title) -> str:
    writer = DeltaBundleWriter()
    payload = b"nonsense" * 9
    place = writer.add(payload)
    bundle = writer.close()
    await title.store.put_bundle(bundle)
    ref = BundleRef(bundle.bundle_id, len(bundle.data))
    check = digest_of(payload)[:16]
    made = replace(title.deltas[0], bundle=ref, check=check, offset=place.offset, size=place.size)
    await title.rename(made)
    return locations.bundle_key(TITLE, bundle.bundle_id)


@pytest.mark.parametrize(
    ("damage", "rules"),
    [
        (index_gone, {Rule.MISSING}),
        (index_damaged, {Rule.DIGEST}),
        (manifest_gone, {Rule.MISSING}),
        (manifest_damaged, {Rule.DIGEST}),
        (manifest_of_other_objects, {Rule.FORMAT}),
        (bundle_gone, {Rule.MISSING}),
        (bundle_cut_off, {Rule.SIZE, Rule.FORMAT}),
        (slice_list_gone, {Rule.MISSING}),
        (payload_bit_flipped, {Rule.SLICE, Rule.DELTA}),
        (delta_elsewhere, {Rule.PLACE}),
        (delta_of_another_digest, {Rule.PLACE}),
        (bundle_of_another_size, {Rule.SIZE}),
        (delta_of_another_method, {Rule.DELTA}),
        (delta_of_other_bases, {Rule.DELTA}),
        (targets_in_another_order, {Rule.DELTA}),
        (nonsense_with_the_right_digest, {Rule.DELTA}),
        (set_cut_off, {Rule.FORMAT}),
    ],
)
async def test_damage_is_found_where_it_is_and_nowhere_else(
    title: Title, damage: Damage, rules: set[Rule]
) -> None:
    key = await damage(title)
    assert found(await verify(title.store, witness=Notary())) == {
        (key, rule, (2,)) for rule in rules
    }


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (index_gone, Rule.MISSING),
        (bundle_gone, Rule.MISSING),
        (bundle_cut_off, Rule.SIZE),
        (slice_list_gone, Rule.MISSING),
        (bundle_of_another_size, Rule.SIZE),
    ],
)
async def test_a_quick_look_sees_what_is_missing_or_cut_off(
    title: Title, damage: Damage, rule: Rule
) -> None:
    key = await damage(title)
    assert found(await verify(title.store, is_quick=True, witness=Notary())) == {(key, rule, (2,))}


async def test_a_set_of_a_strange_name_is_nobodys(title: Title) -> None:
    key = await set_of_strange_name(title)
    assert found(await verify(title.store, witness=Notary())) == {(key, Rule.FORMAT, ())}


async def test_deltas_whose_bases_were_swept_are_left_untried(title: Title) -> None:
    await title.store.storage.delete([locations.release_key(TITLE, 1)])
    verdict = await verify(title.store, witness=Notary())
    assert verdict.is_sound, verdict.problems
    assert (verdict.delta_count, verdict.applied_delta_count) == (len(title.deltas), 0)
