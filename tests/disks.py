"""Small disks of their own for tests: in memory, or files with a file system. Needs root."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def memory_disk(folder: Path, size_mib: int) -> Iterator[Path]:
    """Mount so much memory at ``folder``."""
    options = ["-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs"]
    with _mounted(folder, options) as disk:
        yield disk


@contextmanager
def loop_disk(folder: Path, kind: str, size_mib: int) -> Iterator[Path]:
    """Make a file system of ``kind`` in a file and mount it at ``folder``."""
    command = shutil.which(f"mkfs.{kind}")
    if command is None:
        pytest.skip(f"mkfs.{kind} is not installed")
    image = folder.with_suffix(".image")
    with image.open("wb") as file:
        file.truncate(size_mib << 20)
    options = {"xfs": ["-m", "reflink=1"], "ext4": ["-m", "0"]}.get(kind, [])
    subprocess.run([command, "-q", *options, image], check=True, capture_output=True)
    try:
        with _mounted(folder, ["-o", "loop", str(image)]) as disk:
            yield disk
    finally:
        image.unlink()


def fill(disk: Path, leave: int) -> Path:
    """Put a file on the disk that leaves so many bytes free."""
    ballast = disk / "ballast"
    ballast.unlink(missing_ok=True)
    os.sync()
    found = os.statvfs(disk)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, found.f_bavail * found.f_frsize - leave)
    return ballast


def used_size(disk: Path) -> int:
    """Return how many bytes the disk holds."""
    os.sync()
    found = os.statvfs(disk)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


@contextmanager
def _mounted(folder: Path, options: list[str]) -> Iterator[Path]:
    folder.mkdir()
    command = ["mount", *options, str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a disk needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
