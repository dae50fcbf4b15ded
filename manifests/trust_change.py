"""A change that holders of offline keys sign, one after the other, wherever their keys are.

It is a file that travels. It holds what the changed roles say now and what they shall say, with the
signatures that were made so far; so a holder far from the platform sees what it is asked to sign.

A document needs enough signatures of everybody who is to believe it: a root those of the root
before and its own, targets those of both roots, a shard those of the targets that will be, a
publisher those of its shard that will be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, Root, Targets

from kit.buffers import Buffer
from kit.errors import FormatError
from manifests.trust_document import (
    check_signed,
    parse,
    payload_of,
    with_signature,
)
from manifests.trust_metadata import role_keys
from manifests.trust_roles import METADATA_SIZE_MAX, ROOT, TARGETS, PublisherId, shard_role

CHANGE_SIZE_MAX = 4 * METADATA_SIZE_MAX
ROLE_COUNT_MAX = 1024

_Documents = Annotated[dict[str, str], Meta(max_length=ROLE_COUNT_MAX)]


class Change(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Documents by role: what is said now, and what shall be."""

    format: Literal[1] = 1
    before: _Documents
    """Always of root and targets; of the others if they said anything."""
    after: _Documents

    def documents(self) -> dict[str, bytes]:
        """Return what shall be said, by role."""
        return {role: document.encode() for role, document in self.after.items()}


@dataclass(frozen=True, slots=True)
class Missing:
    """A role whose new document somebody would not believe yet."""

    role: str
    signed: int
    threshold: int
    key_ids: tuple[str, ...]
    """Whose signatures would count."""

    def __str__(self) -> str:
        ids = ", ".join(key_id[:12] for key_id in self.key_ids)
        return f"{self.role}: {self.signed} of {self.threshold} signatures; could sign: {ids}"


def encode_change(change: Change) -> bytes:
    """Return the change as it is kept in a file."""
    return msgspec.json.format(msgspec.json.encode(change), indent=1)


def parse_change(data: Buffer) -> Change:
    """Read a change; what it builds on is verified to be what its own root says.

    Raises:
        FormatError: It is damaged.
        Denied: What it says is said now is not signed.
    """
    if len(data) > CHANGE_SIZE_MAX:
        raise FormatError(f"change of {len(data)} bytes; at most {CHANGE_SIZE_MAX}")
    try:
        change = msgspec.json.decode(data, type=Change)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"change is damaged: {error}") from error
    if not {ROOT, TARGETS} <= change.before.keys() or not change.after:
        raise FormatError("change does not say what it builds on, or changes nothing")
    root = root_before(change)
    check_signed(ROOT, _root(change.before), root)
    for role in change.before:
        if role != ROOT and not role.startswith("publisher-"):
            by = root if role == TARGETS else targets_before(change)
            check_signed(role, _targets(change.before, role), by)
    for role in change.after:
        read = _root(change.after) if role == ROOT else _targets(change.after, role)
        assert read.signed.version >= 1
    return change


def root_before(change: Change) -> Root:
    """Return the root that the change builds on."""
    return _root(change.before).signed


def targets_before(change: Change) -> Targets:
    """Return the targets that the change builds on."""
    return _targets(change.before, TARGETS).signed


def said_before(change: Change, role: str) -> Targets | None:
    """Return what a role below root says now, if anything."""
    return _targets(change.before, role).signed if role in change.before else None


def said_after(change: Change, role: str) -> Targets:
    """Return what a role below root shall say."""
    return _targets(change.after, role).signed


def root_after(change: Change) -> Root | None:
    """Return the new root, if it is part of the change."""
    return _root(change.after).signed if ROOT in change.after else None


def signed_by(change: Change, signers: Iterable[Signer]) -> Change:
    """Return the change with all signatures that ``signers`` can make and that count."""
    after = dict(change.after)
    for signer in signers:
        key_id = signer.public_key.keyid
        for role, document in after.items():
            wanted = {each for by in _believers(change, role) for each in _key_ids(by, role)}
            data = document.encode()
            if key_id in wanted and role == ROOT:
                after[role] = with_signature(parse(data, Root, role), signer).decode()
            elif key_id in wanted:
                after[role] = with_signature(parse(data, Targets, role), signer).decode()
    return msgspec.structs.replace(change, after=after)


def missing(change: Change) -> list[Missing]:
    """Return what must be signed still; empty if the change may be installed."""
    found: dict[Missing, None] = {}
    for role in change.after:
        metadata: Metadata[Root] | Metadata[Targets] = (
            _root(change.after) if role == ROOT else _targets(change.after, role)
        )
        payload, signatures = payload_of(metadata.signed), metadata.signatures
        for by in _believers(change, role):
            result = by.get_verification_result(role, payload, signatures)
            if not result.verified:
                unsigned = tuple(sorted(result.unsigned))
                found[Missing(role, len(result.signed), result.threshold, unsigned)] = None
    return list(found)


def _believers(change: Change, role: str) -> list[Root | Targets]:
    after = root_after(change)
    roots: list[Root | Targets] = [root_before(change), *([] if after is None else [after])]
    if role in (ROOT, TARGETS):
        return roots
    delegator = TARGETS
    if role.startswith("publisher-"):
        delegator = shard_role(PublisherId(role.removeprefix("publisher-")))
    said = said_after(change, delegator) if delegator in change.after else None
    by = said_before(change, delegator) if said is None else said
    return [] if by is None else [by]


def _key_ids(by: Root | Targets, role: str) -> list[str]:
    return [key.keyid for key in role_keys(by, role).keys]


def _root(documents: Mapping[str, str]) -> Metadata[Root]:
    return parse(documents[ROOT].encode(), Root, ROOT)


def _targets(documents: Mapping[str, str], role: str) -> Metadata[Targets]:
    return parse(documents[role].encode(), Targets, role)
