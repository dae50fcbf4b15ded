"""What an operator can tell the accounts service."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from kit.settings import Group
from kit.units import Seconds


class AccountsSettings(Group, frozen=True):
    """How long logins and tokens last, and how often anybody may guess."""

    codes_expire_after: Seconds = Seconds(900)
    """A login that no operator approved by then begins again."""
    poll_every: Seconds = Seconds(5)
    """How often `playhead login` asks whether it was approved."""
    logins_pending_max: Annotated[int, Meta(ge=1)] = 1000
    """Logins that wait at the same time; one more is refused."""
    logins_per_minute: Annotated[int, Meta(ge=1)] = 20
    """Begun from one address."""
    guesses_per_minute: Annotated[int, Meta(ge=1)] = 20
    """Wrong codes and tokens from one address; after that it is refused for a minute."""
    access_expires_after: Seconds = Seconds(900)
    """How long a revoked publisher may go on, at an origin in another process than this service."""
    grant_expires_after: Seconds = Seconds(90 * 86400)
    """Unless `publishers approve --expires` says otherwise; then a publisher logs in again."""
