"""Look after keys and repository: what expires, who may sign, what does not fit together."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from typing import Literal

import msgspec
from tuf.api.metadata import Root, Targets

from kit.clock import Clock
from kit.errors import PlayheadError
from kit.secret_files import open_to_others
from manifests.names import TitleId
from manifests.trust_expiry import is_due, left_s, lifetime_of
from manifests.trust_metadata import Said, publishers_of, role_keys, titles_of
from manifests.trust_roles import (
    BIN_PREFIX,
    RELEASE,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    PublisherId,
)
from origin.draft import is_named
from origin.registry import Registry
from origin.trust_reader import State
from playhead.keys.folder import KeyFolder

DAY_S = 86400.0


class RoleHealth(msgspec.Struct, frozen=True, kw_only=True):
    """A role, or, of those that are many, the one that expires first."""

    role: str
    version: int
    expires: str
    left_days: float
    threshold: int
    key_ids: tuple[str, ...]
    is_due: bool
    """Whether it should have been signed anew by now."""


class Ailment(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is wrong, and what to do."""

    what: Literal["expiry", "title", "keys", "permissions", "signature"]
    detail: str


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """What the doctor found."""

    roles: tuple[RoleHealth, ...]
    publisher_count: int
    title_count: int
    ailments: tuple[Ailment, ...]
    notes: tuple[str, ...]
    """What is allowed and could be safer."""


async def examine(folder: KeyFolder, registry: Registry, clock: Clock) -> Diagnosis:
    """Return how keys and repository are; changes nothing.

    Raises:
        NotFound: There is no repository.
        Denied, FormatError, IntegrityError: Its top is not to be believed.
    """
    state = await registry.state()
    found = _Examination(state, clock.now())
    found.top()
    for role in state.roles():
        if role not in (TARGETS, RELEASE):
            await found.below(registry, role)
    found.titles()
    await asyncio.to_thread(found.folder, folder)
    return found.diagnosis()


class _Examination:
    def __init__(self, state: State, now_s: float) -> None:
        self._state = state
        self._now_s = now_s
        self._roles: dict[str, RoleHealth] = {}
        self._ailments: list[Ailment] = []
        self._owners: defaultdict[TitleId, list[PublisherId]] = defaultdict(list)
        self._publishers: set[PublisherId] = set()

    def top(self) -> None:
        state = self._state
        self._see(ROOT, state.root, state.root, ROOT)
        self._see(TARGETS, state.targets, state.root, TARGETS)
        self._see(SNAPSHOT, state.snapshot, state.root, SNAPSHOT)
        self._see(TIMESTAMP, state.timestamp, state.root, TIMESTAMP)
        self._see(RELEASE, state.release, state.targets, RELEASE)

    async def below(self, registry: Registry, role: str) -> None:
        try:
            said = await registry.said(role)
            by = await registry.delegator(role)
        except PlayheadError as error:
            self._ail("signature", f"{error}: consoles refuse it")
            return
        assert said is not None
        group = next((p for p in (BIN_PREFIX, "shard") if role.startswith(f"{p}-")), role)
        self._see(role, said, by, group)
        if role.startswith("shard-"):
            for publisher in publishers_of(said):
                self._publishers.add(publisher)
                for title in titles_of(said, publisher):
                    self._owners[title].append(publisher)

    def titles(self) -> None:
        for title, owners in sorted(self._owners.items()):
            if len(owners) > 1:
                self._ail("title", f"title {title} is delegated to {' and '.join(sorted(owners))}")

    def folder(self, folder: KeyFolder) -> None:
        """Compare the keys that are here with those that are named. Reads files."""
        if not folder.is_made:
            return
        for path in open_to_others(folder.path):
            self._ail("permissions", f"{path} may be read by others: `chmod go-rwx {path}`")
        try:
            online = folder.online()
            folder.holders()
            folder.publishers()
        except PlayheadError as error:
            self._ail("keys", str(error))
            return
        for role in (TIMESTAMP, SNAPSHOT, RELEASE):
            by: Root | Targets = self._state.targets if role == RELEASE else self._state.root
            if online[role] and not is_named(by, role, online):
                self._ail("keys", f"the key of {role} that is here is not the one in force")

    def diagnosis(self) -> Diagnosis:
        return Diagnosis(
            roles=tuple(self._roles.values()),
            publisher_count=len(self._publishers),
            title_count=len(self._owners),
            ailments=tuple(self._ailments),
            notes=tuple(self._notes()),
        )

    def _notes(self) -> Iterator[str]:
        for role, by in ((ROOT, self._state.root), (TARGETS, self._state.root)):
            keys = role_keys(by, role)
            if keys.threshold == 1:
                yield f"{role}: one key alone may sign; with more holders, two should have to"
            elif keys.threshold == len(keys.keys):
                yield f"{role}: all {len(keys.keys)} must sign: if one key is lost, so is the role"

    def _see(self, role: str, said: Said, by: Root | Targets, group: str) -> None:
        keys = role_keys(by, role)
        days = left_s(said, self._now_s) / DAY_S
        health = RoleHealth(
            role=role,
            version=said.version,
            expires=said.expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
            left_days=round(days, 2),
            threshold=keys.threshold,
            key_ids=tuple(key.keyid for key in keys.keys),
            is_due=self._is_late(role, said),
        )
        if health.is_due:
            self._ail(
                "expiry", f"{role} expires in {days:.1f} days, {health.expires}: {_cure(role)}"
            )
        first = self._roles.get(group)
        if first is None or health.left_days < first.left_days:
            self._roles[group] = health

    def _is_late(self, role: str, said: Said) -> bool:
        """Tell whether it should have been signed anew.

        What machines sign is late once half of what they should leave is gone: an origin that is
        down for a night is no reason to wake somebody.
        """
        if not is_due(role, said, self._now_s):
            return False
        if role in (TIMESTAMP, SNAPSHOT, RELEASE) or role.startswith(f"{BIN_PREFIX}-"):
            return left_s(said, self._now_s) < lifetime_of(role).total_seconds() / 4
        return True

    def _ail(
        self,
        what: Literal["expiry", "title", "keys", "permissions", "signature"],
        detail: str,
    ) -> None:
        self._ailments.append(Ailment(what=what, detail=detail))


def _cure(role: str) -> str:
    if role in (ROOT, TARGETS) or role.startswith("shard-"):
        return "`playhead keys sign` signs it anew"
    if role.startswith("publisher-"):
        return "its publisher signs it anew with its next push"
    return "the origin signs it anew while it runs and has the keys"
