"""The files by which this machine lets players in: keys, and what was revoked.

Apart from whoever serves with them: a console beside its server needs no server for that.
"""

from __future__ import annotations

from kit.clock import Clock
from kit.key_ring_file import KeyRingFile
from playhead.settings import Settings
from services.entitlement.ledger_file import LedgerFile


def lease_keys(settings: Settings, clock: Clock) -> KeyRingFile:
    """Return the file of keys that leases are made and checked by."""
    return KeyRingFile(settings.data / settings.keys.dir / settings.leases.keys_file, clock)


def ledger_file(settings: Settings) -> LedgerFile:
    """Return where this machine keeps what was revoked."""
    return LedgerFile(settings.data / settings.entitlement.dir / "ledger.json")
