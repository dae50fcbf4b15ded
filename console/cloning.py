"""Files that begin as clones: they share an old file's blocks until they are written to."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from console.safe_paths import Folder
from kit.buffers import Buffer

PROBE = "probe"

_FICLONE = 0x40049409
"""Source: ``linux/fs.h``."""
_CANNOT = (
    errno.EOPNOTSUPP,
    errno.ENOTTY,
    errno.EINVAL,
    errno.EXDEV,
    errno.ENOSYS,
    errno.EPERM,
    errno.ETXTBSY,
)
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Clones:
    """Which staged files begin as clones of which files below ``top``, by staged name."""

    top: Folder
    paths: Mapping[str, str] = field(default_factory=dict)


def can_clone(folder: Folder) -> bool:
    """Return whether the file system of ``folder`` makes clones; tried with a small file."""
    names = (PROBE, f"{PROBE}.clone")
    for name in names:
        folder.remove_file(name)
    source = os.open(PROBE, _NEW, 0o600, dir_fd=folder.fd)
    try:
        os.write(source, bytes(4096))
        return _cloned(folder, source, names[1], 0o600, 4096)
    finally:
        os.close(source)
        for name in names:
            folder.remove_file(name)


def make_clone(top: Folder, path: str, folder: Folder, name: str, *, mode: int, size: int) -> bool:
    """Make ``name`` in ``folder`` a clone of ``path``, cut or extended to ``size`` bytes.

    It is there whole or not at all. Returns False if that cannot be done; the file is to be
    built from nothing then.
    """
    source = top.open_file(path)
    if source is None:
        return False
    scratch = f"{name}.clone"
    try:
        folder.remove_file(scratch)
        if not _cloned(folder, source, scratch, mode, size):
            return False
    finally:
        os.close(source)
    return folder.take_in(folder, scratch, name)


def differs(fd: int, content: Buffer, offset: int) -> bool:
    """Return whether a file has other bytes than ``content`` at ``offset``."""
    size = len(content)
    found = os.pread(fd, size, offset)
    return len(found) != size or memoryview(found) != memoryview(content)


def _cloned(folder: Folder, source: int, name: str, mode: int, size: int) -> bool:
    if sys.platform != "linux":
        return False
    fd = os.open(name, _NEW, mode, dir_fd=folder.fd)
    try:
        fcntl.ioctl(fd, _FICLONE, source)
        os.ftruncate(fd, size)
    except OSError as error:
        folder.remove_file(name)
        if error.errno in _CANNOT:
            return False
        raise
    finally:
        os.close(fd)
    return True
