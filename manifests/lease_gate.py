"""Judge the lease of every request: authentic, not expired, not revoked, for this title.

A node asks nobody. It is told two things, whenever they change: the keys that are valid, and what
was revoked. A lease that was found authentic once is remembered by its text, so that a console's
thousand requests cost one MAC.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from kit.access_token import KeyId
from kit.clock import Clock
from manifests.lease import (
    LIFETIME_S,
    SKEW_S,
    Lease,
    LeaseExpired,
    LeaseForOtherTitle,
    LeaseMissing,
    LeaseRevoked,
    Subject,
    decode_lease,
)
from manifests.names import TitleId

REMEMBERED_MAX = 65_536
"""Leases of as many consoles at once: some 50 MB at most, an edge's share of a busy hour."""

REVOCATION_KEPT_S = LIFETIME_S + 2 * SKEW_S
"""After this no lease that a revocation ended can be valid anywhere."""


FORGET_EVERY_S = 60
"""Looking through all that are remembered takes milliseconds when they are many."""


@dataclass(frozen=True, slots=True)
class Revocation:
    """All leases of ``subject`` for ``title`` below ``epoch`` are over."""

    subject: Subject
    title: TitleId
    epoch: int
    """Milliseconds since the Unix epoch, by the clock of whoever mints leases."""


class Guard(Protocol):
    """What a server of content asks before it answers."""

    def check(self, token: str | None, title: TitleId) -> object:
        """Do nothing if the lease ``token`` allows to read content of ``title`` now.

        Raises:
            Denied: It does not.
        """


class Gate:
    """Lets readers of content in. Belongs to one event loop; does no I/O."""

    def __init__(self, clock: Clock, *, remembered_max: int = REMEMBERED_MAX) -> None:
        self._clock = clock
        self._keys: Mapping[KeyId, bytes] = {}
        self._remembered: OrderedDict[str, Lease] = OrderedDict()
        self._remembered_max = remembered_max
        self._revoked: dict[tuple[Subject, TitleId], int] = {}
        self._forget_at = 0.0

    @property
    def remembered_count(self) -> int:
        """Leases found authentic that need no MAC again."""
        return len(self._remembered)

    @property
    def revocation_count(self) -> int:
        """Revocations in force."""
        return len(self._revoked)

    def use_keys(self, keys: Mapping[KeyId, bytes]) -> None:
        """Accept leases by ``keys`` from now on, and by no others."""
        if keys != self._keys:
            self._keys = dict(keys)
            self._remembered.clear()  # some may be by a key that is gone

    def use_revocations(self, revocations: Iterable[Revocation]) -> None:
        """Refuse what ``revocations`` end, beside what was revoked before."""
        for each in revocations:
            key = (each.subject, each.title)
            self._revoked[key] = max(each.epoch, self._revoked.get(key, 0))
        if self._clock.now() >= self._forget_at:
            self._forget_old()

    def check(self, token: str | None, title: TitleId) -> Lease:
        """Return the lease that allows to read content of ``title`` now.

        Raises:
            LeaseMissing: There is none.
            LeaseInvalid: It is not authentic.
            LeaseExpired: It was good until lately.
            LeaseForOtherTitle: It is for another.
            LeaseRevoked: It was taken back.
        """
        lease = self._good(token, title)
        if lease.title is not None:
            if lease.title != title:
                raise LeaseForOtherTitle(f"{title}: the lease is for {lease.title}")
            if lease.epoch < self._revoked.get((lease.subject, title), 0):
                raise LeaseRevoked(
                    f"{title}: the permission of {lease.subject} was taken back; see the library"
                )
        return lease

    def check_node(self, token: str | None, what: str) -> Lease:
        """Return the lease of a node of the platform, for which ``what`` is.

        Raises: as :meth:`check`; LeaseForOtherTitle if it is a player's.
        """
        lease = self._good(token, what)
        if lease.title is not None:
            raise LeaseForOtherTitle(f"{what}: for nodes of the platform; this lease is a player's")
        return lease

    def _good(self, token: str | None, what: str) -> Lease:
        """Return a lease that is authentic and not over."""
        if not token:
            raise LeaseMissing(f"{what}: no lease; a console gets one for a title its player owns")
        lease = self._remembered.get(token)
        if lease is None:
            lease = self._remember(token, decode_lease(token, self._keys))
        else:
            self._remembered.move_to_end(token)
        if self._clock.now() >= lease.expires_at + SKEW_S:
            raise LeaseExpired(f"{what}: the lease ended at {lease.expires_at}; get a new one")
        return lease

    def _remember(self, token: str, lease: Lease) -> Lease:
        self._remembered[token] = lease
        if len(self._remembered) > self._remembered_max:
            self._remembered.popitem(last=False)
        return lease

    def _forget_old(self) -> None:
        now_s = self._clock.now()
        self._forget_at = now_s + FORGET_EVERY_S
        kept_from = (now_s - REVOCATION_KEPT_S) * 1e3
        self._revoked = {key: at for key, at in self._revoked.items() if at >= kept_from}
