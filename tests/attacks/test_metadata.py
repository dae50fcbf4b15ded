"""A mirror forges, ages, mixes, prolongs or withholds what vouches for a title.

Each attack is made twice: in the trust bundle, which is one request, and document by document, as
consoles ask where there is no bundle.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import count, repeat
from pathlib import Path

import pytest
from msgspec.structs import replace
from securesystemslib.signer import CryptoSigner

from manifests.documents import encode, parse_head
from manifests.names import TitleId
from manifests.trust_bundle import HEAD, encode_bundle, parse_bundle
from tests.attacks.hostile_trust import (
    Change,
    changed_unsigned,
    documents_of,
    instead,
    named,
    serving,
    signed_by,
    the_bin,
)
from tests.attacks.mirror import Answer, Asked, Attack, Honest
from tests.attacks.stage import LIVE, NEW, OLD, Stage, assert_refused, content_of

pytestmark = [pytest.mark.slow, pytest.mark.may_block]

UNTRUSTED = 10
ROLES = ["timestamp", "snapshot", "targets", "release-bin-", "shard-", "publisher-"]
both_ways = pytest.mark.parametrize("has_bundle", [True, False], ids=["bundle", "one by one"])
MEMORY_MAX = 300 << 20


@pytest.fixture
def title(stage: Stage) -> TitleId:
    """A title of one release."""
    title = stage.new_title()
    stage.publish(title, NEW)
    return title


@pytest.fixture
def game(stage: Stage, title: TitleId, tmp_path: Path) -> Path:
    """The same, installed; and something newer is published."""
    folder = tmp_path / "game"
    stage.console("install", title, folder).last_json()
    stage.publish(title, OLD)
    return folder


def assert_withstood(stage: Stage, attack: Attack, game: Path, *words: str, code: int) -> None:
    """Update under attack: refused in words, nothing lost; then without: the new build."""
    before = content_of(game)
    with stage.front.attacking(attack):
        done = stage.console("update", game)
    assert_refused(done, *words, exit_code=code)
    assert done.peak_rss_bytes < MEMORY_MAX
    assert content_of(game) == before
    assert stage.type("verify", game).exit_code == 0
    stage.console("update", game).last_json()
    assert content_of(game) != before


def assert_install_withstood(
    stage: Stage, attack: Attack, title: TitleId, folder: Path, *words: str
) -> None:
    """Install from nothing under attack: refused in words; then without: all of it."""
    with stage.front.attacking(attack):
        done = stage.console("install", title, folder)
    assert_refused(done, *words, exit_code=UNTRUSTED)
    assert done.peak_rss_bytes < MEMORY_MAX
    assert not folder.exists() or content_of(folder) == {}
    stage.console("install", title, folder).last_json()
    assert content_of(folder) == NEW


@pytest.mark.parametrize(
    ("role", "has_bundle"),
    [*((role, True) for role in ROLES), ("publisher-", False)],
)
def test_metadata_forged_with_a_key_of_the_mirrors_is_refused(
    stage: Stage, title: TitleId, tmp_path: Path, role: str, has_bundle: bool
) -> None:
    mallory = CryptoSigner.generate_ed25519()
    now = documents_of(stage, title)
    name = named(now, role)
    forged = signed_by(now[name], mallory, expires="2036-01-01T00:00:00Z")
    attack = serving(instead({name: forged}), has_bundle=has_bundle)
    assert_install_withstood(stage, attack, title, tmp_path / "game", name, "signed by 0/1 keys")


@pytest.mark.parametrize("role", ["timestamp", "publisher-"])
def test_metadata_that_was_changed_under_its_signature_is_refused(
    stage: Stage, title: TitleId, tmp_path: Path, role: str
) -> None:
    now = documents_of(stage, title)
    name = named(now, role)
    changed = changed_unsigned(now[name], expires="2036-01-01T00:00:00Z")
    attack = serving(instead({name: changed}))
    assert_install_withstood(stage, attack, title, tmp_path / "game", name, "signed by 0/1 keys")


@both_ways
def test_a_root_that_the_old_one_did_not_sign_is_refused(
    stage: Stage, title: TitleId, tmp_path: Path, has_bundle: bool
) -> None:
    mallory = CryptoSigner.generate_ed25519()
    root = (stage.folder / "data" / "keys" / "root.json").read_bytes()
    forged = {"2.root.json": signed_by(root, mallory, version=2)}

    def change(name: str, body: bytes) -> bytes | None:
        return forged.get(name, body)

    def attack(asked: Asked, forward: Honest) -> Answer:
        if not has_bundle or not asked.path.endswith("/trust"):
            return serving(change, has_bundle=has_bundle)(asked, forward)
        return with_documents(forward(), forged)

    words = ("2.root.json", "signed by 0/1 keys")
    assert_install_withstood(stage, attack, title, tmp_path / "game", *words)


def with_documents(answer: Answer, more: dict[str, bytes]) -> Answer:
    return answer.with_body(encode_bundle({**parse_bundle(answer.content), **more}))


@both_ways
def test_a_whole_older_state_is_refused_by_who_has_seen_a_newer_one(
    stage: Stage, title: TitleId, tmp_path: Path, has_bundle: bool
) -> None:
    """Rolled back: everything genuine, everything signed, and older than what was seen."""
    old = documents_of(stage, title)
    stage.publish(title, NEW)
    game = tmp_path / "game"
    stage.console("install", title, game).last_json()
    attack = serving(older(old), has_bundle=has_bundle)
    with stage.front.attacking(attack):
        # What the console verified before still holds, and says better than this mirror.
        assert stage.console("update", game).last_json()["release"] == 2
    assert content_of(game) == NEW
    [remembered] = (game / ".playhead" / "trust").glob("release-bin-*.json")
    remembered.unlink()
    stage.publish(title, OLD)
    assert_withstood(stage, attack, game, "timestamp.json", "version", code=UNTRUSTED)


def older(old: dict[str, bytes]) -> Change:
    """Serve an old head and timestamp; versioned documents are what they were."""
    return instead({"timestamp.json": old["timestamp.json"], HEAD: old[HEAD]} | old)


@both_ways
def test_a_head_that_is_older_or_forged_moves_nobody(
    stage: Stage, title: TitleId, tmp_path: Path, has_bundle: bool
) -> None:
    """Downgraded: what vouches is new and genuine, the head alone is not; what vouches counts."""
    old = parse_head(documents_of(stage, title)[HEAD], title, LIVE)
    stage.publish(title, OLD)
    new = parse_head(documents_of(stage, title)[HEAD], title, LIVE)
    forged = replace(new, release=replace(new.release, root=old.release.root))
    ahead = replace(old, release=replace(old.release, counter=999))
    for number, head in enumerate([old, forged, ahead]):
        folder = tmp_path / str(number)
        attack = serving(instead({HEAD: encode(head)}), has_bundle=has_bundle)
        with stage.front.attacking(attack):
            done = stage.console("install", title, folder)
        assert done.last_json()["release"] == 2
        assert content_of(folder) == OLD


@both_ways
def test_a_state_that_is_frozen_is_refused_once_it_has_expired(
    stage: Stage, title: TitleId, game: Path, has_bundle: bool
) -> None:
    """The timestamp is good for 48 hours; three days later a mirror still serves it."""
    frozen = documents_of(stage, title)
    before = content_of(game)
    with stage.front.attacking(serving(older(frozen), has_bundle=has_bundle)):
        done = stage.console_at("update", game, ahead_s=3 * 86400)
    assert_refused(done, "timestamp.json expired", "check the clock", exit_code=UNTRUSTED)
    assert content_of(game) == before
    stage.console("update", game).last_json()
    assert content_of(game) == OLD


@pytest.mark.parametrize(
    ("role", "has_bundle"),
    [("snapshot", True), ("release-bin-", True), ("publisher-", True), ("snapshot", False)],
)
def test_old_metadata_under_the_name_of_new_is_refused(
    stage: Stage, title: TitleId, tmp_path: Path, role: str, has_bundle: bool
) -> None:
    """Mixed and matched: each document genuine, but not of one state."""
    game = tmp_path / "game"
    stage.console("install", title, game).last_json()
    old = documents_of(stage, title)
    stage.publish(title, OLD)
    new = documents_of(stage, title)
    name = named(new, role)
    attack = serving(instead({name: old[named(old, role)]}), has_bundle=has_bundle)
    assert_withstood(stage, attack, game, name, code=UNTRUSTED)


@both_ways
def test_a_bin_in_the_place_of_another_of_equal_version_is_refused_and_breaks_nothing(
    stage: Stage, title: TitleId, tmp_path: Path, has_bundle: bool
) -> None:
    """Swapped: same keys, same version, same everything but the name under signature."""
    other = title
    while bin_of(stage, other)[1] == bin_of(stage, title)[1]:
        other = stage.new_title()
        stage.publish(other, NEW)
    while (ours := bin_of(stage, title)[0]) != (theirs := bin_of(stage, other)[0]):
        stage.publish(title if ours < theirs else other, NEW)
    documents, name = documents_of(stage, other), the_bin(documents_of(stage, title))
    found = the_bin(documents)
    attack = serving(instead({name: documents[found]}), has_bundle=has_bundle)
    words = (name, "must be what", found.partition(".")[2].removesuffix(".json"))
    assert_install_withstood(stage, attack, title, tmp_path / "game", *words)


def bin_of(stage: Stage, title: TitleId) -> tuple[int, str]:
    """Return the version and the name of the bin that a title's head is in."""
    version, _, rest = the_bin(documents_of(stage, title)).partition(".")
    return int(version), rest


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "publisher-"])
def test_metadata_that_is_withheld_is_named_and_nothing_is_installed_without(
    stage: Stage, title: TitleId, tmp_path: Path, role: str
) -> None:
    name = named(documents_of(stage, title), role)

    def withheld(asked_name: str, body: bytes) -> bytes | None:
        return None if asked_name == name else body

    words = (name, "no edge has it")
    assert_install_withstood(stage, serving(withheld), title, tmp_path / "game", *words)


def endless() -> Iterator[bytes]:
    return repeat(b"[" * (1 << 16))


def dripping() -> Iterator[bytes]:
    for _ in count():
        time.sleep(0.2)
        yield b" "


@pytest.mark.parametrize("body", [endless, dripping])
@pytest.mark.parametrize("what", ["/trust", "snapshot.json"])
def test_metadata_without_an_end_takes_neither_memory_nor_for_ever(
    stage: Stage, title: TitleId, tmp_path: Path, what: str, body: Callable[[], Iterator[bytes]]
) -> None:
    """As fast as can be, and so slowly that no stall is noticed."""

    def attack(asked: Asked, forward: Honest) -> Answer:
        if asked.path.endswith(what):
            return Answer(200, (("Content-Type", "application/json"),), body())
        if asked.path.endswith("/trust"):
            return Answer(404)
        return forward()

    started = time.monotonic()
    with stage.front.attacking(attack):
        done = stage.console("install", title, tmp_path, settings=["console.trust.within=2s"])
    assert_refused(done, exit_code=8)
    assert time.monotonic() - started < 30
    assert done.peak_rss_bytes < MEMORY_MAX
    assert content_of(tmp_path) == {}
    stage.console("install", title, tmp_path).last_json()
    assert content_of(tmp_path) == NEW


DEEP = {
    "JSON arrays": b"[" * 15_000,
    "JSON objects": b'{"a":' * 3_000,
    "JSON in what is signed": b'{"signatures":[],"signed":' + b"[" * 15_000,
    "CBOR arrays": b"\x81" * 15_000,
    "CBOR of endless arrays": b"\x9f" * 15_000,
    "a long number": b'{"format":' + b"9" * 15_000 + b"}",
}


@pytest.mark.parametrize(
    ("deep", "what"),
    [*((deep, "timestamp") for deep in DEEP), ("JSON arrays", "head"), ("a long number", "head")],
)
def test_depth_bombs_in_documents_are_refused_without_a_crash(
    stage: Stage, title: TitleId, tmp_path: Path, deep: str, what: str
) -> None:
    name = HEAD if what == "head" else "timestamp.json"
    with stage.front.attacking(serving(instead({name: DEEP[deep]}))):
        done = stage.console("install", title, tmp_path, settings=["console.give_up_after=0.2s"])
    assert_refused(done, what, exit_code=(6, 8, UNTRUSTED))
    assert done.peak_rss_bytes < MEMORY_MAX
    assert content_of(tmp_path) == {}
    stage.console("install", title, tmp_path).last_json()
    assert content_of(tmp_path) == NEW
