"""A publisher names chunks of another's title, to have them served under a title of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from manifests.documents import ObjectRef
from manifests.names import TitleId
from playhead.publishing import Desk
from tests.attacks import wire
from tests.attacks.stage import NEW, OLD, Stage, assert_refused, content_of, vouched_release
from tests.builds import file
from tests.publishing import Places, places_of, store_manifest

pytestmark = [pytest.mark.slow, pytest.mark.may_block]


def test_a_build_of_another_titles_chunks_gets_none_of_them(
    stage: Stage, title: TitleId, tmp_path: Path
) -> None:
    """Even though they are in the storage, and in the cache of the edge."""
    game = stage.installed(title, tmp_path / "game")
    coveted = stage.new_title()
    theirs = stage.publish(coveted, NEW)
    stage.console("install", coveted, tmp_path / "theirs").last_json()

    async def read(desk: Desk) -> Places:
        return await places_of(desk.store, theirs.root)

    places = stage.at_desk(coveted, read)

    async def reference(desk: Desk) -> ObjectRef:
        contents = [NEW["game.bin"]]
        entries = [file("game.bin", len(contents[0]))]
        root = await store_manifest(desk.store, entries, contents, places)
        await vouched_release(desk, root)
        return root

    stage.at_desk(title, reference)
    done = stage.console("update", game)
    assert_refused(done, f"t/{title}/b/", exit_code=3)
    assert content_of(game) == OLD
    assert stage.type("verify", game).exit_code == 0
    [bundle] = {place.bundle.bundle_id.hex() for place in places.values()}
    path = f"/t/{title}/b/{bundle}"
    for url in (stage.origin.url, stage.edge.url):
        assert wire.get(url, path, stage.lease(title)).status == 404
    honest = path.replace(title, coveted)
    assert wire.get(stage.edge.url, honest, stage.lease(coveted)).status == 200
    stage.publish(title, {**OLD, "more.txt": b"more"})
    stage.console("update", game).last_json()
    assert content_of(game)["more.txt"] == b"more"
