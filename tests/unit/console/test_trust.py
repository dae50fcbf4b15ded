"""A console installs only what publisher and platform vouch for, and asks for little to know it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from chunks.chunk_id import digest_of
from console.settings import TrustSettings
from kit.errors import Conflict, NotFound, SettingsError, Unavailable, Untrusted
from kit.http_settings import ClientSettings
from kit.units import Seconds
from manifests import locations
from manifests.documents import DeltaRef, Head, ObjectRef, encode, parse_head
from manifests.trust_bundle import HEAD
from manifests.trust_metadata import head_target, root_with, shard_without
from manifests.trust_roles import (
    BOUND_ROLE,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    publisher_role,
    shard_role,
)
from tests.faulty_edge import Asked, FaultyEdge, flipped, serving_faulty, stalled, status
from tests.folder_publisher import LIVE, TITLE
from tests.polling import eventually
from tests.trust_repository import keys_of, offline_signer, online_signer, trusted_root
from tests.vouched_edge import BUNDLE_KEY, HEAD_KEY, STUDIO, VouchedWorld, vouched_world

HOUR_S, DAY_S = 3600, 86_400


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[VouchedWorld]:
    async with vouched_world(tmp_path) as made:
        yield made


async def install(world: VouchedWorld, *edges: FaultyEdge) -> None:
    async with world.console(*edges) as console:
        await console.install(TITLE, world.game, channel=LIVE)


async def update(world: VouchedWorld, *edges: FaultyEdge) -> None:
    async with world.console(*edges) as console:
        await console.update(world.game)


def without(documents: dict[str, bytes], name: str) -> None:
    del documents[name]


def trust_folder(world: VouchedWorld) -> Path:
    return world.game / ".playhead" / "trust"


async def test_first_install_fetches_the_bundle_in_place_of_the_head(world: VouchedWorld) -> None:
    await install(world)
    asked = world.asked()
    assert asked[0] == BUNDLE_KEY
    assert HEAD_KEY not in asked
    assert not any(path.startswith("trust/") for path in asked)
    assert world.text == "one"


async def test_nothing_new_costs_the_head_alone(world: VouchedWorld) -> None:
    await install(world)
    world.asked()
    await update(world)
    assert world.asked() == [HEAD_KEY]


async def test_a_new_release_costs_one_request_more(world: VouchedWorld) -> None:
    await install(world)
    world.build("two")
    world.asked()
    await update(world)
    assert world.asked()[:2] == [HEAD_KEY, BUNDLE_KEY]
    assert world.text == "two"


async def test_what_vouches_may_come_a_moment_after_the_head(world: VouchedWorld) -> None:
    await install(world)
    late = world.objects[BUNDLE_KEY]
    world.build("two")
    now, world.objects[BUNDLE_KEY] = world.objects[BUNDLE_KEY], late

    async def refresh(request: web.Request, asked: Asked, body: bytes) -> None:
        if asked.path == BUNDLE_KEY:
            world.objects[BUNDLE_KEY] = now  # as a cache does after it has sent what it had

    world.edge.fault = refresh
    await update(world)
    assert world.text == "two"


async def test_a_newer_head_that_nobody_vouches_for_is_not_waited_for_long(
    world: VouchedWorld,
) -> None:
    await install(world)
    late = world.objects[BUNDLE_KEY]
    world.build("two")
    world.objects[BUNDLE_KEY] = late
    await update(world)
    assert world.text == "one"


async def test_an_expired_memory_is_renewed_by_the_bundle_alone(world: VouchedWorld) -> None:
    await install(world)
    world.clock.advance(3 * DAY_S)
    world.repository.now_s = world.clock.now()
    world.repository.renew()
    world.put()
    world.asked()
    await update(world)
    assert world.asked() == [BUNDLE_KEY]


async def test_a_mirror_without_bundles_is_asked_for_each_document(world: VouchedWorld) -> None:
    """The root after the newest is asked for in vain; an edge is no worse for lacking it."""
    del world.objects[BUNDLE_KEY]
    async with world.console() as console:
        report = await console.install(TITLE, world.game, channel=LIVE)
    asked = world.asked()
    assert {"trust/2.root.json", "trust/timestamp.json"} <= set(asked)
    assert report.failed_requests == 0
    assert world.text == "one"


async def test_what_a_bundle_lacks_is_asked_for_singly(world: VouchedWorld) -> None:
    name = f"1.{publisher_role(STUDIO)}.json"
    world.put_bundle(lambda documents: without(documents, name))
    await install(world)
    assert [path for path in world.asked() if path.startswith("trust/")] == [f"trust/{name}"]


async def test_a_head_that_lags_costs_its_deltas_only(world: VouchedWorld) -> None:
    old_head = world.objects[HEAD_KEY]
    world.build("two")
    world.put_bundle(lambda documents: documents.update({HEAD: old_head}))
    await install(world)
    assert locations.release_key(TITLE, 2) in world.asked()
    assert world.text == "two"


async def test_a_forged_head_is_replaced_by_the_release_that_is_signed(
    world: VouchedWorld,
) -> None:
    """The edge's head names other bytes under the signed counter, and a delta to lure with."""
    head = parse_head(world.objects[HEAD_KEY], TITLE, LIVE)
    other = ObjectRef(digest=digest_of(b"other").hex(), size=5)
    forged = Head(
        title=TITLE,
        channel=LIVE,
        release=msgspec.structs.replace(head.release, root=other),
        deltas=(DeltaRef(base=1, target=1, index=other),),
    )
    world.put_bundle(lambda documents: documents.update({HEAD: encode(forged)}))
    await install(world)
    assert world.text == "one"


async def test_a_forged_release_document_is_refused(world: VouchedWorld) -> None:
    old_head = world.objects[HEAD_KEY]
    release = world.build("two")
    world.put_bundle(lambda documents: documents.update({HEAD: old_head}))
    forged = msgspec.structs.replace(release, root=parse_head(old_head, TITLE, LIVE).release.root)
    world.objects[locations.release_key(TITLE, 2)] = encode(forged)
    with pytest.raises(Untrusted, match=r"release 2 of a-title is not what head/a-title/live"):
        await install(world)


async def test_without_the_publishers_word_nothing_is_installed(world: VouchedWorld) -> None:
    """The release key alone, stolen, points the channel to a build that nobody made."""
    source = world.folder / "evil"
    source.mkdir()
    (source / "game.txt").write_text("evil")
    world.repository.point(STUDIO, world.publisher.publish(source))
    world.put()
    with pytest.raises(Untrusted, match=r"build/.*/studio/a-title/0000000002: publisher-studio"):
        await install(world)
    assert not (world.game / "game.txt").exists()


async def test_without_the_platforms_word_nothing_new_is_installed(world: VouchedWorld) -> None:
    """A publisher's key alone, stolen, signs a build; the channel stays where it was."""
    source = world.folder / "evil"
    source.mkdir()
    (source / "game.txt").write_text("evil")
    world.repository.vouch(STUDIO, world.publisher.publish(source))
    world.put()
    await install(world)
    assert world.text == "one"


async def test_witnesses_that_speak_of_different_bytes_are_refused(world: VouchedWorld) -> None:
    first = parse_head(world.objects[HEAD_KEY], TITLE, LIVE).release
    other = msgspec.structs.replace(first, root=ObjectRef(digest=digest_of(b"other").hex(), size=5))
    world.repository.point(STUDIO, other)
    world.put()
    with pytest.raises(Untrusted, match=r"both must vouch for the same release"):
        await install(world)


async def test_another_publisher_cannot_speak_for_the_title(world: VouchedWorld) -> None:
    """A stolen release key names a publisher who is in league with the thief."""
    world.repository.enrol("thief", "thiefs-own")
    release = parse_head(world.objects[HEAD_KEY], TITLE, LIVE).release
    stolen = msgspec.structs.replace(release, counter=2)
    world.repository.publish("thief", stolen)
    world.objects.update({f"trust/{name}": data for name, data in world.repository.files.items()})
    del world.objects[BUNDLE_KEY]
    with pytest.raises(Untrusted, match=r"build/.*/thief/a-title/0000000002: publisher-thief"):
        await install(world)


async def test_a_publisher_that_was_removed_is_not_believed_any_more(world: VouchedWorld) -> None:
    role = shard_role(STUDIO)
    before = world.repository.targets(role)
    assert before is not None
    shard = shard_without(before, STUDIO, world.now_s)
    world.repository.put(role, shard, world.repository.holders)
    world.repository.commit([role])
    world.put()
    with pytest.raises(Untrusted, match="publisher-studio does not vouch for it"):
        await install(world)


async def test_a_bin_in_the_place_of_another_is_refused_and_nothing_stays_broken(
    world: VouchedWorld,
) -> None:
    """Two bins of equal keys and version, swapped: only the name under signature tells."""
    other = next(
        f"other-{index}"
        for index in range(1000)
        if world.repository.bin_of(f"head/other-{index}/live") != world.bin
    )
    release = msgspec.structs.replace(
        parse_head(world.objects[HEAD_KEY], TITLE, LIVE).release, title=other
    )
    world.repository.enrol("elsewhere", other)
    swapped = world.repository.publish("elsewhere", release)
    world.put()
    assert world.repository.signed[swapped].version == world.repository.signed[world.bin].version
    name = f"1.{world.bin}.json"
    document = world.repository.files[f"1.{swapped}.json"]
    world.put_bundle(lambda documents: documents.update({name: document}))
    with pytest.raises(Untrusted, match=rf"{name}: must be what {world.bin} signed, .*{swapped}"):
        await install(world)
    world.put()
    await install(world)
    assert world.text == "one"


async def test_a_swapped_bin_in_the_folder_is_not_shown_to_the_library(
    world: VouchedWorld,
) -> None:
    await install(world)
    bin_file = trust_folder(world) / f"{world.bin}.json"
    document = msgspec.json.decode(bin_file.read_bytes())
    document["signed"][BOUND_ROLE] = "release-bin-f"
    bin_file.write_bytes(msgspec.json.encode(document))
    world.asked()
    await update(world)
    assert world.asked() == [BUNDLE_KEY]
    assert world.bin.encode() in bin_file.read_bytes()


async def test_an_older_state_of_the_repository_is_refused(world: VouchedWorld) -> None:
    old = dict(world.objects)
    world.build("two")
    await install(world)
    world.objects.clear()
    world.objects.update(old)
    (trust_folder(world).parent / "trust" / f"{world.bin}.json").unlink()
    with pytest.raises(Untrusted, match=r"timestamp.json: New timestamp version .* must be >= "):
        await update(world)
    assert world.text == "two"


async def test_a_release_below_one_that_was_seen_is_refused_though_both_vouch(
    world: VouchedWorld,
) -> None:
    first = parse_head(world.objects[HEAD_KEY], TITLE, LIVE).release
    world.build("two")
    await install(world)
    world.repository.point_to(head_target(STUDIO, first, LIVE))
    world.put()
    (trust_folder(world) / "timestamp.json").unlink()
    with pytest.raises(Conflict, match="offers release 1, but release 2 was seen before"):
        await update(world)


async def test_an_edge_that_lags_behind_what_is_known_takes_nobody_back(
    world: VouchedWorld,
) -> None:
    old_head = world.objects[HEAD_KEY]
    world.build("two")
    await install(world)
    world.objects[HEAD_KEY] = old_head
    await update(world)
    assert world.text == "two"


async def test_an_edge_that_lies_is_left_for_one_that_does_not(world: VouchedWorld) -> None:
    liar = FaultyEdge(dict(world.objects))
    forged = msgspec.json.decode(world.repository.files[f"{TIMESTAMP}.json"])
    forged["signed"]["version"] = 999
    documents = {**world.bundle(), f"{TIMESTAMP}.json": msgspec.json.encode(forged)}
    world.put_bundle(lambda made: made.update(documents))
    assert isinstance(liar.objects, dict)
    liar.objects[BUNDLE_KEY] = world.objects[BUNDLE_KEY]
    world.put()
    async with serving_faulty(liar):
        await install(world, liar, world.edge)
    assert world.text == "one"


async def test_every_edge_that_lies_is_refused_in_words(world: VouchedWorld) -> None:
    forged = msgspec.json.decode(world.repository.files[f"{TIMESTAMP}.json"])
    forged["signed"]["version"] = 999
    world.put_bundle(lambda made: made.update({f"{TIMESTAMP}.json": msgspec.json.encode(forged)}))
    with pytest.raises(Untrusted, match=r"timestamp.json: timestamp was signed by 0/1 keys"):
        await install(world)


async def test_withheld_metadata_is_named(world: VouchedWorld) -> None:
    name = f"{world.repository.signed[SNAPSHOT].version}.snapshot.json"
    world.put_bundle(lambda documents: without(documents, name))
    del world.objects[f"trust/{name}"]
    with pytest.raises(Untrusted, match=f"{name}: no edge has it"):
        await install(world)


async def test_metadata_without_end_is_not_taken_in(world: VouchedWorld) -> None:
    name = f"{world.repository.signed[SNAPSHOT].version}.snapshot.json"
    world.put_bundle(lambda documents: without(documents, name))
    world.objects[f"trust/{name}"] = b" " * 3_000_000
    with pytest.raises(Unavailable, match=f"gave up on trust/{name}"):
        await install(world)


async def test_edge_that_stalls_amid_the_metadata_does_not_hold_the_console(
    world: VouchedWorld,
) -> None:
    del world.objects[BUNDLE_KEY]

    async def fault(request, asked, body):  # type: ignore[no-untyped-def]
        return await stalled(request, asked, body) if "snapshot" in asked.path else None

    world.edge.fault = fault
    with pytest.raises(Unavailable, match="snapshot"):
        await install(world)


@pytest.mark.parametrize("fault", [flipped, status(500)])
async def test_damaged_or_failing_bundle_is_asked_for_again(world: VouchedWorld, fault) -> None:  # type: ignore[no-untyped-def]
    seen = 0

    async def once(request, asked, body):  # type: ignore[no-untyped-def]
        nonlocal seen
        seen += asked.path == BUNDLE_KEY
        return await fault(request, asked, body) if seen == 1 else None

    world.edge.fault = once
    await install(world)
    assert world.text == "one"


async def test_clock_ahead_is_told_that_it_may_be_wrong_and_harms_nothing(
    world: VouchedWorld,
) -> None:
    await install(world)
    world.build("two")
    world.clock.advance(30 * DAY_S)
    with pytest.raises(
        Untrusted, match=r"timestamp.json expired on .*clock says .*check the clock"
    ):
        await update(world)
    world.clock.advance(-30 * DAY_S)
    await update(world)
    assert world.text == "two"


async def test_clock_a_little_ahead_does_not_lock_the_console_out_once_it_is_right(
    world: VouchedWorld,
) -> None:
    world.clock.advance(40 * HOUR_S)
    await install(world)
    world.clock.advance(-40 * HOUR_S)
    world.build("two")
    await update(world)
    assert world.text == "two"


async def test_clock_set_back_is_refused_naming_both_times(world: VouchedWorld) -> None:
    await install(world)
    world.clock.advance(-10 * DAY_S)
    with pytest.raises(Untrusted, match=r"clock says .* UTC, but something signed at .* UTC"):
        await update(world)
    assert world.text == "one"


async def test_frozen_repository_is_refused_once_it_has_expired(world: VouchedWorld) -> None:
    await install(world)
    world.clock.advance(3 * DAY_S)
    with pytest.raises(Untrusted, match=r"timestamp.json expired"):
        await update(world)


async def test_keys_are_replaced_root_by_root(world: VouchedWorld) -> None:
    await install(world)
    for _ in range(3):
        world.repository.online[TIMESTAMP] = online_signer()
        keys = {TIMESTAMP: keys_of(world.repository.online[TIMESTAMP])}
        root = root_with(trusted_root(world.repository), keys, world.now_s)
        world.repository.put(ROOT, root, world.repository.root_signers)
        world.repository.renew()
    world.build("two")
    world.asked()
    await update(world)
    asked = [path for path in world.asked() if path.startswith("trust/")]
    assert asked == ["trust/2.root.json", "trust/3.root.json"], "the newest is in the bundle"
    world.build("three")
    await update(world)
    assert not [path for path in world.asked() if path.startswith("trust/")]


async def test_root_of_strangers_is_refused(world: VouchedWorld) -> None:
    stranger = offline_signer()
    root = root_with(trusted_root(world.repository), {ROOT: keys_of(stranger)}, world.now_s)
    world.repository.put(ROOT, root, [stranger])
    world.put()
    with pytest.raises(Untrusted, match=r"2.root.json: root was signed by 0/1 keys"):
        await install(world)


async def test_console_without_a_trusted_root_says_how_to_get_one(world: VouchedWorld) -> None:
    world.root.unlink()
    with pytest.raises(SettingsError, match=r"no trusted root at .*copy keys/root.json"):
        await install(world)
    assert not (world.game / ".playhead").exists()


async def test_title_that_nobody_publishes_is_not_found(world: VouchedWorld) -> None:
    del world.objects[BUNDLE_KEY]
    del world.objects[HEAD_KEY]
    with pytest.raises(NotFound, match="h/live"):
        await install(world)


async def test_title_that_nobody_vouches_for_is_refused(world: VouchedWorld) -> None:
    for key in [key for key in world.objects if key.startswith("trust/")]:
        del world.objects[key]
    del world.objects[BUNDLE_KEY]
    with pytest.raises(Untrusted, match=r"timestamp.json: no edge has it"):
        await install(world)


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 100_000, b"\xff" * 50], ids=len)
@pytest.mark.parametrize(
    "name",
    ["timestamp.json", "snapshot.json", "release.json", "verified", "root_history/1.root.json"],
)
async def test_damaged_memory_is_fetched_again(
    world: VouchedWorld, name: str, content: bytes
) -> None:
    await install(world)
    (trust_folder(world) / name).write_bytes(content)
    world.build("two")
    await update(world)
    assert world.text == "two"


async def test_a_root_planted_in_the_folder_is_not_believed(world: VouchedWorld) -> None:
    """The trusted root is the one the console was given, whatever the folder says."""
    await install(world)
    thief = offline_signer()
    roles = {role: keys_of(thief) for role in (ROOT, TARGETS, SNAPSHOT, TIMESTAMP)}
    planted = root_with(None, roles, world.now_s)
    document = world.repository.put(ROOT, planted, [thief])
    world.repository.files["1.root.json"] = world.root.read_bytes()
    for name in ("root.json", "root_history/1.root.json", "root_history/2.root.json"):
        (trust_folder(world) / name).write_bytes(document)
    world.asked()
    await update(world)
    assert world.asked() == [HEAD_KEY]
    assert world.root.read_bytes() != document


async def test_a_link_in_the_place_of_the_memory_is_not_followed(world: VouchedWorld) -> None:
    await install(world)
    elsewhere = world.folder / "elsewhere"
    trust_folder(world).rename(elsewhere)
    trust_folder(world).symlink_to(elsewhere)
    before = {path: path.read_bytes() for path in elsewhere.rglob("*.json")}
    world.build("two")
    with pytest.raises(Conflict, match="links are not followed"):
        await update(world)
    assert {path: path.read_bytes() for path in elsewhere.rglob("*.json")} == before


async def test_planning_verifies_as_installing_does(world: VouchedWorld) -> None:
    forged = msgspec.json.decode(world.repository.files[f"{TIMESTAMP}.json"])
    forged["signed"]["version"] = 999
    world.put_bundle(lambda made: made.update({f"{TIMESTAMP}.json": msgspec.json.encode(forged)}))
    async with world.console() as console:
        with pytest.raises(Untrusted):
            await console.plan(TITLE, world.game, channel=LIVE)


def kept(world: VouchedWorld) -> dict[str, bytes]:
    folder = trust_folder(world)
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


async def test_console_killed_between_any_two_writes_goes_on(world: VouchedWorld) -> None:
    """Its memory is then a mixture of old and new; whichever it is, nothing is refused."""
    await install(world)
    old = kept(world)
    root = root_with(trusted_root(world.repository), {}, world.now_s)
    world.repository.put(ROOT, root, world.repository.root_signers)
    world.build("two")
    await update(world)
    new = kept(world)
    changed = [name for name in new if new[name] != old.get(name)]
    assert len(changed) > 4
    world.build("three")
    for count in range(len(changed) + 1):
        mixture = {**old, **{name: new[name] for name in changed[:count]}}
        for name in kept(world):
            (trust_folder(world) / name).unlink()
        for name, content in mixture.items():
            (trust_folder(world) / name).write_bytes(content)
        async with world.console() as console:
            plan = await console.plan(TITLE, world.game, channel=LIVE)
        assert plan.files_changed == 1, f"after {count} of {changed}"


async def test_what_vouches_takes_no_longer_than_the_setting_says(world: VouchedWorld) -> None:
    async def never(request, asked, body):  # type: ignore[no-untyped-def]
        return await stalled(request, asked, body) if asked.path == BUNDLE_KEY else None

    world.edge.fault = never
    trust = TrustSettings(root=world.root, within=Seconds(0.2))
    async with world.console(trust=trust, give_up_after=Seconds(60)) as console:
        with pytest.raises(Unavailable, match=r"a-title/live: .* did not come within 0.2 s"):
            await console.install(TITLE, world.game, channel=LIVE)


async def test_console_stopped_amid_verifying_leaves_the_folder_free(world: VouchedWorld) -> None:
    """The thread that waits for a document waits no more."""
    name = f"{world.repository.signed[SNAPSHOT].version}.snapshot.json"
    world.put_bundle(lambda documents: without(documents, name))

    async def fault(request, asked, body):  # type: ignore[no-untyped-def]
        return await stalled(request, asked, body) if "snapshot" in asked.path else None

    world.edge.fault = fault
    patient = ClientSettings(stall_after=Seconds(600))
    async with world.console(http=patient) as console:
        work = asyncio.create_task(console.install(TITLE, world.game, channel=LIVE))

        async def is_asked() -> bool:
            return any(asked.path == f"trust/{name}" for asked in world.edge.asked)

        await eventually(is_asked)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
    world.edge.fault = None
    await install(world)
    assert world.text == "one"
