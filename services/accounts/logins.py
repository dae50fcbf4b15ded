"""Logins that wait for an operator: the device grant's rules (RFC 8628). Pure.

1. A publisher's machine *begins*: it gets a device code, which it keeps, and a user code, which a
   person passes on to the platform's operator.
2. It *polls* by the device code, no oftener than it was told; whoever does must wait 5 s longer.
3. The operator *approves* or *denies* by the user code.
4. The next poll takes what was granted; a code is good once.

They are kept in memory: a login is minutes, and one that a restart cut off begins again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from kit.clock import Clock
from kit.errors import NotFound, Unavailable
from services.accounts.codes import RandomBytes, hashed, new_device_code, new_user_code, spelt
from services.accounts.grants import Grant

SLOWER_BY_S = 5.0  # RFC 8628, section 3.5
POLL_SLACK_S = 0.5
"""A poll may be early by so much: networks are not even."""


@dataclass(slots=True)
class Login:
    """One that waits."""

    user_code: str
    publisher_key: str
    """Public half of the key that the publisher will vouch with, as JSON; empty if it sent none."""
    address: str
    """From where it was begun."""
    machine: str
    """What it calls itself; for people, and not to be believed."""
    began_s: float
    """Seconds since the Unix epoch."""
    expires_s: float
    interval_s: float
    polled_s: float = field(default=float("-inf"))
    grant: Grant | None = None
    is_denied: bool = False


@dataclass(frozen=True, slots=True)
class Begun:
    """What a publisher's machine is told."""

    device_code: str
    login: Login


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing is granted, or not yet: an error code of RFC 8628, section 3.5."""

    error: str


Poll: TypeAlias = Grant | Refused


class Logins:
    """All that wait, at most ``pending_max``."""

    def __init__(
        self,
        *,
        expire_after_s: float,
        poll_every_s: float,
        pending_max: int,
        clock: Clock,
        random: RandomBytes,
    ) -> None:
        self._expire_after_s = expire_after_s
        self._poll_every_s = poll_every_s
        self._pending_max = pending_max
        self._clock = clock
        self._random = random
        self._logins: dict[str, Login] = {}
        """By the hash of the device code; the oldest first."""

    def begin(self, publisher_key: str, *, address: str, machine: str) -> Begun:
        """Let a login wait.

        Raises:
            Unavailable: Too many do.
        """
        self._forget_expired()
        if len(self._logins) >= self._pending_max:
            raise Unavailable(f"{len(self._logins)} logins are waiting, the most there may be")
        now_s = self._clock.now()
        taken = {login.user_code for login in self._logins.values()}
        while (user_code := new_user_code(self._random)) in taken:
            pass
        device_code = new_device_code(self._random)
        login = Login(
            user_code=user_code,
            publisher_key=publisher_key,
            address=address,
            machine=machine,
            began_s=now_s,
            expires_s=now_s + self._expire_after_s,
            interval_s=self._poll_every_s,
        )
        self._logins[hashed(device_code)] = login
        return Begun(device_code, login)

    def poll(self, device_code: str) -> Poll:
        """Return what was granted, once, or why nothing is."""
        # The table is asked by a hash: how long that takes tells nothing of any code.
        name = hashed(device_code)
        login = self._logins.get(name)
        now_s = self._clock.now()
        if login is None:
            return Refused("invalid_grant")
        if now_s >= login.expires_s:
            del self._logins[name]
            return Refused("expired_token")
        if login.is_denied or login.grant is not None:
            del self._logins[name]
            return login.grant or Refused("access_denied")
        is_early = now_s - login.polled_s < login.interval_s - POLL_SLACK_S
        login.polled_s = now_s
        if is_early:
            login.interval_s += SLOWER_BY_S
            return Refused("slow_down")
        return Refused("authorization_pending")

    def find(self, user_code: str) -> Login:
        """Return the login that waits under a user code.

        Raises:
            NotFound: None does, or no longer.
        """
        self._forget_expired()
        wanted = spelt(user_code)
        for login in self._logins.values():
            if login.user_code == wanted and login.grant is None and not login.is_denied:
                return login
        raise NotFound(
            f"no login waits under {wanted}: mistyped, expired, or decided already. "
            "`playhead login` shows a new code"
        )

    def waiting(self) -> list[Login]:
        """Return those that wait for an operator, the oldest first."""
        self._forget_expired()
        return [each for each in self._logins.values() if each.grant is None and not each.is_denied]

    def _forget_expired(self) -> None:
        now_s = self._clock.now()
        for name, login in list(self._logins.items()):
            if now_s >= login.expires_s:
                del self._logins[name]
