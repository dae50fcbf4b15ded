"""Carry out a change of who may sign: sign it with what is here, and install it once enough did."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from tuf.api.metadata import Root, Targets

from kit.clock import Clock
from manifests.trust_change import Change, Missing, missing, signed_by
from manifests.trust_metadata import role_keys
from manifests.trust_plan import Standing
from manifests.trust_roles import RELEASE, ROOT, TARGETS, PublisherId, publisher_role, shard_role
from origin.registry import Registry
from origin.trust_reader import State
from playhead.keys.folder import KeyFolder
from playhead.keys.signers import KeyEntry


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a change is."""

    change: Change
    """With the signatures of this machine."""
    missing: tuple[Missing, ...]
    is_installed: bool
    settled: tuple[str, ...] = ()
    """Keys of this machine that are in force now, and whose predecessors were deleted."""


async def standing(registry: Registry, clock: Clock) -> Standing:
    """Read what holders and publishers say now, verified but for publishers with new keys.

    Raises:
        NotFound: There is no repository.
    """
    state = await registry.state()
    documents = {ROOT: await registry.document(ROOT, state.root.version)}
    for role in state.roles():
        if role == TARGETS or role.startswith(("shard-", "publisher-")):
            version = state.version_of(role)
            assert version is not None
            documents[role] = await registry.document(role, version)
    for role in documents:
        if role.startswith("shard-"):
            await registry.said(role)  # verifies it
    return Standing(documents, clock.now())


async def signed_here(change: Change, folder: KeyFolder) -> Change:
    """Return the change with the signatures of all holders and publishers whose keys are here."""

    def sign_all() -> Change:
        return signed_by(change, [*folder.holders(), *folder.publishers()])

    return await asyncio.to_thread(sign_all)


async def carry_out(change: Change, folder: KeyFolder, registry: Registry | None) -> Progress:
    """Sign a change with the keys that are here and, if that is enough, install it.

    Without a registry, or the platform's keys, it is only signed. The same call finishes what was
    cut off.

    Raises:
        Denied, Conflict: It may not be installed; the message says why.
    """
    change = await signed_here(change, folder)
    left = tuple(missing(change))
    if left or registry is None:
        return Progress(change, left, is_installed=False)
    documents = change.documents()
    await registry.install(documents)
    if ROOT in documents:
        await asyncio.to_thread(folder.trust, documents[ROOT])
    return Progress(change, (), is_installed=True, settled=tuple(await settle(folder, registry)))


async def settle(folder: KeyFolder, registry: Registry) -> list[str]:
    """Let keys that the repository names by now replace their predecessors in the folder."""
    state = await registry.state()
    named: dict[str, set[str]] = {"holders": _held(state), "publishers": set()}
    for name in (await asyncio.to_thread(folder.keyring)).publishers:
        named["publishers"] |= await _published(registry, PublisherId(name))

    def is_in_force(place: str, entry: KeyEntry) -> bool:
        group, _, name = place.partition("/")
        if group == "online":
            by: Root | Targets = state.targets if name == RELEASE else state.root
            return entry.key.keyid in {key.keyid for key in role_keys(by, name).keys}
        return entry.key.keyid in named[group]

    return await asyncio.to_thread(folder.settle, is_in_force)


def _held(state: State) -> set[str]:
    keys = [*role_keys(state.root, ROOT).keys, *role_keys(state.root, TARGETS).keys]
    return {key.keyid for key in keys}


async def _published(registry: Registry, publisher: PublisherId) -> set[str]:
    shard = await registry.said(shard_role(publisher))
    if shard is None:
        return set()
    return {key.keyid for key in role_keys(shard, publisher_role(publisher)).keys}
