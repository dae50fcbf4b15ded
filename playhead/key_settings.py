"""What can be told about keys."""

from __future__ import annotations

from pathlib import Path

from kit.settings import Group


class KeysSettings(Group, frozen=True):
    """Where this machine's keys are."""

    dir: Path = Path("keys")
    """Folder, below `data` unless absolute, for key files and the trusted root; only its owner may
    read it."""
    hsm_pin: str = ""
    """Of the token that `hsm:` keys are on. Better given by the environment than in a file."""
