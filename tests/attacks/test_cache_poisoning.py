"""A client sends what is no part of a cache's key, so that its answer is served to all others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chunks.chunk_id import digest_of
from manifests.documents import Release
from manifests.names import TitleId
from tests.attacks import wire
from tests.attacks.stage import Stage

pytestmark = [pytest.mark.slow, pytest.mark.may_block]

EVIL = "evil.example"

HEADERS: dict[str, dict[str, str]] = {
    "another host": {"Host": EVIL},
    "a forwarded host": {"X-Forwarded-Host": EVIL, "X-Host": EVIL, "X-Forwarded-Server": EVIL},
    "forwarded": {"Forwarded": f"host={EVIL};proto=https", "X-Forwarded-Proto": "https"},
    "a forwarded path": {"X-Forwarded-Prefix": "/evil", "X-Original-URL": "/t/evil/h/live"},
    "a rewritten path": {"X-Rewrite-URL": "/healthz"},
    "another method": {"X-HTTP-Method-Override": "DELETE", "X-Method": "POST"},
    "codings": {"Accept-Encoding": "gzip, br, zstd", "TE": "trailers, deflate"},
    "no identity": {"Accept-Encoding": "identity;q=0, *;q=0"},
    "another type": {"Accept": "text/html", "Accept-Language": "xx"},
    "cookies": {"Cookie": "session=evil", "Authorization": "Basic ZXZpbDpldmls"},
    "a purge": {"Cache-Control": "no-store", "Pragma": "no-cache", "X-Purge": "1"},
    "a range": {"Range": "bytes=0-0"},
    "a range at the end": {"Range": "bytes=-1"},
    "a range outside": {"Range": "bytes=99999999-"},
    "a range backwards": {"Range": "bytes=9-1"},
    "many ranges": {"Range": "bytes=" + ",".join("0-" for _ in range(900))},
    "a range of digits": {"Range": "bytes=" + "9" * 4000 + "-"},
    "a range in another unit": {"Range": "lines=0-1"},
    "a range if another": {"Range": "bytes=0-0", "If-Range": '"evil"'},
    "what it has": {"If-None-Match": "*"},
    "what it lacks": {"If-Match": '"evil"', "If-Unmodified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"},
    "an upgrade": {"Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__"},
    "hop by hop": {"Connection": "close, CTA-Common-Access-Token, Content-Length, ETag"},
    "an expectation": {"Expect": "200-ok"},
}


@pytest.mark.parametrize("attack", HEADERS)
def test_what_is_no_part_of_the_key_changes_nothing_for_the_next(
    stage: Stage, fresh: Release, attack: str
) -> None:
    """Each time on an edge that has not cached the object yet: the fill is what is attacked."""
    lease = stage.lease(TitleId(fresh.title))
    for path in (f"/t/{fresh.title}/m/{fresh.root.digest}", f"/t/{fresh.title}/h/live"):
        attacked = wire.get(stage.edge.url, path, lease | HEADERS[attack])
        assert EVIL not in str(attacked.headers)
        assert EVIL.encode() not in attacked.body
        upstream = [asked for asked in stage.upstream.asked if asked.path == path]
        assert len(upstream) <= 1
        for asked in upstream:
            assert not {"range", "cookie", "if-none-match"} & {n.lower() for n in asked.headers}
            assert EVIL not in str(asked.headers)
        honest = wire.get(stage.edge.url, path, lease)
        origin = wire.get(stage.origin.url, path, lease)
        assert (honest.status, honest.body) == (200, origin.body)
        assert honest.headers["ETag"] == f'"{digest_of(honest.body).hex()}"'
        assert honest.headers["Content-Encoding"] is None


def test_an_answer_of_upstream_that_says_more_than_it_should_is_kept_without_it(
    stage: Stage, fresh: Release
) -> None:
    """Headers of a hostile upstream go no further: what an edge says of an object is its own."""
    path = f"/t/{fresh.title}/m/{fresh.root.digest}"
    said = (("Set-Cookie", "evil=1"), ("Link", f"<http://{EVIL}>"), ("Cache-Control", "private"))
    with stage.upstream.attacking(lambda asked, forward: replace(forward(), headers=said)):
        wire.get(stage.edge.url, path, stage.lease(TitleId(fresh.title)))
    kept = wire.get(stage.edge.url, path, stage.lease(TitleId(fresh.title)))
    assert kept.status == 200
    assert kept.headers["Set-Cookie"] is None
    assert EVIL not in str(kept.headers)
    assert "immutable" in kept.headers["Cache-Control"]


@pytest.fixture
def fresh(stage: Stage, title: TitleId) -> Release:
    """A release that the edge has never heard of."""
    return stage.publish(title, {"game.bin": title.encode() * 4000})
