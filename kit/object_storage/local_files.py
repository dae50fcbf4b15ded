"""Files below a root: found without following links, and named only once they are whole.

Every path is walked from the root by directory handles that do not follow symbolic links: what
is planted below the root leads nowhere outside it, also when it is planted while we walk.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, TypeAlias

from kit.buffers import Buffer
from kit.errors import Conflict

Naming: TypeAlias = Literal["link", "rename"]
"""``link`` fails if the name is taken, which is create-once; ``rename`` replaces."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def folder_at(root: Path, path: str, *, make: bool = False) -> Iterator[int]:
    """Open the folder ``path`` below ``root``, making what is missing if told to.

    Raises:
        FileNotFoundError: A part is not there, or is no folder.
        Conflict: A part is no folder, and one was to be made.
    """
    handle = os.open(root, _FOLDER)  # the root itself may be a link: the operator chose it
    try:
        for part in filter(None, path.split("/")):
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=handle)
            try:
                inner = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=handle)
            except OSError as error:
                if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                    raise
                if make:
                    raise Conflict(f"{root / path}: {part!r} is there and is no folder") from error
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from error
            os.close(handle)
            handle = inner
        yield handle
    finally:
        os.close(handle)


def has_file(folder: int, name: str) -> bool:
    """Tell whether a file has the name.

    Raises:
        IsADirectoryError: Something else has it.
    """
    try:
        status = os.lstat(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    return True


def write_then_name(data: Buffer, tmp: int, folder: int, name: str, how: Naming) -> bool:
    """Write ``data`` in ``tmp``, fsync it, name it in ``folder``; return whether it got the name.

    Unless the process is killed, nothing stays in ``tmp``. The name survives a power cut once
    the caller has fsynced ``folder``.
    """
    temporary = secrets.token_hex(16)
    file = os.open(temporary, _CREATE, 0o644, dir_fd=tmp)
    try:
        with os.fdopen(file, "wb", buffering=0) as raw:
            rest = memoryview(data).cast("B")
            while rest:
                rest = rest[raw.write(rest) :]
            os.fsync(file)
        if how == "rename":
            os.rename(temporary, name, src_dir_fd=tmp, dst_dir_fd=folder)
        else:
            os.link(temporary, name, src_dir_fd=tmp, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        return not has_file(folder, name)
    else:
        return True
    finally:
        with suppress(FileNotFoundError):  # renamed
            os.unlink(temporary, dir_fd=tmp)


def make_durably(folder: Path) -> None:
    """Make ``folder`` and what is missing above it, each sure to survive a power cut."""
    if folder.is_dir():
        return
    if not folder.parent.is_dir():
        make_durably(folder.parent)
    folder.mkdir(exist_ok=True)
    handle = os.open(folder.parent, _FOLDER)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
