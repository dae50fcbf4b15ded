"""What the system has in memory of a file, asked without reading it.

Linux alone can tell, since 6.5, by ``cachestat(2)``. Elsewhere the answer is "not known to be".
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import platform
import sys

CACHESTAT = 451
"""The number of the system call, the same on every architecture that was there by then."""


_CANNOT_TELL = {errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP}
"""An older system, one that forbids to ask, a file system that knows no pages."""


class _Range(ctypes.Structure):
    _fields_ = (("offset", ctypes.c_uint64), ("size", ctypes.c_uint64))


class _Counts(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in ("cached", "dirty", "written_back", "evicted", "recently_evicted")
    )


class PageCache:
    """Asks the system. Belongs to one thread: it asks by the same few bytes each time."""

    def __init__(self) -> None:
        self._range = _Range()
        self._counts = _Counts()
        self._arguments = (ctypes.byref(self._range), ctypes.byref(self._counts), 0)
        self._can_tell = sys.platform == "linux" and platform.machine() != "alpha"
        self._call = ctypes.CDLL(None, use_errno=True).syscall if self._can_tell else None

    def holds(self, file: int, offset: int, size: int) -> bool:
        """Tell whether all of ``[offset, offset + size)`` of a file, some bytes, is known to be in
        memory.

        Waits for nothing: it costs a microsecond or two. ``file`` is a descriptor.
        """
        if self._call is None or not self._can_tell:
            return False
        self._range.offset, self._range.size = offset, size
        if self._call(CACHESTAT, file, *self._arguments) != 0:
            if ctypes.get_errno() in _CANNOT_TELL:
                self._can_tell = False
            return False
        pages = (offset + size - 1) // mmap.PAGESIZE - offset // mmap.PAGESIZE + 1
        return int(self._counts.cached) >= pages
