"""A client makes up names by the thousand, to have edges ask the origin for each of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from chunks.chunk_id import digest_of
from edge.misses import ADDRESS, PLAYER, Budget
from tests.attacks import wire
from tests.attacks.stage import NEW, Stage, running_stage

pytestmark = [pytest.mark.slow, pytest.mark.may_block]

FLOOD = 600


@pytest.fixture(scope="module")
def flooded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Servers of their own: what is used up here would be missed elsewhere."""
    with running_stage(tmp_path_factory.mktemp("flooded")) as stage:
        yield stage


def flood(url: str, paths: list[str], headers: dict[str, str]) -> list[wire.Reply]:
    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(lambda path: wire.get(url, path, headers), paths))


def reaching_upstream(stage: Stage, budget: Budget) -> Callable[[], None]:
    """Return what checks later that no more was asked upstream than a budget allows since now."""
    started, before = time.monotonic(), len(stage.upstream.asked)

    def check() -> None:
        earned = budget.per_s * (time.monotonic() - started)
        assert len(stage.upstream.asked) - before <= budget.burst + earned
        assert budget.burst + earned < FLOOD, "the flood was too slow to show anything"

    return check


@pytest.mark.parametrize("path", ["m/{digest}", "b/{digest}", "b/{digest}/slices", "b/{digest}/0"])
def test_a_player_who_makes_up_digests_reaches_the_origin_no_oftener_than_a_budget_allows(
    flooded: Stage, path: str
) -> None:
    stage, title = flooded, flooded.new_title()
    release = stage.publish(title, NEW)
    digests = [digest_of(f"{path} {number}".encode()).hex() for number in range(FLOOD)]
    paths = [f"/t/{title}/{path.format(digest=digest)}" for digest in digests]
    allowed = reaching_upstream(stage, PLAYER)
    replies = flood(stage.edge.url, paths, stage.lease(title, player=f"mallory of {title}"))
    allowed()
    assert {reply.status for reply in replies} == {404, 429}
    refused = next(reply for reply in replies if reply.status == 429)
    assert refused.problem()["code"] == "too-many-misses"
    assert "mallory" in refused.problem()["detail"]
    assert refused.headers["Retry-After"] is not None
    # Another player of the title does not notice.
    honest = wire.get(stage.edge.url, f"/t/{title}/m/{release.root.digest}", stage.lease(title))
    assert digest_of(honest.body).hex() == release.root.digest


def test_made_up_titles_reach_the_origin_no_oftener_than_a_budget_allows(flooded: Stage) -> None:
    stage, title = flooded, flooded.new_title()
    stage.publish(title, NEW)
    assert wire.get(stage.edge.url, f"/t/{title}/h/live").status == 200
    allowed = reaching_upstream(stage, ADDRESS)
    paths = [f"/t/made-up-{number}/h/live" for number in range(FLOOD)]
    replies = flood(stage.edge.url, paths, {})
    allowed()
    assert {reply.status for reply in replies} == {404, 429}
    assert wire.get(stage.edge.url, f"/t/{title}/h/live").status == 200


def test_one_made_up_digest_asked_for_at_once_by_many_reaches_the_origin_once(
    flooded: Stage,
) -> None:
    stage, title = flooded, flooded.new_title()
    stage.publish(title, NEW)
    path = f"/t/{title}/m/{digest_of(b'made up').hex()}"
    before = len(stage.upstream.asked)
    replies = flood(stage.edge.url, [path] * 100, stage.lease(title))
    assert {reply.status for reply in replies} == {404}
    assert len(stage.upstream.asked) - before == 1
