"""Warms of an edge: what they bring, how they end, and what a restart leaves of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kit.units import ByteSize
from manifests import locations
from tests.folder_publisher import LIVE, TITLE
from tests.operated_edge import Operated, Studio, operated_edge
from tests.polling import eventually
from tests.serving import Node, running_origin

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
async def studio(tmp_path: Path) -> Studio:
    studio = Studio(tmp_path, group_of=lambda p: "world" if p.startswith("world") else "launch")
    await studio.publish()
    return studio


@pytest.fixture
async def origin(studio: Studio) -> AsyncIterator[Node]:
    async with running_origin(studio.storage) as origin:
        yield origin


@pytest.fixture
async def operated(origin: Node, tmp_path: Path) -> AsyncIterator[Operated]:
    async with operated_edge(tmp_path / "cache", origin.url) as operated:
        yield operated


async def test_a_warm_brings_all_that_its_plan_says_and_counts_it_by_kind(
    operated: Operated,
) -> None:
    warm = await operated.warmed()
    assert warm["phase"] == "done"
    assert warm["failed_count"] == 0
    assert warm["fetched"] == {k: v for k, v in warm["planned"].items() if v["count"]}
    assert set(warm["fetched"]) == {"document", "manifest", "slice-list", "slice"}
    assert warm["release"]["counter"] == 1


async def test_a_second_warm_fetches_documents_alone_and_has_the_same_ids(
    operated: Operated, studio: Studio
) -> None:
    first = await operated.warmed()
    before = studio.storage.reads.copy()
    second = await operated.warmed()
    assert set(second["fetched"]) == {"document"}
    assert second["present"] == {k: v for k, v in first["fetched"].items() if k != "document"}
    assert second["ids_digest"] == first["ids_digest"] != ""
    asked = studio.storage.reads - before
    assert not any(" " in key for key in asked)  # no byte of any bundle


async def test_after_a_warm_everything_is_served_without_an_origin(
    studio: Studio, tmp_path: Path
) -> None:
    async with (
        running_origin(studio.storage) as origin,
        operated_edge(tmp_path / "cache", origin.url) as operated,
    ):
        await operated.warmed()
    async with operated_edge(tmp_path / "cache", NOBODY) as operated:
        for key in [
            *(key for key in await studio.keys() if key.startswith("t/")),
            *studio.trust_keys(),
        ]:
            path = "/" + key.replace("/s/", "/b/") + ("/slices" if "/s/" in key else "")
            assert (await operated.node.ask(path)).status == 200, path
        head = locations.head_key(TITLE, LIVE)
        assert (await operated.node.ask(f"/{head}/trust")).status == 200


async def test_groups_are_warmed_alone(operated: Operated) -> None:
    launch = await operated.warmed(groups=["launch"])
    world = await operated.warmed(groups=["world"])
    everything = await operated.warmed()
    assert 0 < launch["planned"]["slice"]["size"] < everything["planned"]["slice"]["size"]
    assert world["fetched"]["slice"]["size"] > 0
    assert set(everything["fetched"]) == {"document"}


async def test_an_unknown_group_fails_the_warm_and_says_which_there_are(
    operated: Operated,
) -> None:
    warm = await operated.warmed(groups=["demo"])
    assert warm["phase"] == "failed"
    assert "the build has launch, world" in warm["fault"]


async def test_an_unknown_channel_fails_the_warm(operated: Operated) -> None:
    warm = await operated.warmed(f"{TITLE}@beta")
    assert warm["phase"] == "failed"
    assert warm["fault"].startswith("not-found")


async def test_a_release_can_be_named_by_its_counter(operated: Operated, studio: Studio) -> None:
    await studio.publish(changes=3)
    warm = await operated.warmed(f"{TITLE}@1")
    assert (warm["phase"], warm["release"]["counter"]) == ("done", 1)
    assert (await operated.warmed())["release"]["counter"] == 2


@pytest.mark.parametrize(
    ("wishes", "status"),
    [
        ({"target": "Game"}, 422),
        ({"target": "/t/game/h/live"}, 422),
        ({"target": f"{TITLE}@1", "deltas": True}, 422),
        ({"deadline_s": 1.0}, 409),
        ({"max_rate": -1}, 422),
        ({"whatever": 1}, 422),
    ],
)
async def test_what_cannot_be_warmed_is_refused_at_once(
    operated: Operated, wishes: dict[str, object], status: int
) -> None:
    body = {"target": TITLE, "deadline_s": operated.edge.clock.now() + 60, **wishes}
    reply = await operated.tell("POST", "warms", body)
    assert reply.status == status
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert await operated.get("warms") == []


async def test_the_same_warm_is_begun_once_and_cancelled_for_all(operated: Operated) -> None:
    first = await operated.begin_warm(max_rate=1000)
    second = await operated.begin_warm(max_rate=2000)
    assert second["warm_id"] == first["warm_id"]
    following = asyncio.create_task(operated.followed(first["warm_id"]))
    reply = await operated.tell("DELETE", f"warms/{first['warm_id']}")
    assert reply.json()["phase"] == "cancelled"
    assert (await following)[-1]["phase"] == "cancelled"
    assert await operated.begin_warm(max_rate=1000) != first


async def test_a_warm_ends_at_its_deadline(operated: Operated) -> None:
    deadline_s = operated.edge.clock.now() + 0.2
    warm = await operated.warmed(max_rate=1000, deadline_s=deadline_s)
    assert warm["phase"] == "expired"


async def test_a_warm_keeps_to_its_rate(operated: Operated) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    warm = await operated.warmed(max_rate=2_000_000)
    fetched = sum(each["size"] for each in warm["fetched"].values())
    # What may come at once after a pause is a quarter of a second's.
    assert loop.time() - began >= fetched / 2_000_000 - 0.5
    assert warm["worked_s"] >= fetched / 2_000_000 - 0.5


async def test_only_so_many_warms_are_under_way(operated: Operated) -> None:
    for group in (["launch"], ["world"], ["launch", "world"], []):
        await operated.begin_warm(groups=group, max_rate=1000)
    reply = await operated.tell(
        "POST", "warms", {"target": f"{TITLE}@1", "deadline_s": operated.edge.clock.now() + 60}
    )
    assert (reply.status, reply.json()["code"]) == (409, "conflict")


async def test_an_object_that_is_gone_is_counted_and_the_rest_is_brought(
    operated: Operated, studio: Studio
) -> None:
    bundle = next(key for key in await studio.keys() if "/s/" in key)
    await studio.storage.delete([bundle])
    warm = await operated.warmed()
    assert warm["phase"] == "done"
    assert warm["failed_count"] > 1
    assert warm["failed"][0] == f"/{bundle.replace('/s/', '/b/')}/slices"
    assert warm["ids_digest"] == ""
    assert warm["fetched"]["slice"]["count"] >= 1


async def test_a_warm_goes_on_after_a_restart_and_fetches_nothing_twice(
    origin: Node, studio: Studio, tmp_path: Path
) -> None:
    async with operated_edge(tmp_path / "cache", origin.url, warm_fetches_max=1) as operated:
        begun = await operated.begin_warm(max_rate=1_000_000)

        async def has_slices() -> bool:
            warm = await operated.get(f"warms/{begun['warm_id']}")
            return bool(warm["fetched"].get("slice", {"count": 0})["count"] >= 2)

        await eventually(has_slices)
    before = studio.storage.reads.copy()
    async with operated_edge(tmp_path / "cache", origin.url) as operated:
        told = await operated.followed(begun["warm_id"])
        assert told[-1]["phase"] == "done"
        assert told[-1]["runs"] == 2
        assert told[-1]["present"]["slice"]["count"] >= 2
        assert told[-1]["earlier"]["slice"]["count"] >= 2
    pieces = [key for key in studio.storage.reads - before if " " in key]
    assert pieces
    assert not any(before[key] for key in pieces)


async def test_a_warm_that_is_over_is_remembered_and_not_begun_again(
    origin: Node, tmp_path: Path
) -> None:
    async with operated_edge(tmp_path / "cache", origin.url) as operated:
        warm = await operated.warmed()
    async with operated_edge(tmp_path / "cache", NOBODY) as operated:
        assert await operated.get("warms") == [warm]


async def test_a_damaged_file_of_a_warm_harms_no_other(origin: Node, tmp_path: Path) -> None:
    async with operated_edge(tmp_path / "cache", origin.url) as operated:
        warm = await operated.warmed()
    folder = tmp_path / "cache" / "warms"
    (folder / "20260101t000000-00000000.json").write_bytes(b"{")
    (folder / "strange.json").write_bytes(b"{}")
    async with operated_edge(tmp_path / "cache", NOBODY) as operated:
        assert await operated.get("warms") == [warm]


async def test_an_upstream_that_is_gone_ends_a_warm_that_can_be_begun_anew(
    studio: Studio, tmp_path: Path
) -> None:
    async with operated_edge(tmp_path / "cache", NOBODY) as operated:
        warm = await operated.warmed()
    assert warm["phase"] == "failed"
    assert warm["fault"].startswith("no-upstream")


async def test_a_warm_can_let_go_first_of_what_only_older_releases_have(
    operated: Operated, studio: Studio
) -> None:
    # What is pinned stays whatever comes: the older release is warmed for a moment only.
    await operated.warmed()
    await operated.post("pins", target=TITLE, until_s=0)
    await studio.publish(changes=3)
    warm = await operated.warmed(supersede=True)
    played = await operated.post("purge", target=f"{TITLE}@live", dry_run=True)
    everything = await operated.post("purge", target=TITLE, dry_run=True)
    older = everything["blobs"]["count"] - played["blobs"]["count"]
    assert warm["superseded"]["count"] == older > 0
    cache = (await operated.get("status"))["cache"]
    assert cache["superseded"]["count"] == older
    assert cache["pinned"]["count"] == played["blobs"]["count"]


async def test_what_a_warm_brings_is_pinned_also_over_a_restart(
    origin: Node, tmp_path: Path
) -> None:
    async with operated_edge(tmp_path / "cache", origin.url) as operated:
        warm = await operated.warmed()
        brought = sum(
            warm["fetched"][kind]["count"] for kind in ("manifest", "slice-list", "slice")
        )
        assert warm["pinned"]["count"] == brought
        assert warm["unpinned"]["count"] == 0
    async with operated_edge(tmp_path / "cache", NOBODY) as operated:
        assert (await operated.get("status"))["cache"]["pinned"]["count"] == brought
        root = warm["release"]["root"]["digest"]
        found = await operated.get(f"explain/t/{TITLE}/m/{root}")
        assert found["pinned_until_s"] == int(warm["request"]["deadline_s"])
        await operated.post("pins", target=TITLE, until_s=0)
        assert (await operated.get("status"))["cache"]["pinned"]["count"] == 0


async def test_no_more_is_pinned_than_may_be_and_the_rest_is_cached(
    origin: Node, tmp_path: Path
) -> None:
    room = ByteSize(8 << 20)
    async with operated_edge(tmp_path / "cache", origin.url, max_bytes=room) as operated:
        warm = await operated.warmed()
        assert warm["phase"] == "done"
        assert warm["unpinned"]["count"] > 0
        cache = (await operated.get("status"))["cache"]
        assert cache["pinned"]["size"] <= cache["pinned_size_max"] == room // 5
        assert cache["blobs"] == warm["pinned"]["count"] + warm["unpinned"]["count"]


async def test_a_title_is_purged_whole(operated: Operated, studio: Studio) -> None:
    await operated.warmed()
    await studio.publish(changes=3)
    await operated.warmed()
    done = await operated.post("purge", target=TITLE, hard=True)
    assert done["documents"]["count"] >= 4
    status = await operated.get("status")
    assert (status["cache"]["blobs"], status["cache"]["size"]) == (0, 0)
