"""What `playhead keys` does: first a plan, then the change, carried out as far as it goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kit.clock import Clock, SystemClock
from kit.errors import Conflict, InvalidInput, NotFound, SettingsError
from manifests.names import title_id
from manifests.trust_change import CHANGE_SIZE_MAX, Change, encode_change, parse_change
from manifests.trust_metadata import RoleKeys, role_keys
from manifests.trust_plan import (
    Standing,
    added,
    due_roles,
    keys_of,
    removed,
    replaced,
    signed_anew,
    with_publisher,
    with_role_keys,
    without_publisher,
)
from manifests.trust_roles import (
    RELEASE,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    publisher_id,
    publisher_role,
    shard_role,
)
from origin.registry import Registry
from playhead.compose import object_storage
from playhead.keys.changing import Progress, carry_out, standing
from playhead.keys.folder import KeyFolder
from playhead.keys.public_file import read_public
from playhead.settings import Settings
from playhead.trust import is_begun, key_folder, open_registry, registry_of

Plan = Callable[[Standing], Change]


@dataclass(frozen=True, slots=True)
class Office:
    """Where keys are changed: the folder, and the repository if it can be written from here."""

    folder: KeyFolder
    registry: Registry
    clock: Clock

    async def plan(self, plan: Plan) -> Change:
        """Return the change that ``plan`` makes of what is said now."""
        return await asyncio.to_thread(plan, await standing(self.registry, self.clock))

    async def carry_out(self, change: Change) -> Progress:
        """Sign it with what is here, and install it if that is enough."""
        return await carry_out(change, self.folder, self.registry)


@asynccontextmanager
async def office(settings: Settings) -> AsyncIterator[Office]:
    """Open folder and repository, both of which must be there.

    Raises:
        NotFound: There are no keys here, or no repository.
    """
    folder, clock = key_folder(settings), SystemClock()
    if not await asyncio.to_thread(lambda: folder.is_made):
        raise NotFound(
            f"there are no keys in {folder.path}: `playhead keys init` makes them, as does the "
            "first push"
        )
    anchor = await asyncio.to_thread(folder.root)
    async with object_storage(settings) as storage:
        if not await is_begun(storage):
            raise NotFound("there is no repository of trust yet: `playhead keys init`")
        yield Office(folder, registry_of(folder, storage, anchor, clock), clock)


async def init(
    settings: Settings,
    say: Callable[[str], None],
    *,
    holder_count: int,
    threshold: int,
    root_threshold: int,
) -> KeyFolder:
    """Make keys for all roles, and a repository that they vouch for.

    Raises:
        Conflict: There are keys, or a repository, already.
        SettingsError: More holders must sign than there are.
    """
    if not 1 <= max(threshold, root_threshold) <= holder_count:
        raise SettingsError(
            f"{max(threshold, root_threshold)} holders must sign and {holder_count} are to be made"
        )
    folder, clock = key_folder(settings), SystemClock()
    async with object_storage(settings) as storage:
        if await is_begun(storage):
            raise Conflict("there is a repository of trust already: see `playhead keys doctor`")
        is_made = await asyncio.to_thread(
            lambda: folder.make(
                clock.now(),
                holder_count=holder_count,
                threshold=threshold,
                root_threshold=root_threshold,
            )
        )
        if not is_made and not await asyncio.to_thread(_is_unfinished, folder):
            raise Conflict(f"there are keys in {folder.path} already: see `playhead keys doctor`")
        await open_registry(folder, storage, say, clock)
    return folder


def plan_holder(public_file: Path, roles: Sequence[str], threshold: int | None) -> Plan:
    """Plan one holder more, for root, targets or both."""
    public = read_public(public_file)

    def plan(now: Standing) -> Change:
        return with_role_keys(
            now, {role: added(keys_of(now, role), public.key(role), threshold) for role in roles}
        )

    return plan


def plan_publisher(publisher: str, public_file: Path | None, titles: Iterable[str]) -> Plan:
    """Plan titles for a publisher, which may be new."""
    who = publisher_id(publisher)
    names = [title_id(title) for title in titles]
    keys = None if public_file is None else RoleKeys((read_public(public_file).key("publisher"),))
    return lambda now: with_publisher(now, who, keys, names)


def plan_rotation(
    folder: KeyFolder, kind: Literal["online", "holders", "publishers"], name: str, uri: str | None
) -> Plan:
    """Make the key that shall replace one of this machine's, and plan so."""
    if kind != "online" and uri is not None:
        raise InvalidInput("only keys of timestamp, snapshot and release may be on HSM or KMS")
    former = folder.keyring()
    new = folder.follow(kind, name, uri).key
    old_id = getattr(former, kind)[name].key.keyid

    def plan(now: Standing) -> Change:
        if kind == "publishers":
            return with_publisher(now, publisher_id(name), _renewed(now, name, old_id, new), ())
        roles = [name] if kind == "online" else [ROOT, TARGETS]
        held = {role: keys_of(now, role) for role in roles}
        changed = {
            role: replaced(keys, old_id, new)
            for role, keys in held.items()
            if old_id in {key.keyid for key in keys.keys}
        }
        if not changed:
            raise NotFound(f"the key of {name} that is here ({old_id[:12]}) may sign nothing")
        return with_role_keys(now, changed)

    return plan


def plan_revocation(folder: KeyFolder, holder: str, threshold: int | None) -> Plan:
    """Plan a holder less, named as its key is here, or by the beginning of its key's id."""
    entry = folder.keyring().holders.get(holder) if folder.is_made else None

    def plan(now: Standing) -> Change:
        held = {role: keys_of(now, role) for role in (ROOT, TARGETS)}
        ids = {key.keyid for keys in held.values() for key in keys.keys}
        chosen = (
            {entry.key.keyid} if entry is not None else {i for i in ids if i.startswith(holder)}
        )
        if len(chosen) != 1:
            raise NotFound(
                f"{holder!r} names {len(chosen)} holders' keys; there are "
                f"{', '.join(sorted(i[:12] for i in ids))}"
            )
        [key_id] = chosen
        return with_role_keys(
            now,
            {
                role: removed(keys, key_id, threshold)
                for role, keys in held.items()
                if key_id in {key.keyid for key in keys.keys}
            },
        )

    return plan


def plan_publisher_revocation(publisher: str, titles: Iterable[str]) -> Plan:
    """Plan a publisher without some titles, or without any right."""
    who, names = publisher_id(publisher), [title_id(title) for title in titles]
    return lambda now: without_publisher(now, who, names)


def plan_renewal(now: Standing) -> Change:
    """Plan that holders sign anew what expires soon."""
    return signed_anew(now, [r for r in due_roles(now) if not r.startswith("publisher-")])


def read_change(path: Path) -> Change:
    """Read a change that was begun elsewhere.

    Raises:
        NotFound: There is no such file.
        FormatError, Denied: It is damaged, or not what it claims to be.
    """
    try:
        with path.open("rb") as file:
            return parse_change(file.read(CHANGE_SIZE_MAX + 1))
    except FileNotFoundError as error:
        raise NotFound(f"{path} does not exist") from error
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error


def write_change(path: Path, change: Change) -> None:
    """Write a change for the next holder.

    Raises:
        SettingsError: It cannot be written.
    """
    try:
        path.write_bytes(encode_change(change) + b"\n")
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error


def _renewed(now: Standing, publisher: str, old_id: str, new: object) -> RoleKeys:
    who = publisher_id(publisher)
    shard = now.said(shard_role(who))
    keys = RoleKeys(()) if shard is None else role_keys(shard, publisher_role(who))
    if old_id not in {key.keyid for key in keys.keys}:
        raise NotFound(f"publisher {publisher} is not enrolled with the key that is here")
    return replaced(keys, old_id, new)  # type: ignore[arg-type]


def _is_unfinished(folder: KeyFolder) -> bool:
    try:
        folder.first_targets()
    except NotFound:
        return False
    return True


ONLINE = (TIMESTAMP, SNAPSHOT, RELEASE)
