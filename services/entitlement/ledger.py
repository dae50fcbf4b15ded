"""What was taken from players, and which revocations still matter: rules, and no I/O.

A revocation has an epoch, in milliseconds, above that of every lease minted before it; a lease
minted after the title was given back has none below. So neither order nor clock need be exact
among nodes: the greater number wins.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from kit.errors import SettingsError, Unavailable
from manifests.lease import Subject
from manifests.lease_gate import REVOCATION_KEPT_S
from manifests.names import TITLE_PATTERN, TitleId
from manifests.revocation_feed import SUBJECT_PATTERN, Revoked

REVOCATION_COUNT_MAX = 65_536
"""Within 17 minutes. Beyond it, revoke all by new keys: what that many players do is an attack."""

TAKEN_COUNT_MAX = 65_536


class Taken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A title that its player may not download until it is given back."""

    subject: Annotated[str, Meta(pattern=SUBJECT_PATTERN)]
    title: Annotated[str, Meta(pattern=TITLE_PATTERN)]


class Ledger(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of it, as its file holds it."""

    format: Literal[1] = 1
    taken: Annotated[tuple[Taken, ...], Meta(max_length=TAKEN_COUNT_MAX)] = ()
    revoked: Annotated[tuple[Revoked, ...], Meta(max_length=REVOCATION_COUNT_MAX)] = ()
    """At most one for a player and title; the newest last."""

    def current(self, now_s: float) -> tuple[Revoked, ...]:
        """Return the revocations that may still end a lease somewhere."""
        kept_from = (now_s - REVOCATION_KEPT_S) * 1e3
        return tuple(each for each in self.revoked if each.epoch >= kept_from)


class LedgerView:
    """A ledger to look things up in; making one takes as long as it has entries."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._taken = {(each.subject, each.title) for each in ledger.taken}
        self._epochs = {(each.subject, each.title): each.epoch for each in ledger.revoked}

    def is_taken(self, subject: Subject, title: TitleId) -> bool:
        """Tell whether the title was taken from its player."""
        return (subject, title) in self._taken

    def lease_epoch(self, subject: Subject, title: TitleId, now_s: float) -> int:
        """Return the epoch of a lease that is minted now, in milliseconds."""
        return max(int(now_s * 1e3), self._epochs.get((subject, title), 0))


def revoke(ledger: Ledger, subject: Subject, title: TitleId, now_s: float) -> Ledger:
    """Return a ledger in which all leases of a player for a title are over, and no new one is due.

    Raises:
        Unavailable: So many were revoked lately that nodes could not hold them.
    """
    current = ledger.current(now_s)
    newest = max((each.epoch for each in current), default=0)
    kept = [each for each in current if not _is_of(each, subject, title)]
    if len(kept) >= REVOCATION_COUNT_MAX or len(ledger.taken) >= TAKEN_COUNT_MAX:
        raise Unavailable(
            f"{title}: {len(kept):,} revocations within minutes, as many as nodes hold:"
            " replace the lease keys to end all leases at once"
        )
    revoked = Revoked(subject, title, max(int(now_s * 1e3), newest) + 1)
    others = [each for each in ledger.taken if not _is_of(each, subject, title)]
    return Ledger(taken=(*others, Taken(subject, title)), revoked=(*kept, revoked))


def give_back(ledger: Ledger, subject: Subject, title: TitleId, now_s: float) -> Ledger:
    """Return a ledger in which a player may have new leases for a title; the old stay ended."""
    taken = tuple(each for each in ledger.taken if not _is_of(each, subject, title))
    return Ledger(taken=taken, revoked=ledger.current(now_s))


def news(before: Ledger, after: Ledger) -> Iterator[Revoked]:
    """Yield what was revoked between two states of a ledger."""
    known = set(before.revoked)
    yield from (each for each in after.revoked if each not in known)


def encode_ledger(ledger: Ledger) -> bytes:
    """Return what the file holds."""
    return msgspec.json.encode(ledger)


def parse_ledger(data: bytes, where: str) -> Ledger:
    """Read what a file holds.

    Raises:
        SettingsError: It is no ledger.
    """
    try:
        return msgspec.json.decode(data, type=Ledger)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(f"{where}: not a ledger of leases: {error}; put back a copy") from error


def _is_of(each: Revoked | Taken, subject: Subject, title: TitleId) -> bool:
    return (each.subject, each.title) == (subject, title)
