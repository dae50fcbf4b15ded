"""Whether this system can tell what it has in memory of a file."""

from __future__ import annotations

import platform
import sys


def can_tell() -> bool:
    """Linux can, since 6.5."""
    if sys.platform != "linux":
        return False
    major, minor = map(int, platform.release().split(".")[:2])
    return (major, minor) >= (6, 5)
