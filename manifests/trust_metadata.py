"""What each role says: the first metadata of a repository, and every change of it.

Each function returns the next version of one role's signed part and changes nothing that it was
given; :func:`manifests.trust_document.sign` makes a document of it. A *role's keys* are public keys
and how many of them must sign.

Bins, shards and publishers have no metadata before something is said in them: a role that the
snapshot does not name says nothing. So a new repository is five documents, not three hundred.

A snapshot names versions only. Versions are never used twice, and who could sign other bytes under
a version already used has the role's own key: a hash would add 64 incompressible digits a role and
keep out nobody.

Source: ``docs/format/trust.md``; The Update Framework 1.0, section 4; TAP 15 (succinct bins).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from securesystemslib.signer import Key
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    MetaFile,
    Role,
    Root,
    Signed,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)

from kit.errors import Conflict
from manifests.documents import Release, encode
from manifests.names import Channel, TitleId, title_id
from manifests.trust_expiry import expiry_of
from manifests.trust_roles import (
    BIN_PREFIX,
    BOUND_ROLE,
    HEAD_PATHS,
    RELEASE,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    PublisherId,
    build_path,
    head_path,
    publisher_id,
    publisher_role,
    shard_paths,
    shard_role,
    shard_roles,
    title_paths,
)

BIN_BITS = 9
"""512 bins. With 20,000 heads that is 39 a bin; with fewer bins each is larger, with more it is the
snapshot, and a bundle has one of each (``benchmarks/results/trust.md``)."""

S = TypeVar("S", Root, Targets, Snapshot, Timestamp)
Said = Root | Targets | Snapshot | Timestamp
"""What any role says."""


@dataclass(frozen=True, slots=True)
class RoleKeys:
    """The public keys of a role, and how many of them must sign."""

    keys: tuple[Key, ...]
    threshold: int = 1


def root_with(before: Root | None, roles: Mapping[str, RoleKeys], now_s: float) -> Root:
    """Return the root in which ``roles`` have these keys; others keep theirs.

    The first root, ``before`` is None, needs all of root, targets, snapshot and timestamp.
    """
    kept = {} if before is None else {name: role_keys(before, name) for name in before.roles}
    all_roles = {**kept, **roles}
    return Root(
        version=_next_version(before),
        expires=expiry_of(ROOT, now_s),
        keys={key.keyid: key for each in all_roles.values() for key in each.keys},
        roles={name: Role(_ids(each), each.threshold) for name, each in all_roles.items()},
        consistent_snapshot=True,
    )


def targets_with(
    before: Targets | None, *, shards: RoleKeys, release: RoleKeys, now_s: float
) -> Targets:
    """Return the targets role: heads are the platform's to vouch for, build paths the shards'."""
    roles = [DelegatedRole(RELEASE, _ids(release), release.threshold, True, [HEAD_PATHS])]
    roles += [
        DelegatedRole(shard, _ids(shards), shards.threshold, True, [shard_paths(shard)])
        for shard in shard_roles()
    ]
    return Targets(
        version=_next_version(before),
        expires=expiry_of(TARGETS, now_s),
        delegations=Delegations(_by_id([release, shards]), {role.name: role for role in roles}),
    )


def release_with(
    before: Targets | None, bins: RoleKeys, now_s: float, *, bin_bits: int = BIN_BITS
) -> Targets:
    """Return the release role, which hands heads to ``2**bin_bits`` bins by the hash of a path."""
    succinct = SuccinctRoles(_ids(bins), bins.threshold, bin_bits, BIN_PREFIX)
    return _delegated(
        RELEASE,
        _next_version(before),
        now_s,
        delegations=Delegations(_by_id([bins]), succinct_roles=succinct),
    )


def shard_with(
    before: Targets | None,
    publisher: PublisherId,
    keys: RoleKeys,
    titles: Iterable[TitleId],
    now_s: float,
) -> Targets:
    """Return the publisher's shard, in which it has exactly these keys and these titles.

    Raises:
        InvalidInput: A publisher or title is called what none may be.
    """
    name = publisher_role(publisher_id(publisher))
    # A name that is none could be a pattern of others' paths.
    paths = [title_paths(publisher, title_id(title)) for title in sorted(set(titles))]
    role = DelegatedRole(name, _ids(keys), keys.threshold, True, paths)
    return _shard(before, shard_role(publisher), {name: role}, keys.keys, now_s)


def shard_without(before: Targets, publisher: PublisherId, now_s: float) -> Targets:
    """Return the publisher's shard without it: nothing that it signed is believed any more."""
    return _shard(before, shard_role(publisher), {publisher_role(publisher): None}, (), now_s)


def vouched(
    before: Targets | None, publisher: PublisherId, releases: Iterable[Release], now_s: float
) -> Targets:
    """Return the publisher's role with a target for each of ``releases``; all others stay.

    Raises:
        Conflict: It vouches for another release under the same counter.
    """
    role = publisher_role(publisher)
    targets = {} if before is None else dict(before.targets)
    for release in releases:
        target = build_target(publisher, release)
        if targets.setdefault(target.path, target) != target:
            raise Conflict(
                f"{role} vouches for another release {release.counter} of {release.title}: "
                "a counter is used once"
            )
    return _delegated(role, _next_version(before), now_s, targets=targets)


def pointed(
    before: Targets | None, bin_role: str, targets: Iterable[TargetFile], now_s: float
) -> Targets:
    """Return the bin with these head targets, each in the place of its channel's former one."""
    kept = {} if before is None else before.targets
    changed = {target.path: target for target in targets}
    return _delegated(bin_role, _next_version(before), now_s, targets={**kept, **changed})


def again(role: str, before: S, now_s: float) -> S:
    """Return the next version of what ``role`` said: the same, good for a lifetime from now."""
    fields = before.to_dict()
    after = type(before).from_dict(fields)
    after.version = before.version + 1
    after.expires = expiry_of(role, now_s)
    return after


def snapshot_with(before: Snapshot | None, versions: Mapping[str, int], now_s: float) -> Snapshot:
    """Return the snapshot in which these roles have these versions; others keep theirs."""
    kept = {} if before is None else before.meta
    changed = {f"{role}.json": MetaFile(version) for role, version in versions.items()}
    return Snapshot(
        version=_next_version(before),
        expires=expiry_of(SNAPSHOT, now_s),
        meta={**kept, **changed},
    )


def timestamp_with(before: Timestamp | None, snapshot_version: int, now_s: float) -> Timestamp:
    """Return the timestamp that names this version of the snapshot."""
    return Timestamp(
        version=_next_version(before),
        expires=expiry_of(TIMESTAMP, now_s),
        snapshot_meta=MetaFile(snapshot_version),
    )


def build_target(publisher: PublisherId, release: Release) -> TargetFile:
    """Return what a publisher says of a release: the length and SHA-256 of its document."""
    return _target(build_path(publisher, release.title, release.counter), release)


def head_target(publisher: PublisherId, release: Release, channel: Channel) -> TargetFile:
    """Return what the platform says of a channel: its release, and whose that is."""
    custom = {"publisher": publisher, "counter": release.counter}
    return _target(head_path(release.title, channel), release, {"custom": custom})


def bin_of(release: Targets, path: str) -> str:
    """Return the bin that a head path falls into."""
    succinct = None if release.delegations is None else release.delegations.succinct_roles
    assert succinct is not None
    return succinct.get_role_for_target(path)


def role_keys(by: Root | Targets, role: str) -> RoleKeys:
    """Return the keys that ``by`` gives to ``role``; none if it delegates nothing to it."""
    try:
        found = by.get_delegated_role(role)
    except ValueError:
        return RoleKeys((), 1)
    return RoleKeys(tuple(by.get_key(each) for each in found.keyids), found.threshold)


def titles_of(shard: Targets, publisher: PublisherId) -> list[TitleId]:
    """Return the titles that a shard gives to a publisher."""
    roles = {} if shard.delegations is None else shard.delegations.roles or {}
    role = roles.get(publisher_role(publisher))
    return [] if role is None else [TitleId(path.split("/")[3]) for path in role.paths or ()]


def publishers_of(shard: Targets) -> list[PublisherId]:
    """Return the publishers that a shard names."""
    roles = {} if shard.delegations is None else shard.delegations.roles or {}
    return [PublisherId(name.removeprefix("publisher-")) for name in roles]


def _shard(
    before: Targets | None,
    shard: str,
    changed: Mapping[str, DelegatedRole | None],
    new_keys: Sequence[Key],
    now_s: float,
) -> Targets:
    delegations = None if before is None else before.delegations
    kept = {} if delegations is None else delegations.roles or {}
    roles = {name: role for name, role in {**kept, **changed}.items() if role is not None}
    keys = {} if delegations is None else dict(delegations.keys)
    keys |= {key.keyid: key for key in new_keys}
    used = {keyid for role in roles.values() for keyid in role.keyids}
    return _delegated(
        shard,
        _next_version(before),
        now_s,
        delegations=Delegations({each: keys[each] for each in sorted(used)}, roles),
    )


def _delegated(
    role: str,
    version: int,
    now_s: float,
    *,
    targets: dict[str, TargetFile] | None = None,
    delegations: Delegations | None = None,
) -> Targets:
    return Targets(
        version=version,
        expires=expiry_of(role, now_s),
        targets=targets,
        delegations=delegations,
        unrecognized_fields={BOUND_ROLE: role},
    )


def _target(path: str, release: Release, fields: dict[str, object] | None = None) -> TargetFile:
    document = encode(release)
    hashes = {"sha256": hashlib.sha256(document).hexdigest()}
    return TargetFile(len(document), hashes, path, fields)


def _next_version(before: Signed | None) -> int:
    return 1 if before is None else before.version + 1


def _ids(keys: RoleKeys) -> list[str]:
    return [key.keyid for key in keys.keys]


def _by_id(roles: Iterable[RoleKeys]) -> dict[str, Key]:
    return {key.keyid: key for each in roles for key in each.keys}
