"""What is known of warms across restarts: a file each, replaced whole. All functions block."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from edge.operating.messages import Warm
from kit.telemetry import get_logger

log = get_logger("edge.operating")

FOLDER = "warms"
FILE_SIZE_MAX = 1 << 20
ID_PATTERN = r"[0-9]{8}t[0-9]{6}-[0-9a-f]{8}"


def read_warms(folder: Path) -> list[Warm]:
    """Return every warm whose file can be read, the oldest first; what cannot be is left alone."""
    return sorted(_readable(folder), key=lambda warm: warm.begun_s)


def write_warm(folder: Path, warm_id: str, content: bytes) -> None:
    """Replace the file of a warm: the warm as JSON.

    It is not fsynced: after a power cut the warm begins anew, and finds what it had brought.

    Raises:
        OSError: The disk refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = _file(folder, warm_id)
    temporary = file.with_suffix(".part")
    try:
        temporary.write_bytes(content)
        temporary.rename(file)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def forget_warm(folder: Path, warm_id: str) -> None:
    """Delete the files of a warm, if there are any."""
    with suppress(OSError):
        _file(folder, warm_id).unlink(missing_ok=True)


def _file(folder: Path, warm_id: str) -> Path:
    return folder / f"{warm_id}.json"


def _readable(folder: Path) -> Iterator[Warm]:
    for file in folder.glob("*.json") if folder.is_dir() else ():
        try:
            if not re.fullmatch(ID_PATTERN, file.stem) or file.stat().st_size > FILE_SIZE_MAX:
                continue
            yield msgspec.json.decode(file.read_bytes(), type=Warm)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("warm.unreadable", file=file.name, error=str(error))
