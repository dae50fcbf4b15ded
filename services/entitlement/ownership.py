"""The port behind which somebody knows who owns which title."""

from __future__ import annotations

from typing import Protocol

from manifests.lease import Subject
from manifests.names import TitleId


class Ownership(Protocol):
    """Knows who owns what."""

    async def owns(self, subject: Subject, title: TitleId) -> bool:
        """Tell whether ``subject`` owns ``title`` now.

        Raises:
            Unavailable: It cannot be told now.
        """


class Identity(Protocol):
    """Knows who holds which bearer token."""

    def player(self, bearer: str) -> Subject:
        """Return whose token it is.

        Raises:
            Denied: Nobody's.
        """

    def require_operator(self, bearer: str) -> None:
        """Do nothing if it is an operator's token.

        Raises:
            Denied: It is not.
        """
