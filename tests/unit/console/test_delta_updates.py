"""Updates by deltas, through a real server into a real folder: exact, cheap, and never trusted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from backports import zstd

from chunks.chunk_id import digest_of
from chunks.delta import Method
from console.platform_api import Console
from console.progress import Event, Planned
from console.reports import Report
from kit.errors import PlayheadError, Unavailable
from kit.http_client import HttpClient
from kit.units import Seconds
from manifests import locations
from manifests.delta_index import StoredDelta
from manifests.documents import DeltaRef, ObjectRef
from manifests.manifest_delta import encode_manifest_delta
from tests.believing import BelievingHeads
from tests.consoles import IMPATIENT, console_on, differences, impatient_settings
from tests.delta_publisher import BEST, DeltaPublisher, index_key, write_version
from tests.faulty_edge import Asked, Fault, after, flipped, serving_faulty, stalled, status
from tests.leases import AnyLease
from tests.pushes import LIVE, TITLE
from tests.serving import running_edge, running_origin

pytestmark = pytest.mark.may_block


@dataclass
class World:
    """A publisher, its edge, a console, and the trees of versions 1 to 5."""

    publisher: DeltaPublisher
    console: Console
    trees: list[Path]
    game: Path

    def tree(self, version: int) -> Path:
        """Return the tree of a version, from 1 on."""
        return self.trees[version - 1]

    async def install(self, version: int = 1) -> None:
        """Publish one version and install it."""
        await self.publisher.publish(self.tree(version))
        await self.console.install(TITLE, self.game, channel=LIVE)
        self.publisher.edge.asked.clear()

    async def publish(self, *versions: int) -> None:
        """Publish versions, each with the deltas from the release before."""
        for version in versions:
            await self.publisher.publish(self.tree(version), with_deltas=True)

    async def update(self, version: int, console: Console | None = None, **more: Any) -> Report:
        """Update; what is played then is ``version``, and nothing but that is left."""
        report = await (console or self.console).update(self.game, **more)
        assert await differences(self.tree(version), self.game) == []
        assert (await self.console.verify(self.game)).is_sound
        assert not any((self.game / ".playhead" / "staging").iterdir())
        return report

    async def update_as_planned(self, version: int) -> Report:
        """Update, and hold the plan against what was asked for, received and written."""
        plan = await self.console.plan(TITLE, self.game, channel=LIVE)
        edge = self.publisher.edge
        edge.asked.clear()
        report = await self.update(version)
        spans = [asked for asked in edge.asked if asked.is_bundle]
        assert report.plan == plan
        assert (plan.download_bytes, plan.requests) == (edge.bundle_bytes_asked(), len(spans))
        asked_deltas = self.publisher.delta_requests()
        assert plan.delta_bytes == sum(a.span[1] - a.span[0] for a in asked_deltas if a.span)
        assert plan.write_bytes == report.written_bytes
        assert plan.delta_made_bytes <= report.delta_made_bytes
        assert plan.reused_bytes == report.reused_bytes
        assert report.failed_deltas == report.failed_requests == 0
        return report

    def only_deltas(self, fault: Fault) -> Fault:
        """Let everything but ranges of deltas through."""
        bundles = self.publisher.delta_bundles()

        async def answer(
            request: web.Request, asked: Asked, body: bytes
        ) -> web.StreamResponse | None:
            return await fault(request, asked, body) if asked.path in bundles else None

        return answer

    @property
    def ref(self) -> DeltaRef:
        """The nearest delta set that the head names."""
        return self.publisher.head.deltas[0]

    @asynccontextmanager
    async def another_console(self, **settings: Any) -> AsyncIterator[Console]:
        async with console_on(self.publisher.edge, **settings) as console:
            yield console


def without_manifest(ref: DeltaRef) -> DeltaRef:
    return msgspec.structs.replace(ref, manifest=None)


def manifest_key_of(ref: DeltaRef) -> str:
    assert ref.manifest is not None
    return index_key(ref.manifest)


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("trees")
    versions = [folder / f"v{number}" for number in range(1, 6)]
    for number, tree in enumerate(versions, start=1):
        write_version(tree, number)
    return versions


@pytest.fixture
async def world(tmp_path: Path, trees: list[Path]) -> AsyncIterator[World]:
    """Nothing is published, nothing is installed."""
    publisher = DeltaPublisher(tmp_path)
    async with (
        serving_faulty(publisher.edge),
        console_on(publisher.edge, delta_patience=0.3) as console,
    ):
        yield World(publisher, console, trees, tmp_path / "game")


async def test_update_is_made_by_deltas(world: World) -> None:
    await world.install()
    await world.publish(2)
    report = await world.update_as_planned(2)
    assert report.plan.deltas >= 2
    assert report.plan.delta_made_bytes > 3_000_000
    assert report.plan.download_bytes < 300_000


async def test_smallest_deltas_are_applied_as_well_as_quick_ones(world: World) -> None:
    world.publisher.settings = BEST
    await world.install()
    await world.publish(2)
    methods = set(world.publisher.index(world.ref).methods.tolist())
    assert methods - {Method.ZSTD}
    await world.update_as_planned(2)


@pytest.mark.parametrize("steps", [2, 3])
async def test_console_a_few_releases_behind_goes_the_way_in_steps(
    world: World, steps: int
) -> None:
    await world.install()
    await world.publish(*range(2, steps + 2))
    report = await world.update_as_planned(steps + 1)
    assert report.plan.deltas >= 2 * steps
    assert report.plan.write_bytes > steps * 3_000_000, "stepping stones are written too"
    assert report.plan.download_bytes < 300_000 * steps


async def test_console_too_far_behind_fetches_plain_chunks(world: World) -> None:
    await world.install()
    await world.publish(2, 3, 4, 5)
    report = await world.update_as_planned(5)
    assert report.plan.deltas == 0
    assert report.plan.download_bytes > 2_600_000


async def test_set_from_the_own_release_is_preferred_to_a_chain(world: World) -> None:
    await world.install()
    await world.publish(2, 3)
    await world.publisher.add_deltas(1, 3)
    own = next(ref for ref in world.publisher.head.deltas if ref.base == 1 and ref.target == 3)
    report = await world.update_as_planned(3)
    own_bundles = {bundle.bundle_id.hex() for bundle in world.publisher.index(own).bundles}
    asked = {asked.path.rpartition("/")[2] for asked in world.publisher.delta_requests()}
    assert asked and asked <= own_bundles
    assert report.plan.write_bytes < 4_000_000, "no stepping stones"


async def test_rollback_goes_by_deltas_like_any_update(world: World) -> None:
    await world.install()
    await world.publish(2)
    await world.update(2)
    await world.publisher.publish(world.tree(1))
    await world.publisher.add_deltas(2, 3)
    report = await world.update_as_planned(1)
    assert report.plan.deltas >= 2


async def test_after_a_rollback_sets_of_the_older_build_are_of_use(world: World) -> None:
    await world.install()
    await world.publish(2)
    await world.publisher.publish(world.tree(1))
    await world.update(1)
    await world.publisher.publish(world.tree(2))
    assert [(ref.base, ref.target) for ref in world.publisher.head.deltas] == [(1, 4)]
    report = await world.update_as_planned(2)
    assert report.plan.deltas >= 2


@pytest.mark.parametrize("answers", [1, 2])
async def test_abandoned_update_does_not_hinder_the_next(world: World, answers: int) -> None:
    await world.install()
    await world.publish(2)
    edge = world.publisher.edge
    edge.fault = after(answers, status(503))
    with pytest.raises(Unavailable):
        await world.console.update(world.game)
    assert await differences(world.tree(1), world.game) == []
    edge.fault = None
    await world.publish(3)
    report = await world.update_as_planned(3)
    assert report.plan.deltas > 0


async def test_steps_that_an_interrupted_update_made_are_not_made_again(world: World) -> None:
    await world.install()
    await world.publish(2, 3)
    first = {bundle.bundle_id.hex() for bundle in world.publisher.index(world.ref).bundles}
    steps_fail = world.only_deltas(status(503))

    async def last_steps_fail(
        request: web.Request, asked: Asked, body: bytes
    ) -> web.StreamResponse | None:
        is_bundle_of_stones = asked.path.rpartition("/")[2] not in first
        return None if is_bundle_of_stones else await steps_fail(request, asked, body)

    def plain_fails(fault: Fault) -> Fault:
        async def answer(
            request: web.Request, asked: Asked, body: bytes
        ) -> web.StreamResponse | None:
            is_plain = asked.is_bundle and asked.path not in world.publisher.delta_bundles()
            return web.Response(status=503) if is_plain else await fault(request, asked, body)

        return answer

    world.publisher.edge.fault = plain_fails(last_steps_fail)
    with pytest.raises(Unavailable):
        await world.console.update(world.game)
    world.publisher.edge.fault = None
    report = await world.update_as_planned(3)
    asked = {asked.path.rpartition("/")[2] for asked in world.publisher.delta_requests()}
    assert asked <= first, "stones lie in staging"
    assert report.was_resumed
    assert report.plan.deltas > 0


async def test_bit_flipped_in_a_delta_costs_its_plain_chunks(world: World) -> None:
    await world.install()
    await world.publish(2)
    [path] = world.publisher.delta_bundles()
    spoiled = bytearray(world.publisher.edge.objects[path])
    spoiled[world.publisher.index(world.ref).delta(0).size // 2] ^= 1
    world.publisher.put(path, bytes(spoiled))
    report = await world.update(2)
    assert report.failed_deltas == 1
    assert 0 < report.delta_made_bytes < report.plan.delta_made_bytes
    assert report.failed_requests == 0, "no other edge is asked for a delta"


async def test_delta_that_is_cut_to_pieces_on_the_way_costs_plain_chunks(world: World) -> None:
    await world.install()
    await world.publish(2)
    world.publisher.edge.fault = world.only_deltas(flipped)
    report = await world.update(2)
    assert report.failed_deltas >= 1


async def test_delta_that_makes_other_bytes_costs_plain_chunks(world: World) -> None:
    await world.install()
    await world.publish(2)
    index = world.publisher.index(world.ref)
    size_of = dict(zip(index.all_ids, index.sizes.tolist(), strict=True))

    def forgery(delta: StoredDelta, _: bytes) -> bytes:
        """Return what can be applied without any base, and makes so many bytes, but others."""
        wrong = b"\x55" * sum(size_of[each] for each in delta.targets)
        return bytes(zstd.compress(wrong))

    assert set(index.methods.tolist()) == {Method.ZSTD}
    world.publisher.name_deltas(world.publisher.forge(world.ref, forgery))
    report = await world.update(2)
    assert report.failed_deltas == report.plan.deltas > 0
    assert report.delta_made_bytes == 0


async def test_delta_that_is_nonsense_costs_plain_chunks(world: World) -> None:
    await world.install()
    await world.publish(2, 3)
    for ref in world.publisher.head.deltas:
        assert ref.target - ref.base == 1
    forged = [
        world.publisher.forge(ref, lambda _, payload: payload[::-1])
        for ref in world.publisher.head.deltas
    ]
    world.publisher.name_deltas(*forged)
    report = await world.update(3)
    assert report.failed_deltas == report.plan.deltas > 0


async def test_wrong_step_on_the_way_costs_what_stands_on_it(world: World) -> None:
    await world.install()
    await world.publish(2, 3)
    last, first = world.publisher.head.deltas
    wrong = world.publisher.forge(first, lambda _, payload: payload[::-1])
    world.publisher.name_deltas(last, wrong)
    report = await world.update(3)
    assert report.failed_deltas == report.plan.deltas > 0


async def test_missing_bundle_of_deltas_costs_plain_chunks(world: World) -> None:
    await world.install()
    await world.publish(2)
    for path in world.publisher.delta_bundles():
        world.publisher.drop(path)
    report = await world.update(2)
    assert report.failed_deltas == report.plan.deltas > 0


async def test_missing_index_means_no_deltas(world: World) -> None:
    await world.install()
    await world.publish(2)
    world.publisher.name_deltas(without_manifest(world.ref))
    world.publisher.drop(index_key(world.ref.index))
    report = await world.update(2)
    assert report.plan.deltas == 0


async def test_missing_index_on_the_way_does_not_spoil_those_before(world: World) -> None:
    await world.install()
    await world.publish(2, 3)
    _, first = world.publisher.head.deltas
    world.publisher.drop(index_key(first.index))
    report = await world.update(3)
    assert report.plan.deltas == 0, "nothing that the last step needs is here"


async def test_damaged_index_means_no_deltas(world: World) -> None:
    await world.install()
    await world.publish(2)
    world.publisher.name_deltas(without_manifest(world.ref))
    path = index_key(world.ref.index)
    world.publisher.put(path, world.publisher.edge.objects[path][:-1] + b"?")
    report = await world.update(2)
    assert report.plan.deltas == 0


async def test_index_that_breaks_the_format_means_no_deltas(world: World) -> None:
    await world.install()
    await world.publish(2)
    content = bytearray(world.publisher.edge.objects[index_key(world.ref.index)])
    content[4] = 9  # the version
    ref = without_manifest(world.ref)
    world.publisher.name_deltas(world.publisher.put_index(ref, bytes(content)))
    report = await world.update(2)
    assert report.plan.deltas == 0


async def test_next_release_is_told_by_the_manifest_that_is_here(world: World) -> None:
    await world.install()
    await world.publish(2)
    report = await world.console.update(world.game)
    asked = [asked.path for asked in world.publisher.edge.asked if not asked.is_bundle]
    assert asked == [locations.head_key(TITLE, LIVE), manifest_key_of(world.ref)]
    assert report.plan.deltas > 0


async def test_only_a_console_at_the_base_itself_takes_a_manifest_delta(world: World) -> None:
    await world.install()
    await world.publish(2, 3)
    await world.update_as_planned(3)
    refs = world.publisher.head.deltas
    assert [(ref.base, ref.manifest is not None) for ref in refs] == [(2, True), (1, False)]
    asked = {asked.path for asked in world.publisher.edge.asked}
    assert manifest_key_of(refs[0]) not in asked


@pytest.mark.parametrize("fault", ["gone", "damaged", "of another base", "nonsense", "bomb"])
async def test_manifest_that_cannot_be_rebuilt_is_fetched(world: World, fault: str) -> None:
    await world.install()
    await world.publish(2)
    ref, edge = world.ref, world.publisher.edge
    path = manifest_key_of(ref)
    content = edge.objects[path]
    if fault == "gone":
        world.publisher.drop(path)
    elif fault == "damaged":
        world.publisher.put(path, content[:-1] + b"?")
    else:
        if fault == "of another base":
            other = [content, *(edge.objects[index_key(ref.index)] for _ in range(2))]
            content = encode_manifest_delta(other, [bytes(100), bytes(200)]) or b""
        elif fault == "nonsense":
            content = b"nonsense"
        else:
            content = content[:16] + b"\xff" * 4 + content[20:]
        named = ObjectRef(digest=digest_of(content).hex(), size=len(content))
        world.publisher.put(index_key(named), content)
        world.publisher.name_deltas(msgspec.structs.replace(ref, manifest=named))
    report = await world.update(2)
    assert report.plan.deltas > 0
    assert index_key(ref.index) in {asked.path for asked in edge.asked}


async def test_manifest_delta_is_not_waited_for_long(world: World) -> None:
    await world.install()
    await world.publish(2)
    path = manifest_key_of(world.ref)

    async def stalls(request: web.Request, asked: Asked, body: bytes) -> web.StreamResponse | None:
        return await stalled(request, asked, body) if asked.path == path else None

    world.publisher.edge.fault = stalls
    async with world.another_console(delta_patience=0.05) as console:
        report = await world.update(2, console)
    assert report.plan.deltas > 0


async def trickling(request: web.Request, asked: Asked, body: bytes) -> web.StreamResponse:
    """Send a byte now and then: often enough to be no stall, far too slow to be of use."""
    assert asked.span is not None
    start, end = asked.span
    headers = {"Content-Range": f"bytes {start}-{end - 1}/{1 << 30}"}
    response = web.StreamResponse(status=206, headers=headers)
    response.content_length = len(body)
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):  # whoever asked has had enough
        for at in range(len(body)):
            await response.write(body[at : at + 1])
            await asyncio.sleep(0.1)
    return response


@pytest.mark.parametrize("fault", [stalled, trickling])
async def test_edge_that_stalls_or_trickles_deltas_is_waited_for_no_longer_than_patience(
    world: World, fault: Fault
) -> None:
    """Each byte resets the clock of a stall; patience is about the delta."""
    await world.install()
    await world.publish(2)
    world.publisher.edge.fault = world.only_deltas(fault)
    started = time.monotonic()
    report = await world.update(2)
    assert report.failed_deltas == report.plan.deltas > 0
    assert time.monotonic() - started < 10


async def test_base_that_was_changed_by_hand_is_noticed(world: World) -> None:
    await world.install()
    await world.publish(2)
    change_unnoticed(world.game / "world.pak", 1_000_000)
    report = await world.update(2)
    assert report.failed_deltas == 1
    assert report.delta_made_bytes > 0, "other deltas do not need what was changed"


def change_unnoticed(path: Path, at: int) -> None:
    """Change a byte and leave size and times as they are: a quick look trusts the file."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("replaced_by", ["nothing", "a link", "a short file"])
async def test_base_that_disappears_midway_costs_plain_chunks(
    world: World, replaced_by: str
) -> None:
    await world.install()
    await world.publish(2)
    base = world.game / "world.pak"

    def disappear(event: Event) -> None:
        if not isinstance(event, Planned):
            return
        base.unlink()
        if replaced_by == "a link":
            base.symlink_to(world.tree(1) / "world.pak")
        elif replaced_by == "a short file":
            base.write_bytes((world.tree(1) / "world.pak").read_bytes()[:100_000])

    report = await world.update(2, observer=disappear)
    assert report.failed_deltas > 0


async def test_base_replaced_by_a_folder_midway_is_named_and_leaves_the_folder(
    world: World,
) -> None:
    await world.install()
    await world.publish(2)
    base = world.game / "world.pak"

    def replace(event: Event) -> None:
        if isinstance(event, Planned):
            base.unlink()
            base.mkdir()

    with pytest.raises(PlayheadError, match=r"world\.pak"):
        await world.console.update(world.game, observer=replace)
    assert base.is_dir()
    base.rmdir()
    await world.update(2)


async def test_without_deltas_no_index_is_fetched(world: World) -> None:
    await world.install()
    await world.publish(2)
    async with world.another_console(use_deltas=False) as console:
        report = await world.update(2, console)
    assert report.plan.deltas == 0
    asked = {asked.path for asked in world.publisher.edge.asked}
    assert index_key(world.ref.index) not in asked
    assert manifest_key_of(world.ref) not in asked
    assert not asked & world.publisher.delta_bundles()


async def test_index_that_costs_more_than_it_may_spare_is_not_fetched(world: World) -> None:
    await world.install()
    await world.publish(2)
    ref = world.ref
    large = msgspec.structs.replace(ref.index, size=2_000_000)
    world.publisher.name_deltas(msgspec.structs.replace(ref, index=large))
    report = await world.update(2)
    assert report.plan.deltas == 0
    assert index_key(ref.index) not in {asked.path for asked in world.publisher.edge.asked}


async def test_nothing_of_deltas_stays_on_the_console(world: World) -> None:
    await world.install()
    await world.publish(2, 3)
    indexes = {ref.index.digest for ref in world.publisher.head.deltas}
    await world.console.plan(TITLE, world.game, channel=LIVE)
    await world.update(3)
    left = {path.name for path in (world.game / ".playhead").rglob("*") if path.is_file()}
    assert not {name for name in left for digest in indexes if digest in name}
    assert not {name for name in left if name.startswith("stone")}


async def test_deltas_are_applied_with_little_memory_one_after_another(world: World) -> None:
    await world.install()
    await world.publish(2)
    async with world.another_console(delta_memory_max=1) as console:
        report = await world.update(2, console)
    assert report.failed_deltas == 0
    assert report.delta_made_bytes > 3_000_000


async def test_repair_mends_what_an_update_by_deltas_installed(world: World) -> None:
    await world.install()
    await world.publish(2)
    await world.update(2)
    change_unnoticed(world.game / "script.txt", 300_000)
    assert not (await world.console.verify(world.game)).is_sound
    await world.console.repair(world.game)
    assert await differences(world.tree(2), world.game) == []


async def test_file_in_staging_that_only_looks_like_a_stone_is_passed_over(world: World) -> None:
    await world.install()
    await world.publish(2)
    world.publisher.edge.fault = after(2, status(503))
    with pytest.raises(Unavailable):
        await world.console.update(world.game)
    world.publisher.edge.fault = None
    [staging] = (world.game / ".playhead" / "staging").iterdir()
    (staging / f"stone.{'x' * 32}").write_bytes(b"")
    assert (await world.update(2)).failed_deltas == 0


async def test_stone_that_was_damaged_in_staging_costs_plain_chunks(world: World) -> None:
    await world.install()
    await world.publish(2, 3)
    stones = world.publisher.index(world.publisher.head.deltas[1])
    last = {world.publisher.index(world.ref).bundles[0].bundle_id.hex()}

    async def all_but_stones(_: web.Request, asked: Asked, __: bytes) -> web.StreamResponse | None:
        bundle = asked.path.rpartition("/")[2]
        is_stone = bundle in {each.bundle_id.hex() for each in stones.bundles} - last
        return web.Response(status=503) if asked.is_bundle and not is_stone else None

    world.publisher.edge.fault = all_but_stones
    with pytest.raises(Unavailable):
        await world.console.update(world.game)
    world.publisher.edge.fault = None
    [staging] = (world.game / ".playhead" / "staging").iterdir()
    found = [path for path in staging.iterdir() if path.name.startswith("stone.")]
    assert found
    for path in found:
        path.write_bytes(b"x" * path.stat().st_size)
    report = await world.update(3)
    assert report.failed_deltas == report.plan.deltas > 0


async def test_delta_that_is_slow_because_the_player_wants_it_is_not_given_up(
    world: World,
) -> None:
    await world.install()
    await world.publish(2)
    async with world.another_console(limit_rate=4_000, delta_patience=0.001) as console:
        report = await world.update(2, console)
    assert report.plan.deltas > 0
    assert report.failed_deltas == 0


@asynccontextmanager
async def console_behind_an_edge(world: World, folder: Path) -> AsyncIterator[Console]:
    """A console of a real origin's real edge, on all that the faulty edge would serve."""
    await world.publisher.store_all()
    async with (
        running_origin(world.publisher.storage) as origin,
        running_edge(folder / "cache", origin.url, head_fresh_for=Seconds(0)) as edge,
        HttpClient(IMPATIENT) as http,
    ):
        settings = impatient_settings(edge.url, delta_patience=0.3)
        yield Console(settings, http, AnyLease(), new_heads=BelievingHeads)


async def test_origin_and_edge_serve_deltas_like_anything_else(
    world: World, tmp_path: Path
) -> None:
    await world.install()
    await world.publish(2)
    async with console_behind_an_edge(world, tmp_path) as console:
        report = await world.update(2, console)
    assert report.plan.deltas >= 2
    assert report.failed_deltas == report.failed_requests == 0


async def test_delta_that_only_its_own_check_can_tell_is_wrong_costs_plain_chunks(
    world: World, tmp_path: Path
) -> None:
    """Bundle and slice list agree, so origin and edge see nothing amiss."""
    await world.install()
    await world.publish(2)

    def flip_a_bit(_: StoredDelta, payload: bytes) -> bytes:
        return payload[:-1] + bytes([payload[-1] ^ 1])

    forged = world.publisher.forge(world.ref, flip_a_bit, keeps_checks=True)
    world.publisher.name_deltas(forged)
    async with console_behind_an_edge(world, tmp_path) as console:
        report = await world.update(2, console)
    assert report.failed_deltas == report.plan.deltas > 0
    assert report.failed_requests == 0


async def test_bundle_of_deltas_damaged_in_storage_costs_plain_chunks(
    world: World, tmp_path: Path
) -> None:
    """The edge notices, and will not send it."""
    await world.install()
    await world.publish(2)
    [path] = world.publisher.delta_bundles()
    spoiled = bytearray(world.publisher.edge.objects[path])
    spoiled[100] ^= 1
    world.publisher.put(path, bytes(spoiled))
    async with console_behind_an_edge(world, tmp_path) as console:
        report = await world.update(2, console)
    assert report.failed_deltas == report.plan.deltas > 0
    assert report.failed_requests > 0
