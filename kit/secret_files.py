"""Files that only their owner may read: written whole or not at all, and refused if others could.

Source: OpenSSH ``sshkey_perm_ok`` refuses a private key that group or others may read.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kit.disk_errors import disk_error
from kit.errors import NotFound, PlayheadError, SettingsError

FOLDER_MODE, FILE_MODE = 0o700, 0o600
SECRET_SIZE_MAX = 1 << 20

LOCK_NAME = ".lock"

KEYS_SETTING = "keys.dir"


def write_secret(path: Path, data: bytes, *, setting: str = KEYS_SETTING) -> None:
    """Store ``data`` as ``path`` for its owner alone, replacing what is there; durable.

    Its folder is made, for its owner alone, if there is none; ``setting`` names it in errors.

    Raises:
        OutOfSpace: The disk is full; what was there is there still.
        Denied: This user may not write there.
        SettingsError: The path is impossible.
    """
    with _errors_named(path, setting):
        path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
        temporary.unlink(missing_ok=True)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, FILE_MODE)  # whatever the umask says
            file.write(data)
            file.flush()
            os.fsync(handle)
        temporary.replace(path)
        _fsync_folder(path.parent)


def read_secret(path: Path) -> bytes:
    """Return what a secret file holds.

    Raises:
        NotFound: There is none.
        SettingsError: Others than its owner may read or write it, or it is no such file.
        Denied: This user may not read it.
    """
    try:
        with _errors_named(path), path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            if mode & 0o077:
                raise SettingsError(
                    f"{path} may be read by others (mode {mode:o}): "
                    f"`chmod 600 {path}`, and replace the key if they could have"
                )
            data = file.read(SECRET_SIZE_MAX + 1)
    except FileNotFoundError as error:
        raise NotFound(f"{path} does not exist") from error
    if len(data) > SECRET_SIZE_MAX:
        raise SettingsError(f"{path} is larger than a key can be")
    return data


def open_to_others(folder: Path) -> list[Path]:
    """Return ``folder`` and the files in it that others than their owner may read or write."""
    return [
        path
        for path in [folder, *sorted(folder.iterdir())]
        if path.name != LOCK_NAME and path.stat().st_mode & 0o077
    ]


@contextmanager
def folder_locked(folder: Path, *, setting: str = KEYS_SETTING) -> Iterator[None]:
    """Keep other processes of this machine out of ``folder``; waits for them, blocks the thread."""
    with _errors_named(folder, setting):
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        handle = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _errors_named(path: Path, setting: str = KEYS_SETTING) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, PlayheadError):
        raise
    except OSError as error:
        advice = f"choose another folder by the setting {setting}"
        found = disk_error(error, path, when_full="free some space there", when_denied=advice)
        raise found or SettingsError(f"{path}: {error.strerror}; {advice}") from error
