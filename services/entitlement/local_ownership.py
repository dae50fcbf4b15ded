"""Ownership on one machine: its player owns every title that was not taken away.

The shop will know better; until then this is what `playhead leases revoke` and `grant` decide.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable

from kit.errors import Denied, Unauthenticated
from manifests.lease import Subject
from manifests.names import TitleId
from services.entitlement.ledger import LedgerView

LOCAL_PLAYER = Subject("local")


class BearerUnknown(Unauthenticated):
    """The bearer token is nobody's."""

    code = "bearer-unknown"


class LocalOwnership:
    """Says of every title that it is its player's, unless the ledger says that it was taken."""

    def __init__(self, view: Callable[[], LedgerView]) -> None:
        self._view = view

    async def owns(self, subject: Subject, title: TitleId) -> bool:
        """Tell whether ``subject`` owns ``title`` now."""
        return not self._view().is_taken(subject, title)


class LocalIdentity:
    """One player and one operator, each with a secret from a file."""

    def __init__(self, *, player: str, operator: str) -> None:
        self._player = player.encode()
        self._operator = operator.encode()

    def player(self, bearer: str) -> Subject:
        """Return whose token ``bearer`` is.

        Raises:
            BearerUnknown: Not the player's.
        """
        if not hmac.compare_digest(_raw(bearer), self._player):
            raise BearerUnknown("the bearer token is not the player's; sign in again")
        return LOCAL_PLAYER

    def require_operator(self, bearer: str) -> None:
        """Do nothing if ``bearer`` is the operator's token.

        Raises:
            Denied: It is the player's.
            BearerUnknown: It is nobody's.
        """
        if hmac.compare_digest(_raw(bearer), self._operator):
            return
        self.player(bearer)
        raise Denied("only an operator may revoke leases or give them back")


def _raw(bearer: str) -> bytes:
    # What a header held besides UTF-8 comes as surrogates, which compare like any other bytes.
    return bearer.encode("utf-8", "surrogateescape")
