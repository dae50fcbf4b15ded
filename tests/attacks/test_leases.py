"""A player downloads what is not his: with no lease, another's, an old one, or one he made."""

from __future__ import annotations

import base64
import time
from pathlib import Path

import pytest

from manifests.documents import Release
from manifests.lease import HEADER, LIFETIME_S, SKEW_S
from manifests.names import TitleId
from tests.attacks import wire
from tests.attacks.stage import NEW, OLD, Stage, assert_refused, content_of, running_stage
from tests.polling import eventually_sync

pytestmark = [pytest.mark.slow, pytest.mark.may_block]

KEY_OF_MALLORY = bytes(range(32))
REVOKED_WITHIN_S = 10.0
"""Promised is one second; a busy machine may be late."""


@pytest.fixture(scope="module")
def release(shared_stage: Stage) -> Release:
    """A title that is on the edge: what a cache has is guarded as what it has not."""
    found = shared_stage.publish(shared_stage.new_title(), NEW)
    title = TitleId(found.title)
    path = f"/t/{title}/m/{found.root.digest}"
    assert wire.get(shared_stage.edge.url, path, shared_stage.lease(title)).status == 200
    return found


@pytest.fixture(params=["origin", "edge"])
def url(request: pytest.FixtureRequest, stage: Stage) -> str:
    return stage.origin.url if request.param == "origin" else stage.edge.url


def content_paths(stage: Stage, release: Release) -> list[str]:
    folder = f"/t/{release.title}"
    [*bundles] = (found.name for found in (stage.objects / folder[1:] / "b").iterdir())
    below = [f"b/{bundles[0]}{rest}" for rest in ("", "/slices", "/0")]
    return [f"{folder}/{path}" for path in (f"m/{release.root.digest}", *below)]


def flipped(lease: str) -> str:
    """Change one bit of what a lease says, not of how it is written."""
    raw = bytearray(base64.urlsafe_b64decode(lease + "=" * (-len(lease) % 4)))
    raw[len(raw) // 2] ^= 1
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def assert_no_content(
    stage: Stage, url: str, release: Release, lease: str | None, refusal: tuple[int, str]
) -> None:
    """Hold every kind of content, by GET, HEAD and a range, to a refusal that says why."""
    status, code = refusal
    for path in content_paths(stage, release):
        for more in ({}, {"Range": "bytes=0-0"}, {"If-None-Match": "*"}):
            headers = more if lease is None else {HEADER: lease, **more}
            reply = wire.get(url, path, headers)
            assert reply.status == status, (path, reply)
            assert reply.problem()["code"] == code
            assert release.title in reply.problem()["detail"] or code == "lease-invalid"
            assert lease is None or lease not in reply.body.decode()
        headers = {} if lease is None else {HEADER: lease}
        assert wire.get(url, path, headers, method="HEAD").status == status
    assert stage.upstream.asked == []
    path = f"/t/{release.title}/m/{release.root.digest}"
    good = stage.lease(TitleId(release.title))
    assert wire.get(url, path, good).status == 200


def test_content_is_not_served_without_a_lease(stage: Stage, release: Release, url: str) -> None:
    assert_no_content(stage, url, release, None, (401, "lease-missing"))


def test_a_lease_for_another_title_opens_nothing(
    stage: Stage, release: Release, title: TitleId, url: str
) -> None:
    assert_no_content(stage, url, release, stage.minted(title), (403, "lease-other-title"))


def test_a_lease_that_is_over_opens_nothing(stage: Stage, release: Release, url: str) -> None:
    over = stage.minted(TitleId(release.title), ago_s=LIFETIME_S + SKEW_S + 1)
    assert_no_content(stage, url, release, over, (401, "lease-expired"))


def test_a_lease_that_was_changed_opens_nothing(stage: Stage, release: Release, url: str) -> None:
    changed = flipped(stage.minted(TitleId(release.title)))
    assert_no_content(stage, url, release, changed, (401, "lease-invalid"))


def test_a_lease_by_another_key_opens_nothing(stage: Stage, release: Release, url: str) -> None:
    for title in (TitleId(release.title), None):
        forged = stage.minted(title, key=KEY_OF_MALLORY)
        assert_no_content(stage, url, release, forged, (401, "lease-invalid"))


@pytest.mark.parametrize(
    "lease",
    ["x", "....", "A" * 8000, "2D3SnA", "é" * 9, base64.urlsafe_b64encode(b"\x9f" * 4000).decode()],
    ids=["a letter", "dots", "a long one", "a tag", "no ASCII", "CBOR that never ends its arrays"],
)
def test_what_is_no_lease_at_all_opens_nothing(
    stage: Stage, release: Release, url: str, lease: str
) -> None:
    assert_no_content(stage, url, release, lease, (401, "lease-invalid"))


def test_a_title_in_an_edges_cache_is_not_read_under_the_name_of_one_that_was_bought(
    stage: Stage, release: Release, title: TitleId
) -> None:
    stage.publish(title, OLD)
    for path in content_paths(stage, release):
        stolen = path.replace(f"/t/{release.title}/", f"/t/{title}/")
        assert wire.get(stage.edge.url, stolen, stage.lease(title)).status == 404


def test_a_lease_is_worth_nothing_once_the_title_was_taken_back(
    stage: Stage, title: TitleId, tmp_path: Path
) -> None:
    """Replayed at both servers, though it is authentic and not over; and there is no new one."""
    game = stage.installed(title, tmp_path / "game")
    release = stage.publish(title, NEW)
    path, lease = f"/t/{title}/m/{release.root.digest}", stage.lease(title)
    other = stage.lease(title, player="another")
    servers = (stage.origin.url, stage.edge.url)
    assert [wire.get(url, path, lease).status for url in servers] == [200, 200]
    assert stage.type("leases", "revoke", title).exit_code == 0
    revoked_at = time.monotonic()
    eventually_sync(
        lambda: [wire.get(url, path, lease).status for url in servers] == [403, 403],
        within_s=REVOKED_WITHIN_S,
    )
    assert time.monotonic() - revoked_at < REVOKED_WITHIN_S
    for url in servers:
        assert wire.get(url, path, lease).problem()["code"] == "lease-revoked"
        assert wire.get(url, path, other).status == 200, "it was taken from one player only"
    done = stage.console("update", game)
    assert_refused(done, title, "taken", exit_code=5)
    assert content_of(game) == OLD
    assert stage.type("leases", "grant", title).exit_code == 0
    stage.console("update", game).last_json()
    assert content_of(game) == NEW


def test_a_key_of_leases_that_was_replaced_opens_nothing(
    tmp_path: Path,
) -> None:
    """Whoever stole the key file loses what was stolen with the key."""
    with running_stage(tmp_path) as stage:
        title = stage.new_title()
        release = stage.publish(title, NEW)
        path = f"/t/{title}/m/{release.root.digest}"
        stolen = stage.minted(title)
        servers = (stage.origin.url, stage.edge.url)
        assert [wire.get(url, path, {HEADER: stolen}).status for url in servers] == [200, 200]
        (stage.folder / "data" / "keys" / "leases.json").unlink()
        stage.lease(title)  # makes a new one
        eventually_sync(
            lambda: [wire.get(url, path, {HEADER: stolen}).status for url in servers] == [401, 401]
        )
        for url in servers:
            assert wire.get(url, path, stage.lease(title)).status == 200
