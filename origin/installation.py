"""Take in what holders of offline keys signed, all of it or nothing.

Nothing may be left that consoles would refuse:

1. Every document is the next version of its role, signed by whom its delegator *will* say.
2. Shards that stay as they are must be signed by enough of the holders that new targets name.
3. If the release role has new keys, it and all bins are signed anew.

A publisher whose keys were replaced is the exception. What it signed with the old ones is refused
from then on; that is what replacing them is for. It comes along signed by the new ones, or later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from tuf.api.metadata import Metadata, Root, Targets

from kit.errors import Conflict, Denied
from manifests.trust_document import check_signed, parse
from manifests.trust_metadata import release_with, role_keys
from manifests.trust_roles import (
    BIN_PREFIX,
    RELEASE,
    ROOT,
    TARGETS,
    PublisherId,
    shard_role,
)
from origin.draft import Draft
from origin.trust_reader import State, TrustReader


class Installation:
    """Documents on their way into a draft."""

    def __init__(self, reader: TrustReader, draft: Draft, documents: Mapping[str, bytes]) -> None:
        self._reader = reader
        self._draft = draft
        self._documents = documents
        self._found: dict[str, Metadata[Targets]] = {}

    async def run(self) -> None:
        """Put all of it into the draft.

        Raises:
            Denied: Something is not signed as it must be, or would not be any more.
            Conflict: A version is not the next one.
        """
        for role, data in self._documents.items():
            if role == RELEASE or role.startswith(f"{BIN_PREFIX}-"):
                raise Denied(f"{role} is signed by the platform, not by holders")
            self._found[role] = await asyncio.to_thread(parse, data, Targets, role)
        if not await self._are_new():
            return
        targets = (
            self._found[TARGETS].signed if TARGETS in self._found else self._draft.state.targets
        )
        await self._check_signatures(targets)
        if TARGETS in self._found:
            await self._check_shards_left(targets)
        before = self._draft.state
        for role, metadata in self._found.items():
            self._draft.say(role, metadata.signed, self._documents[role])
        if role_keys(before.targets, RELEASE) != role_keys(targets, RELEASE):
            self._renew_release(before, targets)

    async def _are_new(self) -> bool:
        """Tell whether any of it is; what is said already is taken out."""
        for role, metadata in list(self._found.items()):
            version = self._draft.state.version_of(role) or 0
            if metadata.signed.version == version and await self._is_said(role, version):
                del self._found[role]
            elif metadata.signed.version != version + 1:
                raise Conflict(
                    f"metadata of {role} is version {metadata.signed.version}, and {version} is "
                    "said now: it was made before another change; make it again"
                )
        return bool(self._found)

    async def _is_said(self, role: str, version: int) -> bool:
        return await self._reader.document(role, version) == self._documents[role]

    async def _check_signatures(self, targets: Targets) -> None:
        for role, metadata in self._found.items():
            by: Root | Targets | None = targets
            if role == TARGETS:
                by = self._draft.state.root
            elif role.startswith("publisher-"):
                shard = shard_role(PublisherId(role.removeprefix("publisher-")))
                found = self._found.get(shard)
                by = await self._draft.said(shard) if found is None else found.signed
            if by is None:
                raise Denied(f"{role} is delegated to by nobody: its shard says nothing yet")
            await asyncio.to_thread(check_signed, role, metadata, by)

    async def _check_shards_left(self, targets: Targets) -> None:
        for role in self._draft.state.roles():
            if role.startswith("shard-") and role not in self._found:
                await check_stored(self._reader, self._draft.state, role, targets)

    def _renew_release(self, before: State, targets: Targets) -> None:
        delegations = before.release.delegations
        assert delegations is not None
        assert delegations.succinct_roles is not None
        bin_bits = delegations.succinct_roles.bit_length
        keys = role_keys(targets, RELEASE)
        self._draft.replace_release(
            release_with(before.release, keys, self._draft.now_s, bin_bits=bin_bits)
        )
        for role in before.roles():
            if role.startswith(f"{BIN_PREFIX}-"):
                self._draft.renew(role)


async def check_next_root(reader: TrustReader, state: State, root: Metadata[Root]) -> None:
    """Do nothing if ``root`` may follow the present one.

    Raises:
        Conflict: Its version is not the next one.
        Denied: Too few holders signed it, or it would leave the targets role unsigned.
    """
    version = state.root.version + 1
    if root.signed.version != version:
        raise Conflict(
            f"root is version {root.signed.version}; expected {version}: it was made before "
            "another change; make it again"
        )
    check_signed(ROOT, root, state.root)
    check_signed(ROOT, root, root.signed)
    await check_stored(reader, state, TARGETS, root.signed)


async def check_stored(reader: TrustReader, state: State, role: str, by: Root | Targets) -> None:
    """Do nothing if what ``role`` says now is signed by whom ``by`` names.

    Raises:
        Denied: It is not, so it must be signed anew together with the change.
    """
    version = state.version_of(role)
    if version is None:
        return
    data = await reader.document(role, version)
    metadata = await asyncio.to_thread(parse, data, Targets, role)
    await asyncio.to_thread(check_signed, role, metadata, by)
