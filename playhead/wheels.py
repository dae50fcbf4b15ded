"""Real builds from the package index, fetched once: the same bytes on every machine."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from kit.errors import Unavailable

PLATFORMS = ("manylinux2014", "manylinux_2_27", "manylinux_2_28", "manylinux_2_34")
"""One machine's wheels for all: figures should be about the same bytes everywhere."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """One wheel of the package index, pinned by digest."""

    name: str
    version: str
    sha256: str

    @property
    def requirement(self) -> str:
        """The line pip checks the download against."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


def fetch(wheel: Wheel, folder: Path) -> Path:
    """Return ``folder``, with ``wheel`` unpacked in it unless it was there before.

    Raises:
        Unavailable: The package index could not be reached, or gave other bytes.
    """
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as scratch:
        file = _download(wheel, Path(scratch))
        unpacked = Path(scratch) / "unpacked"
        _unpack(file, unpacked)
        unpacked.rename(folder)
    return folder


def _download(wheel: Wheel, scratch: Path) -> Path:
    requirements = scratch / "requirements.txt"
    requirements.write_text(wheel.requirement + "\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--require-hashes", "--python-version=3.11"]
    command += [f"--platform={name}_x86_64" for name in PLATFORMS]
    command += [f"--dest={scratch}", f"-r{requirements}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(scratch.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        raise Unavailable(
            f"pip could not fetch {wheel.name} {wheel.version};"
            f" pip said: {done.stderr.strip()[-500:]}"
        )
    return wheels[0]


def _unpack(wheel: Path, into: Path) -> None:
    """Like ``unzip``: zipfile alone forgets which files are executable."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(into)
        for member in archive.infolist():
            mode = member.external_attr >> 16
            if mode & 0o100 and not member.is_dir():
                (into / member.filename).chmod(mode & 0o777)
