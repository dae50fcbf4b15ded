"""The codes of the device grant: how they are made, spelt, and kept (RFC 8628, section 6.1).

Nothing that opens anything is kept: of device codes there are only hashes. A user code is typed by
a person, so it is short, and good for nothing without the operator's secret.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

RandomBytes = Callable[[int], bytes]

_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels, so no words; no letters that look like digits. Source: RFC 8628, section 6.1."""
USER_CODE_LENGTH = 8
"""20^8 codes: at 20 guesses a minute and a thousand pending logins, 2 years for the first hit."""


def new_device_code(random: RandomBytes) -> str:
    """Return 256 random bits as text."""
    return _text(random(32))


def new_user_code(random: RandomBytes) -> str:
    """Return a code that a person can read out: ``WDJB-MJHT``."""
    letters = ""
    while len(letters) < USER_CODE_LENGTH:
        # 240 is a multiple of 20: every letter is as likely.
        letters += "".join(_LETTERS[b % 20] for b in random(USER_CODE_LENGTH) if b < 240)
    return f"{letters[:4]}-{letters[4:USER_CODE_LENGTH]}"


def spelt(user_code: str) -> str:
    """Return a user code as it is kept, however somebody typed it."""
    letters = "".join(letter for letter in user_code.upper() if letter in _LETTERS)
    return f"{letters[:4]}-{letters[4:]}"


def hashed(secret: str) -> str:
    """Return what is kept of a secret of 128 bits or more: it needs no salt."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
