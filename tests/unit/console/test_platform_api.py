"""Every call of the console, through a real server into a real folder."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from console.installed import stamp_of
from console.inventory import Fault
from console.platform_api import Console
from console.progress import Event, Planned, Playable
from kit.errors import Conflict, IntegrityError, NotFound, Unavailable
from tests.consoles import console_on, differences
from tests.faulty_edge import FaultyEdge, after, only_bundles, serving_faulty, status
from tests.folder_publisher import LIVE, TITLE, FolderPublisher
from tests.trees import write_tree

pytestmark = pytest.mark.may_block


@dataclass
class World:
    """A publisher, an edge, a console, and three folders."""

    publisher: FolderPublisher
    edge: FaultyEdge
    console: Console
    old: Path
    new: Path
    game: Path

    def publish_new(self, changes: int = 7) -> None:
        shutil.rmtree(self.new)
        self.new.mkdir()
        write_tree(self.new, seed=1, changes=changes)
        self.publisher.publish(self.new)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The old build is published; nothing is installed."""
    old, new, game = tmp_path / "old", tmp_path / "new", tmp_path / "game"
    old.mkdir()
    new.mkdir()
    write_tree(old, seed=1)
    publisher = FolderPublisher()
    publisher.publish(old)
    edge = FaultyEdge(publisher.objects)
    async with serving_faulty(edge), console_on(edge) as console:
        yield World(publisher, edge, console, old, new, game)


async def test_install_makes_the_published_tree(world: World) -> None:
    await world.console.install(TITLE, world.game, channel=LIVE)
    assert await differences(world.old, world.game) == []


async def test_update_makes_the_new_tree(world: World) -> None:
    await world.console.install(TITLE, world.game, channel=LIVE)
    world.publish_new()
    report = await world.console.update(world.game)
    assert await differences(world.new, world.game) == []
    assert report.version == "1.2"


async def test_plan_is_what_happens(world: World) -> None:
    plan = await world.console.plan(TITLE, world.game, channel=LIVE)
    assert list(world.game.iterdir()) == []
    report = await world.console.install(TITLE, world.game, channel=LIVE)
    spans = [asked for asked in world.edge.asked if asked.is_bundle]
    assert report.plan == plan
    assert (plan.download_bytes, plan.requests) == (world.edge.bundle_bytes_asked(), len(spans))
    assert plan.write_bytes == report.written_bytes


async def test_plan_of_an_update_is_what_happens(world: World) -> None:
    await world.console.install(TITLE, world.game, channel=LIVE)
    world.publish_new()
    plan = await world.console.plan(TITLE, world.game, channel=LIVE)
    world.edge.asked.clear()
    report = await world.console.update(world.game)
    assert report.plan == plan
    assert plan.download_bytes == world.edge.bundle_bytes_asked()
    assert (plan.files_added, plan.files_removed) == (1, 1)
    assert plan.reused_bytes == report.reused_bytes > 0


async def test_report_counts_every_byte_received(world: World) -> None:
    report = await world.console.install(TITLE, world.game, channel=LIVE)
    assert report.received_bytes == world.edge.sent_bytes
    assert report.requests == len(world.edge.asked) + len(world.edge.starts)
    assert report.failed_requests == 0


async def test_first_chunk_is_asked_for_after_head_root_and_first_page(world: World) -> None:
    await world.console.install(TITLE, world.game, channel=LIVE)
    kinds = [asked.path.split("/")[2] for asked in world.edge.asked[:4]]
    assert kinds == ["h", "m", "m", "b"]


async def test_update_does_not_touch_unchanged_files(world: World) -> None:
    await world.console.install(TITLE, world.game, channel=LIVE)
    before = stamp_of((world.game / "run").stat())
    world.publish_new(changes=1)
    await world.console.update(world.game)
    assert stamp_of((world.game / "run").stat()) == before


async def test_small_file_whose_chunk_changed_is_not_rewritten(world: World) -> None:
    await world.console.install(TITLE, world.game, channel=LIVE)
    before = stamp_of((world.game / "text" / "line050.txt").stat())
    shutil.copytree(world.old, world.new, symlinks=True, dirs_exist_ok=True)
    (world.new / "text" / "line049.txt").write_bytes(b"something else")
    world.publisher.publish(world.new)
    report = await world.console.update(world.game)
    assert report.files_left_alone > 0
    assert stamp_of((world.game / "text" / "line050.txt").stat()) == before
    assert await differences(world.new, world.game) == []


async def test_second_update_asks_for_the_head_alone(world: World) -> None:
    await world.console.install(TITLE, world.game, channel=LIVE)
    world.edge.asked.clear()
    report = await world.console.update(world.game)
    assert [asked.path for asked in world.edge.asked] == ["t/a-title/h/live"]
    assert report.plan.download_bytes == report.written_bytes == 0


async def test_same_build_under_a_new_release_downloads_nothing(world: World) -> None:
    release = await world.console.install(TITLE, world.game, channel=LIVE)
    world.publisher.publish(world.old)
    report = await world.console.update(world.game)
    assert (report.release, report.build_id) == (2, release.build_id)
    assert report.plan.download_bytes == 0
    assert (await world.console.status(world.game)).release == 2


async def test_renamed_large_file_is_copied_not_fetched(world: World) -> None:
    await world.console.install(TITLE, world.game, channel=LIVE)
    shutil.copytree(world.old, world.new, symlinks=True, dirs_exist_ok=True)
    (world.new / "engine.bin").rename(world.new / "motor.bin")
    world.publisher.publish(world.new)
    report = await world.console.update(world.game)
    assert report.plan.download_bytes == 0
    assert await differences(world.new, world.game) == []


async def test_file_becomes_folder_and_folder_becomes_file(world: World) -> None:
    await world.console.install(TITLE, world.game, channel=LIVE)
    (world.new / "run").mkdir()
    (world.new / "run" / "inside").write_bytes(b"x" * 100)
    (world.new / "text").write_bytes(b"no more folder")
    (world.new / "latest.txt").symlink_to("text")
    world.publisher.publish(world.new)
    await world.console.update(world.game)
    assert await differences(world.new, world.game) == []


async def test_executable_bit_alone_changes(world: World) -> None:
    await world.console.install(TITLE, world.game, channel=LIVE)
    shutil.copytree(world.old, world.new, symlinks=True, dirs_exist_ok=True)
    (world.new / "run").chmod(0o644)
    (world.new / "world.pak").chmod(0o755)
    world.publisher.publish(world.new)
    report = await world.console.update(world.game)
    assert report.plan.download_bytes == 0
    assert await differences(world.new, world.game) == []


async def test_file_changed_by_hand_is_put_right_by_an_update(world: World) -> None:
    await world.console.install(TITLE, world.game, channel=LIVE)
    with (world.game / "engine.bin").open("r+b") as file:
        file.seek(1_500_000)
        file.write(b"modded")
    (world.game / "text" / "line007.txt").unlink()
    report = await world.console.update(world.game)
    assert await differences(world.old, world.game) == []
    assert 0 < report.plan.download_bytes < 1_500_000


async def test_folder_moved_to_another_disk_is_recognised(world: World) -> None:
    await world.console.install(TITLE, world.game, channel=LIVE)
    moved = world.game.with_name("moved")
    shutil.copytree(world.game, moved, symlinks=True, copy_function=shutil.copyfile)
    (moved / "run").chmod(0o755)
    report = await world.console.update(moved)
    assert report.plan.download_bytes == report.written_bytes == 0
    assert await differences(world.old, moved) == []


async def test_foreign_files_survive_update_and_uninstall(world: World) -> None:
    world.game.mkdir()
    (world.game / "mods").mkdir()
    (world.game / "mods" / "mine.txt").write_text("mine")
    await world.console.install(TITLE, world.game, channel=LIVE)
    (world.game / "text" / "notes.txt").write_text("mine too")
    world.publish_new()
    await world.console.update(world.game)
    removal = await world.console.uninstall(world.game)
    left = sorted(p.relative_to(world.game).as_posix() for p in world.game.rglob("*"))
    assert left == ["mods", "mods/mine.txt", "text", "text/notes.txt"]
    assert removal.left == ()


async def test_foreign_file_in_the_way_stops_an_install_before_it_starts(world: World) -> None:
    (world.game / "text").mkdir(parents=True)
    (world.game / "text" / "line003.txt").write_text("mine")
    with pytest.raises(Conflict, match=r"text/line003\.txt"):
        await world.console.install(TITLE, world.game, channel=LIVE)
    assert [p.name for p in world.game.iterdir()] == ["text"]
    assert (world.game / "text" / "line003.txt").read_text() == "mine"


async def test_foreign_file_in_a_folder_that_becomes_a_file_stops_an_update(world: World) -> None:
    await world.console.install(TITLE, world.game, channel=LIVE)
    (world.game / "text" / "notes.txt").write_text("mine")
    (world.new / "text").write_bytes(b"no more folder")
    world.publisher.publish(world.new)
    with pytest.raises(Conflict, match=r"text/notes\.txt"):
        await world.console.update(world.game)
    assert (await world.console.verify(world.game)).is_sound


async def test_planted_link_is_not_followed_out_of_the_folder(world: World, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    world.game.mkdir()
    (world.game / "text").symlink_to(outside)
    with pytest.raises(Conflict, match="text"):
        await world.console.install(TITLE, world.game, channel=LIVE)
    assert list(outside.iterdir()) == []


async def test_folder_replaced_by_a_link_is_not_followed(world: World, tmp_path: Path) -> None:
    await world.console.install(TITLE, world.game, channel=LIVE)
    outside = tmp_path / "outside"
    (world.game / "text").rename(outside)
    (world.game / "text").symlink_to(outside)
    before = {path: path.read_bytes() for path in outside.iterdir()}
    world.publish_new()
    with pytest.raises(Conflict, match="text"):
        await world.console.update(world.game)
    assert (await world.console.uninstall(world.game)).files_removed == 5
    assert {path: path.read_bytes() for path in outside.iterdir()} == before


async def test_planted_state_folder_is_not_followed(world: World, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    world.game.mkdir()
    (world.game / ".playhead").symlink_to(outside)
    with pytest.raises(Conflict, match=r"\.playhead"):
        await world.console.install(TITLE, world.game, channel=LIVE)
    assert list(outside.iterdir()) == []


async def test_head_that_goes_back_is_refused(world: World) -> None:
    old_head = world.publisher.objects["t/a-title/h/live"]
    world.publish_new()
    await world.console.install(TITLE, world.game, channel=LIVE)
    world.publisher.objects["t/a-title/h/live"] = old_head
    with pytest.raises(Conflict, match="release 1, but release 2 was seen"):
        await world.console.update(world.game)
    assert await differences(world.new, world.game) == []


async def test_groups_become_playable_in_order(world: World, tmp_path: Path) -> None:
    game = tmp_path / "grouped"
    seen: list[Event] = []

    def group_of(path: str) -> str:
        return "launch" if path == "run" else "rest"

    def observe(event: Event) -> None:
        seen.append(event)
        if isinstance(event, Playable):
            assert (game / "run").read_bytes() == (world.old / "run").read_bytes()
            assert not (game / "engine.bin").exists()

    world.publisher.publish(world.old, group_of=group_of)
    # Stop the rest from coming before the first group is in place.
    world.edge.fault = only_bundles(after(1, status(503)))
    with pytest.raises(Unavailable):
        await world.console.install(TITLE, game, channel=LIVE, observer=observe)
    assert [type(event) for event in seen if not hasattr(event, "eta_s")] == [Planned, Playable]
    assert not (await world.console.status(game)).is_complete
    world.edge.fault = None
    report = await world.console.install(TITLE, game, channel=LIVE)
    assert report.was_resumed
    assert await differences(world.old, game) == []


async def test_verify_finds_the_wound(world: World) -> None:
    await world.console.install(TITLE, world.game, channel=LIVE)
    stamp = (world.game / "engine.bin").stat()
    with (world.game / "engine.bin").open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"!")
    os.utime(world.game / "engine.bin", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    (wound,) = (await world.console.verify(world.game)).wounds
    assert (wound.path, wound.fault) == ("engine.bin", Fault.DAMAGED)
    assert wound.start <= 1_000_000 < wound.end


async def test_verify_names_every_kind_of_fault(world: World) -> None:
    await world.console.install(TITLE, world.game, channel=LIVE)
    (world.game / "text" / "line001.txt").unlink()
    (world.game / "latest.txt").unlink()
    (world.game / "latest.txt").symlink_to("run")
    (world.game / "run").chmod(0o644)
    with (world.game / "world.pak").open("ab") as file:
        file.write(b"more")
    found = {(w.path, w.fault) for w in (await world.console.verify(world.game)).wounds}
    assert found >= {
        ("text/line001.txt", Fault.MISSING),
        ("latest.txt", Fault.REPLACED),
        ("run", Fault.MODE),
        ("world.pak", Fault.SIZE),
    }


async def test_repair_fetches_the_wounded_chunks_alone(world: World) -> None:
    await world.console.install(TITLE, world.game, channel=LIVE)
    with (world.game / "engine.bin").open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"!" * 10)
    (world.game / "text" / "line001.txt").unlink()
    (world.game / "run").chmod(0o644)
    report = await world.console.repair(world.game)
    assert await differences(world.old, world.game) == []
    assert 0 < report.plan.download_bytes < 1_700_000
    assert (await world.console.verify(world.game)).is_sound


async def test_repair_of_a_sound_build_works_without_any_edge(world: World) -> None:
    await world.console.install(TITLE, world.game, channel=LIVE)
    async with console_on() as lonely:
        report = await lonely.repair(world.game)
    assert report.requests == 0


async def test_uninstall_leaves_an_empty_folder(world: World) -> None:
    await world.console.install(TITLE, world.game, channel=LIVE)
    removal = await world.console.uninstall(world.game)
    assert list(world.game.iterdir()) == []
    assert removal.files_removed == 125
    with pytest.raises(NotFound, match="nothing is installed"):
        await world.console.status(world.game)


async def test_status_of_an_interrupted_update_shows_both_builds(world: World) -> None:
    await world.console.install(TITLE, world.game, channel=LIVE)
    world.publish_new()
    world.edge.fault = only_bundles(status(503))
    with pytest.raises(Unavailable):
        await world.console.update(world.game)
    found = await world.console.status(world.game)
    assert (found.version, found.is_complete) == ("1.1", True)
    assert found.under_way is not None
    assert found.under_way.version == "1.2"
    assert await differences(world.old, world.game) == []


async def test_newer_release_reuses_what_an_interrupted_update_staged(world: World) -> None:
    await world.console.install(TITLE, world.game, channel=LIVE)
    shutil.copytree(world.old, world.new, symlinks=True, dirs_exist_ok=True)
    (world.new / "a-big.bin").write_bytes(os.urandom(3_000_000))
    (world.new / "z-big.bin").write_bytes(os.urandom(3_000_000))
    world.publisher.publish(world.new)
    world.edge.fault = only_bundles(after(3, status(503)))
    with pytest.raises(Unavailable):
        await world.console.update(world.game)
    world.edge.fault = None
    (world.new / "another.txt").write_bytes(b"newer still")
    world.publisher.publish(world.new)
    received_before = world.edge.sent_bytes
    report = await world.console.update(world.game)
    assert await differences(world.new, world.game) == []
    assert report.version == "1.3"
    assert world.edge.sent_bytes - received_before < 5_000_000
    assert list((world.game / ".playhead" / "staging").iterdir()) == []


async def test_other_title_is_not_installed_over(world: World) -> None:
    await world.console.install(TITLE, world.game, channel=LIVE)
    other = FolderPublisher(world.publisher.objects, title=type(TITLE)("other"))
    other.publish(world.old)
    with pytest.raises(Conflict, match="a-title is installed here"):
        await world.console.install(other.title, world.game, channel=LIVE)


async def test_unknown_title_is_not_found_and_leaves_nothing(world: World) -> None:
    with pytest.raises(NotFound, match="h/beta"):
        await world.console.install(TITLE, world.game, channel=type(LIVE)("beta"))
    assert list(world.game.iterdir()) == []


async def test_two_consoles_do_not_work_on_one_folder(world: World) -> None:
    await world.console.install(TITLE, world.game, channel=LIVE)

    async def second_console(event: Event) -> None:
        with pytest.raises(Conflict, match="another console"):
            await world.console.verify(world.game)

    async with asyncio.TaskGroup() as tasks:
        world.publish_new()
        started: list[asyncio.Task[None]] = []
        await world.console.update(
            world.game, observer=lambda e: started.append(tasks.create_task(second_console(e)))
        )
    assert started


async def test_damaged_record_is_named(world: World) -> None:
    await world.console.install(TITLE, world.game, channel=LIVE)
    record = world.game / ".playhead" / "installed"
    record.write_bytes(record.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match="record of what is installed"):
        await world.console.update(world.game)


async def test_damaged_manifest_is_fetched_again(world: World) -> None:
    await world.console.install(TITLE, world.game, channel=LIVE)
    for path in (world.game / ".playhead" / "manifests").iterdir():
        path.write_bytes(b"rotten")
    assert (await world.console.verify(world.game)).is_sound


@pytest.mark.parametrize("answers", [0, 1, 2, 3])
async def test_cancelled_install_goes_on_from_there(world: World, answers: int) -> None:
    async def cancel(*_: object) -> None:
        install.cancel()

    world.edge.fault = only_bundles(after(answers, cancel))
    install = asyncio.create_task(world.console.install(TITLE, world.game, channel=LIVE))
    with pytest.raises(asyncio.CancelledError):
        await install
    world.edge.fault = None
    report = await world.console.install(TITLE, world.game, channel=LIVE)
    assert (report.plan.kept_bytes > 0) == (answers > 0)
    assert await differences(world.old, world.game) == []


async def test_no_descriptor_is_left_open(world: World) -> None:
    await world.console.install(TITLE, world.game, channel=LIVE)
    world.publish_new()
    before = len(list(Path("/proc/self/fd").iterdir()))
    await world.console.update(world.game)
    await world.console.verify(world.game)
    await world.console.repair(world.game)
    await world.console.status(world.game)
    await world.console.uninstall(world.game)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
