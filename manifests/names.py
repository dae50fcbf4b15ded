"""What a title, channel, group or version may be called: one spelling, safe in keys and URLs."""

from __future__ import annotations

import re
from typing import NewType

from kit.errors import InvalidInput

TitleId = NewType("TitleId", str)
Channel = NewType("Channel", str)
Version = NewType("Version", str)

TITLE_NAME = r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?"
TITLE_PATTERN = rf"^{TITLE_NAME}\Z"
GROUP_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?\Z"
VERSION_PATTERN = r"^[0-9A-Za-z][0-9A-Za-z._+-]{0,63}\Z"


def title_id(text: str) -> TitleId:
    """Read the name of a title.

    Raises:
        InvalidInput: It is not up to 64 of ``a-z``, ``0-9`` and inner ``-``.
    """
    return TitleId(_matching("title", text, TITLE_PATTERN, "1 to 64 of a-z, 0-9 and inner '-'"))


def channel(text: str) -> Channel:
    """Read the name of a channel; the same rule as for titles.

    Raises:
        InvalidInput: It breaks that rule.
    """
    return Channel(_matching("channel", text, TITLE_PATTERN, "1 to 64 of a-z, 0-9 and inner '-'"))


def version(text: str) -> Version:
    """Read a version: a label for people, compared for equality only.

    Raises:
        InvalidInput: It is not 1 to 64 of ``0-9A-Za-z._+-`` that begin with a letter or digit.
    """
    rule = "1 to 64 of 0-9, A-Z, a-z and '._+-', a letter or digit first"
    return Version(_matching("version", text, VERSION_PATTERN, rule))


def _matching(what: str, text: str, pattern: str, rule: str) -> str:
    if re.match(pattern, text) is None:
        raise InvalidInput(f"{what} {text[:80]!r}: expected {rule}")
    return text
