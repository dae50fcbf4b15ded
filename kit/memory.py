"""How much memory this process holds: what it held at most, and what it gives back."""

from __future__ import annotations

import ctypes
import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")

_MMAP_THRESHOLD = -3
"""``M_MMAP_THRESHOLD`` of ``mallopt``."""
_LARGE_SIZE = 256 << 10


def give_back_large_blocks() -> None:
    """Make memory of 256 KiB and more go back to the system as soon as it is freed.

    glibc raises its own threshold to the largest block it has seen, up to 32 MiB, and each thread
    keeps what it freed: buffers of megabytes would add up to more than was ever in use.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:  # musl has none, and needs none
            mallopt(_MMAP_THRESHOLD, _LARGE_SIZE)


def peak_bytes() -> int:
    """Return the most memory this program held since it was started, in bytes. Reads a file.

    Not ``ru_maxrss`` where it can be helped: that begins with the size of whoever started us.
    """
    if STATUS.exists():
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
