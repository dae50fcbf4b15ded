"""Write the packager's own small files so that no kill and no power cut leaves half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kit.buffers import Buffer
from kit.disk_errors import disk_error
from kit.errors import SettingsError


def replace_file(path: Path, data: Buffer) -> None:
    """Store ``data`` as ``path``, replacing what is there; all of it or nothing.

    Raises:
        OutOfSpace: The disk is full.
        Denied: This user may not write there.
    """
    with errors_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.new")
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        fsync_folder(path.parent)


def fsync_folder(folder: Path) -> None:
    """Make sure that the names in ``folder`` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def errors_named(path: Path) -> Iterator[None]:
    """Turn what the system says of ``path`` into our errors."""
    try:
        yield
    except OSError as error:
        advice = "choose another cache folder"
        found = disk_error(error, path, when_full="free some space there", when_denied=advice)
        raise found or SettingsError(f"{path}: {error.strerror}; {advice}") from error
