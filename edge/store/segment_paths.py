"""Where upstream has the blobs of a segment: for whoever must ask for one again.

A file of records of 256 bytes beside the table, one for each row: a checksum, a length, and the
path of a URL. A record is written before its row is live and read only when its blob rotted. It
may be missing: then nobody asks before a player does.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

RECORD_SIZE = 256
_HEAD = struct.Struct("<IB")
PATH_SIZE_MAX = RECORD_SIZE - _HEAD.size


def write_path(file: Path, row: int, path: str) -> None:
    """Note the path of a row's blob; one that is too long is not noted. Blocks.

    Raises:
        OSError: The disk does not take it.
    """
    raw = path.encode()
    if not 0 < len(raw) <= PATH_SIZE_MAX:
        return
    number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(number, _HEAD.pack(zlib.crc32(raw), len(raw)) + raw, row * RECORD_SIZE)
    finally:
        os.close(number)


def read_path(file: Path, row: int) -> str:
    """Return the path of a row's blob; empty if it is not known. Blocks."""
    try:
        number = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        record = os.pread(number, RECORD_SIZE, row * RECORD_SIZE)
    except OSError:
        return ""
    finally:
        os.close(number)
    if len(record) < _HEAD.size:
        return ""
    checksum, size = _HEAD.unpack_from(record)
    raw = record[_HEAD.size : _HEAD.size + size]
    if len(raw) != size or zlib.crc32(raw) != checksum:
        return ""  # the disk rots here, too
    return raw.decode(errors="replace")
