"""The public keys of one holder or publisher, in a file to be handed to the platform."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec
from securesystemslib.signer import Key

from kit.errors import InvalidInput, NotFound, SettingsError
from playhead.keys.signers import KeyEntry, public_key

PUBLIC_SIZE_MAX = 16 << 10


class PublicKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose keys, and which, by role: ``root`` and ``targets``, or ``publisher``."""

    format: Literal[1] = 1
    name: str
    keys: dict[str, dict[str, Any]]

    def key(self, role: str) -> Key:
        """Return the key for a role.

        Raises:
            InvalidInput: There is none, or it is damaged.
        """
        if role not in self.keys:
            raise InvalidInput(f"the public keys of {self.name!r} have none for role {role}")
        return public_key(self.keys[role])


def write_public(path: Path, name: str, entries: dict[str, KeyEntry]) -> None:
    """Write the public keys of ``entries`` to a file.

    Raises:
        SettingsError: It cannot be written.
    """
    found = PublicKeys(name=name, keys={role: entry.public for role, entry in entries.items()})
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error


def read_public(path: Path) -> PublicKeys:
    """Read what :func:`write_public` wrote.

    Raises:
        NotFound: There is no such file.
        InvalidInput: It is damaged.
    """
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(PUBLIC_SIZE_MAX), type=PublicKeys)
    except FileNotFoundError as error:
        raise NotFound(f"{path} does not exist") from error
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} holds no public keys: {error}") from error
