"""Removing what earlier versions kept in a cache folder: a file per blob, named by digest."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from kit.telemetry import get_logger

log = get_logger("edge.store")

_FAN = re.compile(r"[0-9a-f]{2}")
_BLOB = re.compile(r"[0-9a-f]{64}(\.part)?")


def remove_old_caches(folder: Path) -> None:
    """Delete blobs in files of their own, which nothing reads any more; others' files stay.

    Blocks. What cannot be deleted is left.
    """
    count = size = 0
    with suppress(FileNotFoundError):
        for fan in [Path(entry.path) for entry in os.scandir(folder) if _FAN.fullmatch(entry.name)]:
            with suppress(OSError):
                for file in list(os.scandir(fan)):
                    if _BLOB.fullmatch(file.name):
                        size += file.stat(follow_symlinks=False).st_size
                        Path(file.path).unlink()
                        count += 1
                fan.rmdir()
    if count:
        log.info("cache.old_format_removed", folder=str(folder), files=count, bytes=size)
