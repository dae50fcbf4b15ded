"""The ledger on disk: one small file, replaced whole, which several programs may change in turn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from kit.errors import NotFound
from kit.secret_files import folder_locked, read_secret, write_secret
from services.entitlement.ledger import Ledger, encode_ledger, parse_ledger

SETTING = "entitlement.dir"

Stamp: TypeAlias = tuple[int, int, int] | None
"""Differs when the file was replaced; None while there is none."""


class LedgerFile:
    """The ledger at a path. Every method blocks; for threads."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def stamp(self) -> Stamp:
        """Return what changes with the file."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def read(self) -> Ledger:
        """Return what is written there; a file that does not exist says nothing.

        Raises:
            SettingsError: It is no ledger, or others may read it.
        """
        try:
            return parse_ledger(read_secret(self.path), str(self.path))
        except NotFound:
            return Ledger()

    def change(self, edit: Callable[[Ledger], Ledger]) -> Ledger:
        """Write what ``edit`` makes of the ledger; return it once it is durable.

        Raises:
            OutOfSpace: The disk is full; what was there is there still.
        """
        with folder_locked(self.path.parent, setting=SETTING):
            changed = edit(self.read())
            write_secret(self.path, encode_ledger(changed), setting=SETTING)
        return changed
