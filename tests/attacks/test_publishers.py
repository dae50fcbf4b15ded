"""A publisher that is logged in reaches for another's title, or for what is published already."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from chunks.bundle import BundleWriter
from chunks.chunk_id import digest_of
from manifests.documents import Head, Release, encode
from manifests.names import TitleId
from origin.publishing.routes import BASE
from tests.attacks import wire
from tests.attacks.stage import LIVE, NEW, OLD, Stage
from tests.attacks.test_device_codes import approve, begin, poll

pytestmark = [pytest.mark.slow, pytest.mark.may_block]


@dataclass(frozen=True)
class Mallory:
    """A publisher with a title of its own and a token for it."""

    stage: Stage
    title: TitleId
    token: str

    def ask(self, method: str, path: str, body: bytes | None = None) -> wire.Reply:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        if method == "PUT" and any(f"/{kind}/" in path for kind in "bmrs"):
            headers["If-None-Match"] = "*"  # as whatever is written once must be stored
        url = self.stage.origin.url
        return wire.get(url, f"{BASE}/{path}", headers, method=method, body=body)


@pytest.fixture
def mallory(stage: Stage) -> Mallory:
    title = stage.new_title()
    address = f"127.0.1.{len(stage.used_titles) % 250 + 1}"
    _, login = begin(stage, address)
    approve(stage, login["user_code"], title)
    status, granted = poll(stage, login["device_code"], address)
    assert status == 200
    return Mallory(stage, title, granted["access_token"])


@pytest.fixture
def victim(stage: Stage, title: TitleId) -> Release:
    return stage.publish(title, OLD)


def snapshot(stage: Stage, title: str) -> dict[str, bytes]:
    folder = stage.objects / "t" / title
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_publisher_reads_writes_and_deletes_nothing_of_anothers_title(
    stage: Stage, mallory: Mallory, victim: Release
) -> None:
    before = snapshot(stage, victim.title)
    folder = f"t/{victim.title}"
    head = encode(Head(title=victim.title, channel=LIVE, release=victim))
    attacks = [
        ("GET", f"list?prefix={folder}/", None),
        ("GET", "list?prefix=t/", None),
        ("GET", "list?prefix=", None),
        ("GET", f"objects/{folder}/h/live", None),
        ("PUT", f"objects/{folder}/h/live", head),
        ("PUT", f"objects/{folder}/r/0000000002", encode(victim)),
        ("PUT", f"objects/{folder}/w/0000000001-mallory", b"{}"),
        ("POST", "delete", json.dumps({"keys": [f"{folder}/h/live"]}).encode()),
        ("PUT", f"trust/{victim.title}/live/0000000001", b"{}"),
        ("GET", f"trust/{victim.title}/live/0000000001", None),
        ("PUT", "objects/trust/timestamp.json", b"{}"),
        ("GET", "objects/trust/timestamp.json", None),
        ("PUT", f"objects/t/{mallory.title}/../{victim.title}/h/live", head),
        ("PUT", f"objects/t/{mallory.title}/%2e%2e/{victim.title}/h/live", head),
    ]
    for method, path, body in attacks:
        reply = mallory.ask(method, path, body)
        assert reply.status in {400, 403, 404, 422}, (method, path, reply)
        assert reply.problem()["detail"]
    assert snapshot(stage, victim.title) == before
    assert mallory.ask("GET", f"list?prefix=t/{mallory.title}/").status == 200


def test_other_bytes_under_a_taken_id_are_taken_in_by_nobody(
    stage: Stage, mallory: Mallory
) -> None:
    """Before it is stored, and after: what a digest names is written once."""
    right = BundleWriter(1 << 20)
    right.add(digest_of(b"right"), 5, b"right")
    bundle = right.close()
    poison = BundleWriter(1 << 20)
    poison.add(digest_of(b"right"), 5, b"wrong")
    poisoned = poison.close()
    key = f"objects/t/{mallory.title}/b/{bundle.bundle_id.hex()}"
    for body in (bytes(poisoned.data), bytes(bundle.data)[:-1], b""):
        reply = mallory.ask("PUT", key, body)
        assert 400 <= reply.status < 600, reply
        assert reply.problem()["detail"]
    assert not snapshot(stage, mallory.title)
    assert mallory.ask("PUT", key, bytes(bundle.data)).status in {200, 201, 204}
    for body in (bytes(poisoned.data), b""):
        assert json.loads(mallory.ask("PUT", key, body).body) == {"stored": False}
    assert mallory.ask("GET", key).body == bundle.data


def test_a_release_of_another_titles_chunks_is_taken_in_by_nobody(
    stage: Stage, mallory: Mallory, victim: Release
) -> None:
    """Digests are no secret: whoever knows them may not have a title serve what they name."""
    theirs = (stage.objects / "t" / victim.title / "m" / victim.root.digest).read_bytes()
    renamed = theirs.replace(victim.title.encode(), mallory.title.encode())
    root = f"objects/t/{mallory.title}/m/{digest_of(renamed).hex()}"
    assert mallory.ask("PUT", root, renamed).status in {200, 201, 204}
    stolen = Release(
        title=mallory.title,
        counter=1,
        version=victim.version,
        created_at=victim.created_at,
        root=type(victim.root)(digest=digest_of(renamed).hex(), size=len(renamed)),
    )
    reply = mallory.ask("PUT", f"objects/t/{mallory.title}/r/0000000001", encode(stolen))
    assert reply.status in {404, 409, 422}, reply
    assert victim.title not in reply.problem()["detail"]
    assert stage.publish(TitleId(victim.title), NEW).counter == 2


def test_a_publisher_whose_login_was_revoked_publishes_nothing(
    stage: Stage, mallory: Mallory
) -> None:
    assert mallory.ask("GET", "whoami").status == 200
    words = (f"studio-{mallory.title}", "--url", stage.origin.url)
    done = stage.type("publishers", "revoke", *words, "--json")
    assert done.exit_code == 0, done.errors
    for method, path in (("GET", "whoami"), ("PUT", f"objects/t/{mallory.title}/w/1-x")):
        reply = mallory.ask(method, path, b"{}" if method == "PUT" else None)
        assert reply.status == 401
        assert "revoked" in reply.problem()["detail"]


@pytest.mark.parametrize("token", ["", "x", "e30.e30.", "A" * 7000, "é"])
def test_what_is_no_token_publishes_nothing(stage: Stage, token: str) -> None:
    mallory = Mallory(stage, stage.new_title(), token)
    for method, path in (("GET", "whoami"), ("PUT", f"objects/t/{mallory.title}/h/live")):
        reply = mallory.ask(method, path, b"{}" if method == "PUT" else None)
        assert reply.status == 401
        assert reply.problem()["detail"]
