"""A mirror, an upstream or a publisher sends other bytes under a name that is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from chunks.bundle import BundleWriter
from chunks.chunk_id import chunk_id_of, digest_of
from chunks.codec import pack
from manifests.documents import ObjectRef
from manifests.model import BundleRef
from manifests.names import TitleId
from playhead.publishing import Desk
from tests.attacks import wire
from tests.attacks.mirror import Answer, Asked, Honest
from tests.attacks.stage import NEW, Stage, assert_refused, content_of, vouched_release
from tests.builds import file
from tests.publishing import Place, places_of, store_manifest

pytestmark = [pytest.mark.slow, pytest.mark.may_block]


def spoiled(asked: Asked, forward: Honest) -> Answer:
    """Change one bit of everything that is named by a digest."""
    answer = forward()
    if not any(f"/{kind}/" in asked.path for kind in "bm") or not answer.content:
        return answer
    content = bytearray(answer.content)
    content[len(content) // 2] ^= 1
    return answer.with_body(bytes(content))


def only_bundles(asked: Asked, forward: Honest) -> Answer:
    return spoiled(asked, forward) if "/b/" in asked.path else forward()


def test_a_mirror_that_sends_other_bytes_under_a_taken_id_is_refused_and_nothing_is_lost(
    stage: Stage, title: TitleId, tmp_path: Path
) -> None:
    game = stage.installed(title, tmp_path / "game")
    before = content_of(game)
    stage.publish(title, NEW)
    with stage.front.attacking(spoiled):
        done = stage.console("update", game)
    assert_refused(done, "digest", stage.front.url, exit_code=8)
    assert content_of(game) == before
    assert stage.type("verify", game).exit_code == 0
    stage.console("update", game).last_json()
    assert content_of(game) == NEW


def test_a_console_that_gets_a_poisoned_chunk_takes_it_from_another_edge(
    stage: Stage, title: TitleId, tmp_path: Path
) -> None:
    game = stage.installed(title, tmp_path / "game")
    stage.publish(title, NEW)
    with stage.front.attacking(only_bundles):
        done = stage.console("update", game, edges=[stage.front.url, stage.edge.url])
    assert done.last_json()["failed_requests"] >= 1
    assert any("/b/" in path for path in stage.front.paths())
    assert content_of(game) == NEW


def test_a_wrong_slice_from_upstream_is_neither_cached_nor_sent_by_the_edge(
    stage: Stage, title: TitleId, tmp_path: Path
) -> None:
    release = stage.publish(title, NEW)
    path = f"/t/{title}/m/{release.root.digest}"
    with stage.upstream.attacking(spoiled):
        reply = wire.get(stage.edge.url, path, stage.lease(title))
        done = stage.console("install", title, tmp_path / "game")
    assert reply.status == 502
    assert release.root.digest in reply.problem()["detail"]
    assert_refused(done, "502", exit_code=8)
    assert digest_of(wire.get(stage.edge.url, path, stage.lease(title)).body).hex() in path
    stage.console("install", title, tmp_path / "game").last_json()
    assert content_of(tmp_path / "game") == NEW


def test_a_chunk_in_a_sound_bundle_that_is_not_what_its_id_says_is_never_installed(
    stage: Stage, title: TitleId, tmp_path: Path
) -> None:
    """A bundle of the publisher has its right name, but lists other bytes under an id."""
    game = stage.installed(title, tmp_path / "game")
    before = content_of(game)
    honest, poison = NEW["game.bin"], b"X" * len(NEW["game.bin"])

    async def poisoned(desk: Desk) -> ObjectRef:
        writer = BundleWriter(1 << 20)
        writer.add(digest_of(honest), len(poison), pack(poison))
        bundle = writer.close()
        await desk.store.put_bundle(bundle)
        [chunk] = bundle.chunks
        known = await places_of(desk.store, (await desk.store.releases())[-1].root)
        ref = BundleRef(bundle.bundle_id, len(bundle.data))
        place = Place(ref, chunk.offset, chunk.size, chunk.stored_size)
        known[chunk_id_of(digest_of(honest))] = place
        entries = [file("game.bin", len(honest))]
        root = await store_manifest(desk.store, entries, [honest], known)
        await vouched_release(desk, root)
        return root

    stage.at_desk(title, poisoned)
    done = stage.console("update", game)
    assert_refused(done, "chunk", exit_code=8)
    assert content_of(game) == before
    assert stage.type("verify", game).exit_code == 0
    stage.publish(title, NEW)
    stage.console("update", game).last_json()
    assert content_of(game) == NEW
