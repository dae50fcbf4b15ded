"""What the roles of trust say is what a stock client believes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest
from securesystemslib.formats import encode_canonical
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Root, Targets
from tuf.ngclient import Updater

from kit.errors import Conflict, Denied, FormatError, InvalidInput
from manifests.names import Channel, TitleId
from manifests.trust_document import (
    check_signed,
    parse,
    payload_of,
    sign,
    with_signature,
)
from manifests.trust_expiry import is_due
from manifests.trust_metadata import (
    again,
    publishers_of,
    role_keys,
    root_with,
    shard_with,
    shard_without,
    titles_of,
    vouched,
)
from manifests.trust_roles import (
    METADATA_SIZE_MAX,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    PublisherId,
    build_path,
    head_path,
    publisher_role,
    shard_role,
)
from tests.trust_repository import (
    NOW_S,
    TrustRepository,
    a_release,
    keys_of,
    offline_signer,
    trusted_root,
)

ACME = PublisherId("acme")
TITLE = TitleId("a-title")
HEAD = head_path(TITLE, Channel("live"))
FIRST_BUILD = build_path(ACME, TITLE, 1)


@pytest.fixture
def repository() -> TrustRepository:
    made = TrustRepository()
    made.enrol("acme", "a-title")
    made.publish("acme", a_release("a-title"))
    return made


def refreshed(repository: TrustRepository, folder: Path) -> Updater:
    updater = repository.updater(folder)
    # The client's time is the repository's.
    updater._trusted_set.reference_time = updater._trusted_set.reference_time.fromtimestamp(
        repository.now_s, updater._trusted_set.reference_time.tzinfo
    )
    updater.refresh()
    return updater


def test_stock_client_finds_both_witnesses_of_a_head(
    repository: TrustRepository, tmp_path: Path
) -> None:
    updater = refreshed(repository, tmp_path)
    head, build = updater.get_targetinfo(HEAD), updater.get_targetinfo(FIRST_BUILD)
    assert head is not None
    assert build is not None
    assert (head.length, head.hashes) == (build.length, build.hashes)
    assert head.custom == {"publisher": "acme", "counter": 1}


def test_publisher_is_not_believed_about_a_title_that_is_not_its_own(
    repository: TrustRepository, tmp_path: Path
) -> None:
    repository.enrol("mallory", "other-title")
    repository.vouch("mallory", a_release("a-title", 2))
    path = build_path(PublisherId("mallory"), TITLE, 2)
    assert refreshed(repository, tmp_path).get_targetinfo(path) is None


def test_role_that_no_snapshot_names_says_nothing(
    repository: TrustRepository, tmp_path: Path
) -> None:
    updater = refreshed(repository, tmp_path)
    with pytest.raises(RepositoryError):
        updater.get_targetinfo(build_path(PublisherId("nobody"), TITLE, 1))


def test_publisher_signed_by_another_key_is_refused(
    repository: TrustRepository, tmp_path: Path
) -> None:
    repository.sign_again(publisher_role(ACME), [offline_signer()])
    with pytest.raises(UnsignedMetadataError):
        refreshed(repository, tmp_path).get_targetinfo(FIRST_BUILD)


def test_publisher_taken_from_its_shard_is_not_believed(
    repository: TrustRepository, tmp_path: Path
) -> None:
    role = shard_role(ACME)
    before = cast("Targets", repository.targets(role))
    repository.put(role, shard_without(before, ACME, NOW_S), repository.holders)
    repository.commit([role])
    assert refreshed(repository, tmp_path).get_targetinfo(FIRST_BUILD) is None


def test_new_online_key_is_believed_once_root_names_it(
    repository: TrustRepository, tmp_path: Path
) -> None:
    refreshed(repository, tmp_path)
    signer = offline_signer()
    root = root_with(trusted_root(repository), {TIMESTAMP: keys_of(signer)}, NOW_S)
    repository.put(ROOT, root, repository.root_signers)
    with pytest.raises(UnsignedMetadataError):
        refreshed(repository, tmp_path)
    repository.online[TIMESTAMP] = signer
    repository.renew()
    assert refreshed(repository, tmp_path).get_targetinfo(HEAD) is not None


def test_threshold_of_two_needs_both_holders() -> None:
    repository = TrustRepository(holders=2)
    root = trusted_root(repository)
    signed = again(TARGETS, cast("Targets", repository.signed[TARGETS]), NOW_S)
    one = parse(sign(signed, repository.holders[:1]), Targets, TARGETS)
    with pytest.raises(Denied, match="targets, version 2: targets was signed by 1/2 keys"):
        check_signed(TARGETS, one, root)
    twice = parse(with_signature(one, repository.holders[0]), Targets, TARGETS)
    with pytest.raises(Denied):
        check_signed(TARGETS, twice, root)
    check_signed(TARGETS, parse(with_signature(one, repository.holders[1]), Targets, TARGETS), root)


def test_shard_keeps_no_key_that_nobody_uses(repository: TrustRepository) -> None:
    before = cast("Targets", repository.targets(shard_role(ACME)))
    signer = offline_signer()
    after = shard_with(before, ACME, keys_of(signer), titles_of(before, ACME), NOW_S)
    assert after.delegations is not None
    assert list(after.delegations.keys) == [signer.public_key.keyid]
    assert titles_of(after, ACME) == titles_of(before, ACME) == [TITLE]
    assert publishers_of(after) == [ACME]
    assert role_keys(after, publisher_role(ACME)) == keys_of(signer)


@pytest.mark.parametrize("title", ["*", "a-*", "a/b", "[a-z]", ""])
def test_pattern_of_others_titles_cannot_be_enrolled(title: str) -> None:
    with pytest.raises(InvalidInput):
        shard_with(None, ACME, keys_of(offline_signer()), [TitleId(title)], NOW_S)


def test_changes_leave_what_they_were_given(repository: TrustRepository) -> None:
    for role in (shard_role(ACME), publisher_role(ACME)):
        before = cast("Targets", repository.targets(role))
        was = payload_of(before)
        again(role, before, NOW_S + 60)
        if role == shard_role(ACME):
            shard_with(before, PublisherId("other"), keys_of(offline_signer()), [], NOW_S)
            shard_without(before, ACME, NOW_S)
        else:
            vouched(before, ACME, [a_release("a-title", 9)], NOW_S)
        assert payload_of(before) == was


def test_second_release_under_a_counter_is_refused(repository: TrustRepository) -> None:
    before = repository.targets(publisher_role(ACME))
    with pytest.raises(Conflict, match="another release 1 of a-title"):
        vouched(before, ACME, [a_release("a-title", 1, salt="other")], NOW_S)


def test_bytes_under_signature_are_canonical_json(repository: TrustRepository) -> None:
    for signed in repository.signed.values():
        assert payload_of(signed) == (encode_canonical(signed.to_dict()) or "").encode()


def test_document_reads_back_as_what_was_signed(repository: TrustRepository) -> None:
    for role, signed in repository.signed.items():
        document = sign(signed, [offline_signer()])
        assert parse(document, type(signed), role).signed == signed  # type: ignore[type-var]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-2],
        lambda data: data.replace(b'"version":1', b'"version":1.0'),
        lambda data: data.replace(b'"version":1', b'"version":NaN'),
        lambda data: data.replace(b'"signed"', b'"sealed"'),
        lambda _: b"[" * 100_000,
        lambda _: b" " * (METADATA_SIZE_MAX + 1),
        lambda data: data.replace(b'"_type":"targets"', b'"_type":"snapshot"'),
        lambda data: data.replace(b"publisher-acme", b"publisher-evil"),
        lambda data: data.replace(b'"x-playhead-role"', b'"x-other-role"'),
    ],
)
def test_damaged_document_is_refused(repository: TrustRepository, damage: object) -> None:
    assert callable(damage)
    document = repository.files["1.publisher-acme.json"]
    assert json.loads(document)
    with pytest.raises(FormatError, match="metadata of publisher-acme"):
        parse(damage(document), Targets, "publisher-acme")


def test_renewal_is_due_in_its_window(repository: TrustRepository) -> None:
    hour, day = 3600, 86400
    due = {
        role: [
            is_due(role, repository.signed[role], NOW_S + after)
            for after in (0, 0.9 * hour, hour, 3 * day, 4 * day, 16 * day, 310 * day)
        ]
        for role in (TIMESTAMP, SNAPSHOT, repository.bin_of(HEAD), ROOT, publisher_role(ACME))
    }
    assert [flags.index(True) for flags in due.values() if True in flags] == [2, 4, 5, 6]
    assert not any(due[publisher_role(ACME)])


def test_first_root_gives_every_role_its_keys(repository: TrustRepository) -> None:
    root = parse(repository.root, Root, ROOT)
    check_signed(ROOT, root, root.signed)
    assert role_keys(root.signed, SNAPSHOT) == keys_of(repository.online[SNAPSHOT])
    assert root.signed.consistent_snapshot
