"""Two consecutive real releases of a game engine, fetched once: what the demo publishes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from kit.errors import Unavailable


@dataclass(frozen=True, slots=True)
class DemoBuild:
    """One wheel of the package index, pinned by digest: the same bytes on every machine."""

    version: str
    sha256: str

    @property
    def requirement(self) -> str:
        """The line pip checks the download against."""
        return f"panda3d=={self.version} --hash=sha256:{self.sha256}"


OLD = DemoBuild("1.10.15", "0969b3d452469d75a3b23dd451c47fa7efb806016cedd153946865798a69df70")
NEW = DemoBuild("1.10.16", "8aa53ad6d83eaa750d84e8c1d84919c0f1167212208c836c15b998409cdb6a83")


def fetch(build: DemoBuild, into: Path) -> Path:
    """Return the folder of ``build`` below ``into``, fetching and unpacking it if it is not there.

    Raises:
        Unavailable: The package index could not be reached, or gave other bytes.
    """
    folder = into / f"panda3d-{build.version}"
    if folder.exists():
        return folder
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into, prefix=".fetch-") as scratch:
        wheel = _download(build, Path(scratch))
        unpacked = Path(scratch) / "unpacked"
        _unpack(wheel, unpacked)
        unpacked.rename(folder)
    return folder


def _download(build: DemoBuild, scratch: Path) -> Path:
    requirements = scratch / "requirements.txt"
    requirements.write_text(build.requirement + "\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--require-hashes", "--python-version=3.11"]
    # One platform for all: the demo's figures should be about the same bytes everywhere.
    command += ["--platform=manylinux2014_x86_64", f"--dest={scratch}", f"-r{requirements}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(scratch.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        raise Unavailable(
            f"pip could not fetch panda3d {build.version}; name two folders of your own with"
            f" `make demo OLD=dir NEW=dir`. pip said: {done.stderr.strip()[-500:]}"
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
