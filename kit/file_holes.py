"""Giving parts of a file back to the disk: a hole reads as zeros and takes no room."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable

Punch = Callable[[int, int, int], bool]
"""Frees bytes of an open file, from and to, and tells whether the file system can do that."""

HOLE_SIZE = 4096
"""Holes begin and end at multiples of this: a block of every file system of note."""

_KEEP_SIZE = 0x01
_PUNCH_HOLE = 0x02
"""``FALLOC_FL_*`` of ``linux/falloc.h``; Python's ``os`` has only ``posix_fallocate``."""


def punch_hole(file: int, start: int, end: int) -> bool:
    """Free the bytes ``[start, end)`` of an open file; tell whether the file system can do that.

    Raises:
        OSError: The disk refused for another reason.
    """
    fallocate = _fallocate()
    if fallocate is None:
        return False
    if fallocate(file, _PUNCH_HOLE | _KEEP_SIZE, start, end - start) == 0:
        return True
    number = ctypes.get_errno()
    if number in {errno.EOPNOTSUPP, errno.ENOSYS}:
        return False
    raise OSError(number, os.strerror(number))


def size_taken(file: int) -> int:
    """Return how many bytes of disk an open file takes."""
    return os.fstat(file).st_blocks * 512  # POSIX leaves the unit open; all systems take this


def _fallocate() -> ctypes._NamedFuncPointer | None:
    if sys.platform != "linux":
        return None
    global _found  # noqa: PLW0603 - looked up once
    if _found is None:
        _found = ctypes.CDLL(None, use_errno=True).fallocate64
        _found.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return _found


_found: ctypes._NamedFuncPointer | None = None
