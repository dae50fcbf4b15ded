"""The accounts service's memory: one file of grants, one of secrets, for their owner alone."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TypeVar

import msgspec

from kit.bearer_token import TokenKey
from kit.errors import NotFound, SettingsError
from kit.secret_files import folder_locked, read_secret, write_secret
from services.accounts.grants import Grant

_T = TypeVar("_T", bound=msgspec.Struct)

GRANTS_NAME = "grants.json"
SECRETS_NAME = "accounts.json"


class AccountSecrets(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What this platform signs tokens with, and knows refresh tokens by."""

    format: int = 1
    token_key: str
    """Private key, PEM."""
    refresh_secret: str
    """Hex."""


class _Grants(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: int = 1
    grants: list[Grant]


def account_secrets(key_folder: Path) -> AccountSecrets:
    """Return the secrets in ``key_folder``, made if there are none. Blocks.

    Raises:
        SettingsError: They are damaged, or others may read them.
    """
    path = key_folder / SECRETS_NAME
    with folder_locked(key_folder):
        if not path.exists():
            made = AccountSecrets(
                token_key=TokenKey.generate().private_pem.decode(),
                refresh_secret=secrets.token_hex(32),
            )
            write_secret(path, msgspec.json.format(msgspec.json.encode(made)))
    return _decoded(path, AccountSecrets)


class GrantFile:
    """Reads and replaces the file of grants; both block."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / GRANTS_NAME

    def read(self) -> dict[str, Grant]:
        """Return all grants by id; none if there is no file yet.

        Raises:
            SettingsError: It is damaged, or others may read it.
        """
        try:
            return {grant.grant_id: grant for grant in _decoded(self._path, _Grants).grants}
        except NotFound:
            return {}

    def write(self, grants: list[Grant]) -> None:
        """Replace all grants; durable once it returns."""
        write_secret(self._path, msgspec.json.encode(_Grants(grants=grants)))


def _decoded(path: Path, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(read_secret(path), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is damaged: {error}") from error
