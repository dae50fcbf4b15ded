"""Say in words what a change of trust changes: what a holder reads before signing."""

from __future__ import annotations

from collections.abc import Iterable

from tuf.api.metadata import Root, Targets

from manifests.trust_change import (
    Change,
    root_after,
    root_before,
    said_after,
    said_before,
    targets_before,
)
from manifests.trust_metadata import RoleKeys, publishers_of, role_keys, titles_of
from manifests.trust_plan import A_SHARD
from manifests.trust_roles import RELEASE, ROOT, TARGETS, PublisherId, publisher_role


def summary(change: Change) -> list[str]:
    """Return a line for each thing that would change."""
    lines = []
    root = root_after(change)
    if root is not None:
        lines += _root_lines(root_before(change), root)
    if TARGETS in change.after:
        lines += _targets_lines(targets_before(change), said_after(change, TARGETS))
    for role in change.after:
        if role.startswith("shard-"):
            lines += _shard_lines(role, said_before(change, role), said_after(change, role))
        elif role.startswith("publisher-"):
            said = said_after(change, role)
            lines.append(
                f"{role}: version {said.version} says the same {len(said.targets)} releases, "
                "signed by its new key"
            )
    return lines


def _root_lines(before: Root, after: Root) -> list[str]:
    lines = [
        line
        for role in sorted(after.roles)
        for line in _key_lines(role, role_keys(before, role), role_keys(after, role))
    ]
    return [f"{ROOT}: version {after.version}, expires {after.expires:%Y-%m-%d}", *lines]


def _targets_lines(before: Targets, after: Targets) -> list[str]:
    return [
        f"{TARGETS}: version {after.version}, expires {after.expires:%Y-%m-%d}",
        *_key_lines("shards", role_keys(before, A_SHARD), role_keys(after, A_SHARD)),
        *_key_lines(RELEASE, role_keys(before, RELEASE), role_keys(after, RELEASE)),
    ]


def _shard_lines(role: str, before: Targets | None, after: Targets) -> list[str]:
    lines = [f"{role}: version {after.version}, expires {after.expires:%Y-%m-%d}"]
    had = [] if before is None else publishers_of(before)
    for publisher in sorted({*had, *publishers_of(after)}):
        lines += _publisher_lines(publisher, before, after)
    return lines


def _publisher_lines(publisher: PublisherId, before: Targets | None, after: Targets) -> list[str]:
    role = publisher_role(publisher)
    if publisher not in publishers_of(after):
        return [f"publisher {publisher} is taken out: consoles refuse all that it signed"]
    had = [] if before is None else titles_of(before, publisher)
    has = titles_of(after, publisher)
    keys = RoleKeys(()) if before is None else role_keys(before, role)
    lines = _key_lines(f"publisher {publisher}", keys, role_keys(after, role))
    lines += [f"publisher {publisher} has title {each} now" for each in _not_in(has, had)]
    lines += [f"publisher {publisher} loses title {each}" for each in _not_in(had, has)]
    return lines


def _key_lines(what: str, before: RoleKeys, after: RoleKeys) -> list[str]:
    old, new = ({key.keyid for key in keys.keys} for keys in (before, after))
    lines = [f"{what}: key {each[:12]} may sign" for each in _not_in(new, old)]
    lines += [f"{what}: key {each[:12]} may sign no more" for each in _not_in(old, new)]
    if before.keys and before.threshold != after.threshold:
        lines.append(f"{what}: {after.threshold} must sign, not {before.threshold}")
    return lines


def _not_in(some: Iterable[str], others: Iterable[str]) -> list[str]:
    return sorted(set(some) - set(others))
