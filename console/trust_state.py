"""What a console believed before, kept below the title's state folder.

::

    .playhead/trust/root_history/N.root.json   roots after the trusted one, each signed by the last
    .playhead/trust/timestamp.json, ...        what each role signed last, as it was verified
    .playhead/trust/verified                   the moment of the last verification, in seconds

Nothing of it is believed for being there: whoever can write into the folder may have put it there,
so documents are verified again from the trusted root, which is never read from here. What is
damaged is fetched again. What is lost is the memory of versions, by which an older state is told.

The library works on plain paths; so it works on a copy, in a folder that only it can reach.
"""

from __future__ import annotations

import re
from pathlib import Path

from console.durable import read_whole, write_whole
from console.safe_paths import Folder
from console.title_folder import TitleFolder
from manifests.trust_roles import METADATA_SIZE_MAX

TRUST = "trust"
ROOTS = "root_history"
VERIFIED = "verified"

NAME_PATTERN = r"[a-z0-9][a-z0-9.-]{0,126}\.json\Z"
FILE_COUNT_MAX = 320
"""A title has seven roles or eight; a root follows a root perhaps once a year."""
STATE_SIZE_MAX = 32 << 20


class TrustState:
    """Documents by file name, as last read or written. Its methods block."""

    def __init__(self, title_folder: TitleFolder) -> None:
        self._title_folder = title_folder
        self._documents: dict[str, bytes] = {}

    def verified_s(self) -> float:
        """Return the last verified moment, seconds since the Unix epoch; 0 if there is none."""
        with self._folder() as folder:
            found = read_whole(folder, VERIFIED, size_max=20)
        return float(found) if found is not None and found.isdigit() else 0.0

    def load(self) -> dict[str, bytes]:
        """Read what is there, within limits."""
        self._documents, size_left = {}, STATE_SIZE_MAX
        with self._folder() as folder, folder.inside(ROOTS) as roots:
            for below, prefix in ((folder, ""), (roots, f"{ROOTS}/")):
                for name in sorted(below.names())[:FILE_COUNT_MAX]:
                    if re.match(NAME_PATTERN, name) is None:
                        continue
                    limit = min(METADATA_SIZE_MAX, size_left)
                    found = read_whole(below, name, size_max=limit)
                    if found is not None:
                        self._documents[prefix + name] = found
                        size_left -= len(found)
        return dict(self._documents)

    def keep(self, documents: dict[str, bytes]) -> None:
        """Keep what the library believes now, roots first; each file is the old one or the new.

        Cut off it leaves a mixture, which the library takes for what it is: it asks again.
        """
        changed = {
            name: document
            for name, document in documents.items()
            if self._documents.get(name) != document
        }
        with self._folder() as folder, folder.inside(ROOTS) as roots:
            for name in sorted(changed, key=lambda name: not name.startswith(ROOTS)):
                below, _, file = name.rpartition("/")
                write_whole(roots if below else folder, file, changed[name], is_durable=False)
        self._documents |= changed

    def note(self, verified_s: float) -> None:
        """Remember a moment if it is the latest yet."""
        if verified_s > self.verified_s():
            with self._folder() as folder:
                write_whole(folder, VERIFIED, str(int(verified_s)).encode(), is_durable=False)

    def _folder(self) -> Folder:
        with self._title_folder.state.clone() as state:
            state.make_folder(TRUST)
            state.make_folder(f"{TRUST}/{ROOTS}")
            return state.inside(TRUST)


def lay_out(documents: dict[str, bytes], folder: Path) -> None:
    """Put documents into the library's folder."""
    (folder / ROOTS).mkdir()
    for name, document in documents.items():
        (folder / name).write_bytes(document)


def collect(folder: Path) -> dict[str, bytes]:
    """Return what the library keeps in its folder; ``root.json`` there is a link to a root."""
    files = [*folder.glob("*.json"), *(folder / ROOTS).glob("*.json")]
    return {
        str(file.relative_to(folder)): file.read_bytes() for file in files if not file.is_symlink()
    }
