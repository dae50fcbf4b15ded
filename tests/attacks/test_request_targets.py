"""A client spells one object in many ways, so that a cache and what is behind it read differently.

If any other spelling were answered, a cache would keep one object under many keys, and one key
could be made to hold another object.
"""

from __future__ import annotations

import pytest

from manifests.documents import Release
from manifests.names import TitleId
from tests.attacks import wire
from tests.attacks.stage import NEW, Stage

pytestmark = [pytest.mark.slow, pytest.mark.may_block]

AN_EDGE_ELSEWHERE = "http://another-edge.example"

SPELLINGS = {
    "with a host": "{other}{path}",
    "with a host and no path": "{other}",
    "with an authority": "//another-edge.example{path}",
    "a fragment": "{path}#part",
    "an escaped letter": "/%74/{rest_of_t}",
    "an escaped letter in the name": "/t/%74itle{rest}",
    "an escaped slash": "/t%2F{rest_of_t}",
    "an escaped slash, small": "/t%2f{rest_of_t}",
    "a backslash": "/t\\{rest_of_t}",
    "two slashes": "//t/{rest_of_t}",
    "two slashes inside": "/t//{rest_of_t}",
    "a slash at the end": "{path}/",
    "a dot": "/./t/{rest_of_t}",
    "two dots": "/t/x/../{rest_of_t}",
    "two dots, escaped": "/t/x/%2e%2e/{rest_of_t}",
    "two dots that leave": "/../t/{rest_of_t}",
    "an escaped zero byte": "{path}%00",
    "an escape that is none": "{path}%zz",
    "a query": "{path}?x=1",
    "an empty query": "{path}?",
    "a parameter": "{path};x=1",
    "capitals": "/T/{rest_of_t}",
    "a digest in capitals": "{path_up}",
    "no slash": "t/{rest_of_t}",
    "an asterisk": "*",
    "a letter beyond ASCII": "/t/tïtle{rest}",
}


def spelled(spelling: str, path: str) -> str:
    folder, _, digest = path.rpartition("/")
    return spelling.format(
        other=AN_EDGE_ELSEWHERE,
        path=path,
        path_up=f"{folder}/{digest.upper()}",
        rest_of_t=path.removeprefix("/t/"),
        rest=path.removeprefix("/t/title"),
    ).replace("/%74/{rest_of_t}", "")


@pytest.fixture(scope="module")
def release(shared_stage: Stage) -> Release:
    return shared_stage.publish(shared_stage.new_title(), NEW)


@pytest.mark.parametrize("role", ["origin", "edge"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_object_has_one_spelling_and_every_other_is_refused_and_not_cached(
    stage: Stage, release: Release, spelling: str, role: str
) -> None:
    server = stage.origin if role == "origin" else stage.edge
    path = f"/t/{release.title}/m/{release.root.digest}"
    lease = stage.lease(TitleId(release.title))
    reply = wire.get(server.url, spelled(SPELLINGS[spelling], path), lease)
    assert reply.status in {400, 404, 405}, reply
    assert release.root.digest not in reply.headers.get("ETag", "")
    if reply.headers["Content-Type"] == "application/problem+json":
        assert reply.problem()["detail"]
    assert stage.upstream.asked == [], "the edge asked upstream for a spelling that nothing has"
    honest = wire.get(server.url, path, lease)
    assert honest.status == 200
    assert len(honest.body) == release.root.size
