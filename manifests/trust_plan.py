"""Plan changes of who may sign what: pure, from what is said now to what holders shall sign.

Whatever a change would leave unsigned comes along to be signed anew: targets if their holders
change, each shard that its present signatures would not carry any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from securesystemslib.signer import Key
from tuf.api.metadata import Root, Targets

from kit.errors import Conflict, Denied, NotFound
from manifests.names import TitleId
from manifests.trust_change import Change
from manifests.trust_document import check_signed, parse, sign
from manifests.trust_expiry import is_due
from manifests.trust_metadata import (
    RoleKeys,
    again,
    publishers_of,
    role_keys,
    root_with,
    shard_with,
    shard_without,
    targets_with,
    titles_of,
)
from manifests.trust_roles import (
    RELEASE,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    PublisherId,
    publisher_role,
    shard_role,
    shard_roles,
)

A_SHARD = shard_roles()[0]
"""All shards have the same keys."""


@dataclass(frozen=True)
class Standing:
    """What roles say now, as documents: root, targets and whatever shards and publishers do."""

    documents: Mapping[str, bytes]
    now_s: float

    @property
    def root(self) -> Root:
        """What root says."""
        return parse(self.documents[ROOT], Root, ROOT).signed

    @property
    def targets(self) -> Targets:
        """What targets say."""
        return parse(self.documents[TARGETS], Targets, TARGETS).signed

    def said(self, role: str) -> Targets | None:
        """Return what a shard or publisher says; None if nothing yet."""
        data = self.documents.get(role)
        return None if data is None else parse(data, Targets, role).signed


def with_role_keys(now: Standing, keys: Mapping[str, RoleKeys]) -> Change:
    """Plan other keys for any of root, targets (and so shards), snapshot, timestamp, release.

    Raises:
        Conflict: A role would have fewer keys than must sign, or nothing would change.
    """
    changed = {role: each for role, each in keys.items() if each != keys_of(now, role)}
    if not changed:
        raise Conflict("nothing would change: these keys and thresholds are in force")
    for role, each in changed.items():
        if not 1 <= each.threshold <= len(each.keys):
            raise Conflict(
                f"role {role} would have {len(each.keys)} keys, and {each.threshold} must sign"
            )
    after: dict[str, Root | Targets] = {}
    of_root = {role: each for role, each in changed.items() if role != RELEASE}
    if of_root:
        after[ROOT] = root_with(now.root, of_root, now.now_s)
    if changed.keys() & {TARGETS, RELEASE}:
        shards = changed.get(TARGETS, keys_of(now, TARGETS))
        release = changed.get(RELEASE, keys_of(now, RELEASE))
        targets = targets_with(now.targets, shards=shards, release=release, now_s=now.now_s)
        after |= {TARGETS: targets, **_shards_left_unsigned(now, targets)}
    return _change(now, after)


def with_publisher(
    now: Standing, publisher: PublisherId, keys: RoleKeys | None, titles: Iterable[TitleId]
) -> Change:
    """Plan titles for a publisher, besides those it has; ``keys`` replace those it has, if any.

    If the keys are replaced, what it said comes along to be signed by the new ones.

    Raises:
        Conflict: A title is another publisher's, or nothing would change.
        NotFound: A new publisher needs keys.
    """
    role, name = shard_role(publisher), publisher_role(publisher)
    before = now.said(role)
    had = RoleKeys(()) if before is None else role_keys(before, name)
    keys = keys or had
    if not keys.keys:
        raise NotFound(f"publisher {publisher} is not enrolled yet: give its public key")
    have = [] if before is None else titles_of(before, publisher)
    wanted = sorted({*have, *titles})
    for title in wanted:
        if (owner := owner_of(now, title)) not in (None, publisher):
            raise Conflict(f"title {title} is enrolled for publisher {owner}")
    if keys == had and wanted == have:
        raise Conflict(f"nothing would change: publisher {publisher} has these keys and titles")
    after: dict[str, Root | Targets] = {
        role: shard_with(before, publisher, keys, wanted, now.now_s)
    }
    said = now.said(name)
    if said is not None and keys != had:
        after[name] = again(name, said, now.now_s)
    return _change(now, after)


def without_publisher(
    now: Standing, publisher: PublisherId, titles: Iterable[TitleId] = ()
) -> Change:
    """Plan a publisher without these titles, or, if none are named, without any right.

    Raises:
        NotFound: No such publisher, or title of its.
    """
    role = shard_role(publisher)
    before = now.said(role)
    if before is None or publisher not in publishers_of(before):
        raise NotFound(f"publisher {publisher} is not enrolled")
    gone, have = set(titles), titles_of(before, publisher)
    if not gone:
        return _change(now, {role: shard_without(before, publisher, now.now_s)})
    if not gone <= set(have):
        raise NotFound(f"publisher {publisher} has not the titles {sorted(gone - set(have))}")
    keys = role_keys(before, publisher_role(publisher))
    left = [title for title in have if title not in gone]
    return _change(now, {role: shard_with(before, publisher, keys, left, now.now_s)})


def signed_anew(now: Standing, roles: Iterable[str]) -> Change:
    """Plan that holders say the same again, for another year.

    Raises:
        Conflict: No role is named, or one says nothing.
    """
    after: dict[str, Root | Targets] = {}
    for role in roles:
        said = now.said(role) if role not in (ROOT, TARGETS) else None
        if role == ROOT:
            after[role] = again(role, now.root, now.now_s)
        elif role == TARGETS:
            after[role] = again(role, now.targets, now.now_s)
        elif said is not None:
            after[role] = again(role, said, now.now_s)
        else:
            raise Conflict(f"role {role} says nothing yet: there is nothing to sign anew")
    if not after:
        raise Conflict("nothing expires soon")
    return _change(now, after)


def due_roles(now: Standing) -> list[str]:
    """Return the roles of holders and publishers that are to be signed anew."""
    said: dict[str, Root | Targets | None] = {ROOT: now.root, TARGETS: now.targets}
    said |= {role: now.said(role) for role in now.documents if role not in said}
    return [
        role for role, each in said.items() if each is not None and is_due(role, each, now.now_s)
    ]


def keys_of(now: Standing, role: str) -> RoleKeys:
    """Return the keys of a role that root or targets give keys to."""
    if role in (ROOT, TARGETS, SNAPSHOT, TIMESTAMP):
        return role_keys(now.root, role)
    return role_keys(now.targets, role)


def added(keys: RoleKeys, key: Key, threshold: int | None = None) -> RoleKeys:
    """Return the keys and one more."""
    kept = [each for each in keys.keys if each.keyid != key.keyid]
    return RoleKeys((*kept, key), threshold or keys.threshold)


def removed(keys: RoleKeys, key_id: str, threshold: int | None = None) -> RoleKeys:
    """Return the keys without one."""
    kept = tuple(each for each in keys.keys if each.keyid != key_id)
    return replace(keys, keys=kept, threshold=threshold or keys.threshold)


def replaced(keys: RoleKeys, key_id: str, key: Key) -> RoleKeys:
    """Return the keys with one in the place of another."""
    return replace(keys, keys=tuple(key if e.keyid == key_id else e for e in keys.keys))


def owner_of(now: Standing, title: TitleId) -> PublisherId | None:
    """Return the publisher that a title is enrolled for."""
    for role in shard_roles():
        shard = now.said(role)
        for publisher in [] if shard is None else publishers_of(shard):
            if shard is not None and title in titles_of(shard, publisher):
                return publisher
    return None


def _shards_left_unsigned(now: Standing, targets: Targets) -> dict[str, Targets]:
    found = {}
    for role in shard_roles():
        if role not in now.documents:
            continue
        metadata = parse(now.documents[role], Targets, role)
        try:
            check_signed(role, metadata, targets)
        except Denied:
            found[role] = again(role, metadata.signed, now.now_s)
    return found


def _change(now: Standing, after: Mapping[str, Root | Targets]) -> Change:
    before = {ROOT, TARGETS, *after, *_shards_of(after)} & now.documents.keys()
    return Change(
        before={role: now.documents[role].decode() for role in sorted(before)},
        after={role: sign(said, []).decode() for role, said in after.items()},
    )


def _shards_of(roles: Iterable[str]) -> set[str]:
    return {
        shard_role(PublisherId(role.removeprefix("publisher-")))
        for role in roles
        if role.startswith("publisher-")
    }
