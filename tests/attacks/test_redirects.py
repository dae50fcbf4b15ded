"""An upstream or a client points an edge, or a console, to a server of its choice (SSRF)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from manifests.names import TitleId
from tests.attacks import wire
from tests.attacks.mirror import Answer, Attack, Mirror, running_mirror
from tests.attacks.stage import NEW, Stage, assert_refused, content_of

pytestmark = [pytest.mark.slow, pytest.mark.may_block]


@pytest.fixture
def canary(stage: Stage) -> Iterator[Mirror]:
    """A server inside the network that nobody has a reason to ask; it has all that is asked."""
    with running_mirror(stage.origin.url) as canary:
        yield canary


def pointing_to(url: str, status: int) -> Attack:
    def redirect(asked: object, _forward: object) -> Answer:
        path = getattr(asked, "path", "")
        return Answer(status, (("Location", url + path), ("Refresh", f"0; url={url}{path}")))

    return redirect


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 300, 305])
def test_an_edge_follows_no_redirect_of_its_upstream(
    stage: Stage, title: TitleId, canary: Mirror, status: int
) -> None:
    release = stage.publish(title, NEW)
    path = f"/t/{title}/m/{release.root.digest}"
    with stage.upstream.attacking(pointing_to(canary.url, status)):
        reply = wire.get(stage.edge.url, path, stage.lease(title))
    assert reply.status == 502
    assert str(status) in reply.problem()["detail"]
    assert reply.headers["Location"] is None
    assert canary.asked == []
    assert wire.get(stage.edge.url, path, stage.lease(title)).status == 200


def test_a_console_follows_no_redirect_of_its_edge(
    stage: Stage, title: TitleId, canary: Mirror, tmp_path: Path
) -> None:
    game = stage.installed(title, tmp_path / "game")
    before = content_of(game)
    stage.publish(title, NEW)
    with stage.front.attacking(pointing_to(canary.url, 302)):
        done = stage.console("update", game)
    assert_refused(done, "302", exit_code=8)
    assert canary.asked == []
    assert content_of(game) == before
    stage.console("update", game).last_json()
    assert content_of(game) == NEW


@pytest.mark.parametrize("target", ["{canary}/t/x/h/live", "{canary}", "//{place}/t/x/h/live"])
def test_a_client_cannot_have_an_edge_fetch_from_elsewhere(
    stage: Stage, canary: Mirror, target: str
) -> None:
    place = canary.url.removeprefix("http://")
    for headers in ({}, {"Host": place}, {"X-Forwarded-Host": place, "X-Upstream": canary.url}):
        reply = wire.get(stage.edge.url, target.format(canary=canary.url, place=place), headers)
        assert reply.status == 400
        assert reply.problem()["code"] == "bad-request"
    assert wire.get(stage.edge.url, place, method="CONNECT").status in {400, 405}
    assert canary.asked == []
    assert stage.upstream.asked == []
