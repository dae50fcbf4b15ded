"""Somebody has some of the keys: all of the platform's online ones, or a publisher's; not both."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from securesystemslib.signer import Signer
from tuf.api.metadata import Targets

from kit.errors import Conflict, PlayheadError
from manifests.documents import ObjectRef, Release, encode
from manifests.names import TitleId, Version
from manifests.trust_document import parse, sign
from manifests.trust_metadata import RoleKeys, build_target, head_target, vouched
from manifests.trust_roles import PublisherId, publisher_role
from origin.registry import Registry
from playhead.keys.folder import LOCAL
from playhead.publishing import Desk
from playhead.trust import LocalVoucher, key_folder
from tests.attacks.hostile_trust import (
    Change,
    Thief,
    documents_of,
    named,
    put_release,
    serving,
    with_head,
)
from tests.attacks.stage import (
    LIVE,
    NEW,
    OLD,
    Stage,
    assert_refused,
    content_of,
    running_stage,
)
from tests.publishing import store_build
from tests.trust_repository import offline_signer

pytestmark = [pytest.mark.slow, pytest.mark.may_block]

UNTRUSTED = 10
EVIL = {"game.bin": b"what no publisher made" * 99, "readme.txt": b"evil"}


@pytest.fixture
def game(stage: Stage, title: TitleId, tmp_path: Path) -> Path:
    return stage.installed(title, tmp_path / "game")


@pytest.fixture
def evil(stage: Stage, title: TitleId, game: Path) -> Release:
    """A build that is stored and that nobody vouches for: storage is not what is trusted."""
    return evil_release(stage, title, 2)


def evil_release(stage: Stage, title: TitleId, counter: int, *, is_stored: bool = True) -> Release:
    async def store(desk: Desk) -> ObjectRef:
        return await store_build(desk.store, EVIL)

    release = Release(
        title=title,
        counter=counter,
        version=Version("6.6"),
        created_at="2026-05-04T10:00:00Z",
        root=stage.at_desk(title, store),
    )
    if is_stored:
        put_release(stage, release)
    return release


def assert_withstood(
    stage: Stage, title: TitleId, game: Path, change: Change, *words: str, code: int = UNTRUSTED
) -> None:
    with stage.front.attacking(serving(change)):
        done = stage.console("update", game)
    assert_refused(done, *words, exit_code=code)
    assert content_of(game) == OLD
    assert stage.type("verify", game).exit_code == 0
    fresh = game.with_name("fresh")
    stage.console("install", title, fresh).last_json()
    assert content_of(fresh) == OLD


def test_the_platforms_keys_alone_do_not_make_a_build(
    stage: Stage, title: TitleId, game: Path, evil: Release
) -> None:
    change = Thief(stage, title).point_to(head_target(LOCAL, evil, LIVE))
    change = with_head(change, stage, title, evil)
    words = ("build/", f"/local/{title}/0000000002", "publisher-local does not vouch")
    assert_withstood(stage, title, game, change, *words)


def test_the_platforms_keys_and_a_publisher_in_league_do_not_take_anothers_title(
    stage: Stage, title: TitleId, game: Path, evil: Release
) -> None:
    """The publisher is enrolled, for a title of its own; it signs a path of the other's title."""
    thief, signer = enrolled(stage, "thief-of-" + title, stage.new_title())
    role = publisher_role(thief)
    document = sign(vouched(None, thief, [evil], stage.clock.now()), [signer])
    change = Thief(stage, title).point_to(head_target(thief, evil, LIVE), (role, document))
    change = with_head(change, stage, title, evil)
    words = ("build/", f"/{thief}/{title}/0000000002", f"{role} does not vouch")
    assert_withstood(stage, title, game, change, *words)


def test_the_platforms_keys_do_not_bring_a_genuine_older_build_back(
    stage: Stage, title: TitleId, game: Path
) -> None:
    """Everything is signed, also by the publisher; but it is the mended build that was seen."""
    old = release_of(stage, title, 1)
    stage.publish(title, NEW)
    stage.console("update", game).last_json()
    change = Thief(stage, title).point_to(head_target(LOCAL, old, LIVE))
    forget_bin(game)
    with stage.front.attacking(serving(with_head(change, stage, title, old))):
        done = stage.console("update", game)
    assert_refused(done, "release 1", "release 2 was seen before", "never goes back", exit_code=4)
    assert content_of(game) == NEW
    # What the thief signed is seen now, so an honest timestamp of a lower version is not believed
    # here until the platform has signed more often, which it does with every publication.
    for _ in range(2):
        stage.publish(title, OLD)
    stage.console("update", game).last_json()
    assert content_of(game) == OLD


def test_a_thief_who_counts_far_ahead_is_shaken_off_by_new_keys(tmp_path: Path) -> None:
    """Fast-forward: versions so high that no honest one would be believed for years."""
    with running_stage(tmp_path / "platform") as stage:
        title, game = stage.new_title(), tmp_path / "game"
        stage.installed(title, game)
        thief = Thief(stage, title, ahead=10**9)
        change = thief.point_to(head_target(LOCAL, release_of(stage, title, 1), LIVE))
        forget_bin(game)
        with stage.front.attacking(serving(change)):
            stage.console("update", game).last_json()
        stage.publish(title, NEW)
        forget_bin(game)
        done = stage.console("update", game)
        assert_refused(done, "timestamp.json", "version", exit_code=UNTRUSTED)
        assert content_of(game) == OLD
        for role in ("timestamp", "snapshot", "release"):
            rotated = stage.type("keys", "rotate", role, "--yes")
            assert rotated.exit_code == 0, rotated.errors
        stage.console("update", game).last_json()
        assert content_of(game) == NEW


def test_a_publishers_key_alone_moves_no_channel(
    stage: Stage, title: TitleId, game: Path, evil: Release
) -> None:
    """What the publisher's key signed is served; but no bin, snapshot or timestamp names it."""
    now = documents_of(stage, title)
    name = named(now, "publisher-")
    said = parse(now[name], Targets, "publisher-local").signed
    forged = sign(vouched(said, LOCAL, [evil], stage.clock.now()), [publisher_signer(stage)])

    def change(asked: str, body: bytes) -> bytes | None:
        return forged if asked == name else body

    fresh = game.with_name("fresh")
    with stage.front.attacking(serving(with_head(change, stage, title, evil))):
        done = stage.console("install", title, fresh)
    assert_refused(done, name, exit_code=UNTRUSTED)
    assert not fresh.exists() or content_of(fresh) == {}
    stage.console("install", title, fresh).last_json()
    assert content_of(fresh) == OLD


def test_a_publishers_key_alone_does_not_change_what_a_counter_means(
    stage: Stage, title: TitleId, game: Path
) -> None:
    """Under a version that is in force the thief signs another release 1: the platform named it."""
    evil = evil_release(stage, title, 1, is_stored=False)
    now = documents_of(stage, title)
    name = named(now, "publisher-")
    said = parse(now[name], Targets, "publisher-local").signed
    target = build_target(LOCAL, evil)
    said.targets[target.path] = target
    forged = sign(said, [publisher_signer(stage)])
    fresh = game.with_name("fresh")

    def change(asked: str, body: bytes) -> bytes | None:
        return forged if asked == name else body

    with stage.front.attacking(serving(with_head(change, stage, title, evil))):
        done = stage.console("install", title, fresh)
    words = (f"head/{title}/live", "publisher local", "both must vouch for the same release")
    assert_refused(done, *words, exit_code=UNTRUSTED)
    assert not fresh.exists() or content_of(fresh) == {}
    stage.console("install", title, fresh).last_json()
    assert content_of(fresh) == OLD


def test_a_publisher_has_nothing_accepted_for_anothers_title(
    stage: Stage, title: TitleId, game: Path, evil: Release
) -> None:
    """By the platform, at publishing: the title stays whose it is, and plays what it played."""
    thief, signer = enrolled(stage, "league-of-" + title, stage.new_title())
    document = sign(vouched(None, thief, [evil], stage.clock.now()), [signer])

    async def hand_in(desk: Desk) -> str:
        registry = await registry_of(desk)
        try:
            await registry.accept(thief, document, evil, LIVE)
        except PlayheadError as error:
            return f"{type(error).__name__}: {error}"
        return "accepted"

    said = stage.at_desk(title, hand_in)
    assert said == f"Denied: title {title} is not enrolled for publisher {thief}"

    async def take(desk: Desk) -> str:
        registry = await registry_of(desk)
        try:
            await enrol(registry, stage, thief, signer, title)
        except Conflict as error:
            return str(error)
        return "taken"

    assert f"title {title} is enrolled for publisher local" in stage.at_desk(title, take)
    stage.publish(title, NEW)
    stage.console("update", game).last_json()
    assert content_of(game) == NEW


async def registry_of(desk: Desk) -> Registry:
    assert isinstance(desk.voucher, LocalVoucher)
    return await desk.voucher.registry()


def publisher_signer(stage: Stage) -> Signer:
    folder = key_folder(stage.settings)
    return folder.signer(folder.keyring().publishers[LOCAL])


def enrolled(stage: Stage, name: str, title: TitleId) -> tuple[PublisherId, Signer]:
    """Enrol a publisher with a key of its own for a title of its own."""
    publisher, signer = PublisherId(name), offline_signer()

    async def work(desk: Desk) -> None:
        await enrol(await registry_of(desk), stage, publisher, signer, title)

    stage.at_desk(title, work)
    return publisher, signer


async def enrol(
    registry: Registry, stage: Stage, publisher: PublisherId, signer: Signer, title: TitleId
) -> None:
    holders = await asyncio.to_thread(key_folder(stage.settings).holders)
    await registry.enrol(publisher, RoleKeys((signer.public_key,)), [title], holders)


def release_of(stage: Stage, title: TitleId, counter: int) -> Release:
    async def read(desk: Desk) -> Release:
        return await desk.store.release(counter)

    release = stage.at_desk(title, read)
    assert encode(release)
    return release


def forget_bin(game: Path) -> None:
    """Have the console ask anew: what it remembers of the channel is fresh for hours else."""
    for remembered in (game / ".playhead" / "trust").glob("release-bin-*.json"):
        remembered.unlink()
