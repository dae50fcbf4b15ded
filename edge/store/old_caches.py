"""Removing what earlier versions kept in a cache folder: a file per blob, named by digest."""

from __future__ import annotations

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
    with suppress(OSError):  # whoever makes the folder next says what is wrong with it
        for fan in [path for path in folder.iterdir() if _FAN.fullmatch(path.name)]:
            with suppress(OSError):
                for file in [path for path in fan.iterdir() if _BLOB.fullmatch(path.name)]:
                    size += file.lstat().st_size
                    file.unlink()
                    count += 1
                fan.rmdir()
    if count:
        log.info("cache.old_format_removed", folder=str(folder), files=count, bytes=size)
