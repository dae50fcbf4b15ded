"""What a disk's refusals mean, said once for all who write to disks."""

from __future__ import annotations

import errno
import os

from kit.errors import Denied, OutOfSpace


def disk_error(
    error: OSError, place: object, *, when_full: str, when_denied: str
) -> OutOfSpace | Denied | None:
    """Return our error for a full disk or a lack of rights; None if it is neither.

    Args:
        error: What the system raised.
        place: The file or folder that the message begins with.
        when_full: What the reader is to do, or to know, if the disk or a quota is full.
        when_denied: The same if the user may not write, or the disk is read-only.
    """
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return OutOfSpace(f"{place}: {error.strerror}; {when_full}")
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return Denied(f"{place}: {words_of(error)}; {when_denied}")
        case _:
            return None


def words_of(error: OSError) -> str:
    """Return what the system says, with the file it says it of, if it does."""
    name = error.filename
    return f"{error.strerror}: {os.fsdecode(name)}" if name is not None else str(error.strerror)
