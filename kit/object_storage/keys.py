"""Which strings are keys: the one place that decides, for every adapter."""

from __future__ import annotations

import re

from kit.errors import InvalidInput

KEY_BYTES_MAX = 512
PART_BYTES_MAX = 255  # NAME_MAX of every file system we store on

_PART = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"
_KEY = re.compile(rf"{_PART}(?:/{_PART})*")
_RULE = (
    "a key is parts of A-Z a-z 0-9 . _ - between single slashes, none starting with a dot, "
    f"each at most {PART_BYTES_MAX} bytes and {KEY_BYTES_MAX} in all"
)


def check_key(key: str) -> str:
    """Return ``key`` if it is one.

    Raises:
        InvalidInput: It is not; the message names it and the rule.
    """
    if not is_key(key):
        raise InvalidInput(f"object key {key[:80]!r}: {_RULE}")
    return key


def is_key(text: str) -> bool:
    """Tell whether ``text`` is a key; for names found in a storage that others write to."""
    return (
        len(text) <= KEY_BYTES_MAX
        and _KEY.fullmatch(text) is not None
        and max(map(len, text.split("/"))) <= PART_BYTES_MAX
    )


def check_prefix(prefix: str) -> str:
    """Return ``prefix`` if a key may start with it.

    Raises:
        InvalidInput: None can.
    """
    if prefix and not is_key(prefix) and not is_key(prefix + "x"):
        raise InvalidInput(f"key prefix {prefix[:80]!r} begins no key: {_RULE}")
    return prefix
