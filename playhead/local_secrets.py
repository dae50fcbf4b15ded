"""Secrets by which this machine's player and operator say who they are, made on first use."""

from __future__ import annotations

import secrets

from kit.errors import NotFound
from kit.secret_files import folder_locked, read_secret, write_secret
from playhead.settings import Settings

PLAYER_FILE, OPERATOR_FILE = "player.token", "operator.token"

TOKEN_SIZE = 32


def local_secret(settings: Settings, name: str) -> str:
    """Return the secret in a file below the key folder; made if there is none. Blocks.

    Raises:
        SettingsError, Denied, OutOfSpace: Others may read it, or it cannot be written.
    """
    path = settings.data / settings.keys.dir / name
    with folder_locked(path.parent):
        try:
            return read_secret(path).decode("ascii", "replace").strip()
        except NotFound:
            made = secrets.token_urlsafe(TOKEN_SIZE)
            write_secret(path, made.encode() + b"\n")
            return made
