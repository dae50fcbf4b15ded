"""The folder a title is installed in, and what the console keeps inside it.

::

    game/                      the title's files, and whatever else people put there
    game/.playhead/lock        held while a console works on the folder
    game/.playhead/installed   what is installed (``installed.py``)
    game/.playhead/journal     what is under way (``journal.py``)
    game/.playhead/seen        the highest release counter ever seen
    game/.playhead/trust/      what was believed of who may vouch (``trust_state.py``)
    game/.playhead/manifests/  roots and pages by digest, verified again whenever they are read
    game/.playhead/staging/    one folder for each build under construction (``staging.py``);
                               chunks and scripts for files to be patched (``patching.py``)
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from chunks.chunk_id import Digest
from console.durable import read_whole, sync_files, write_whole
from console.safe_paths import Folder
from kit.buffers import Buffer
from kit.errors import Conflict, NotFound
from manifests.paths import STATE_FOLDER

LOCK = "lock"
SEEN = "seen"
MANIFESTS = "manifests"
STAGING = "staging"


class TitleFolder:
    """Holds the lock. Its methods block; ``top`` and ``state`` are to be cloned by threads."""

    def __init__(self, path: Path, top: Folder, state: Folder, lock: int | None) -> None:
        self.path = path
        self.top = top
        self.state = state
        self._lock = lock

    @classmethod
    def open(cls, path: Path, *, may_create: bool) -> TitleFolder:
        """Open and lock a folder.

        Raises:
            NotFound: The console has nothing there, and may not create it.
            Conflict: Another console is at work on it, or the state folder is a link.
        """
        if may_create:
            path.mkdir(parents=True, exist_ok=True)
        folder = cls._opened(path, may_create=may_create)
        try:
            folder._lock = _lock(path, folder.state)
            for name in (MANIFESTS, STAGING):
                folder.state.make_folder(name)
        except BaseException:
            folder.close()
            raise
        return folder

    @classmethod
    def peek(cls, path: Path) -> TitleFolder:
        """Open a folder for reading only, beside whoever works on it.

        Raises:
            NotFound: The console has nothing there.
        """
        return cls._opened(path, may_create=False)

    @classmethod
    def _opened(cls, path: Path, *, may_create: bool) -> TitleFolder:
        if not may_create and not (path / STATE_FOLDER).is_dir():
            raise NotFound(f"{path}: nothing is installed here")
        top = Folder.at(path)
        try:
            if may_create:
                top.make_folder(STATE_FOLDER)
            return cls(path, top, top.inside(STATE_FOLDER), None)
        except BaseException:
            top.close()
            raise

    def close(self) -> None:
        """Release the lock."""
        self.state.close()
        self.top.close()
        if self._lock is not None:
            os.close(self._lock)

    def staging(self, build_id: Digest) -> Folder:
        """Return the staging folder of a build, made if need be; the caller closes it."""
        with self.state.clone() as state:
            path = f"{STAGING}/{_staging_name(build_id)}"
            state.make_folder(path)
            return state.inside(path)

    def staged_size(self, build_id: Digest) -> int:
        """Return how many bytes on disk a build's staging takes; 0 if there is none."""
        path = f"{STAGING}/{_staging_name(build_id)}"
        with self.state.clone() as state:
            if state.status(path) is None:
                return 0
            found = [state.status(f"{path}/{name}") for name in state.names(path)]
        return sum(status.st_blocks * 512 for status in found if status is not None)

    def drop_staging(self, keep: frozenset[Digest]) -> None:
        """Remove every staging folder but those of the builds ``keep``."""
        kept = {_staging_name(build_id) for build_id in keep}
        with self.state.clone() as state:
            for name in state.names(STAGING):
                if name not in kept:
                    _remove_tree(state, f"{STAGING}/{name}")

    def manifest(self, digest: Digest, size_max: int) -> bytes | None:
        """Return a root or page that is kept here, *not yet verified*."""
        with self.state.clone() as state, state.inside(MANIFESTS) as folder:
            return read_whole(folder, digest.hex(), size_max=size_max)

    def keep_manifest(self, digest: Digest, content: Buffer) -> None:
        """Keep a root or page; not durable before :meth:`sync_manifests`."""
        with self.state.clone() as state, state.inside(MANIFESTS) as folder:
            write_whole(folder, digest.hex(), content, is_durable=False)

    def sync_manifests(self) -> None:
        """Make every root and page that is kept durable."""
        with self.state.clone() as state, state.inside(MANIFESTS) as folder:
            sync_files(folder, folder.names())

    def drop_manifests(self, keep: frozenset[Digest]) -> None:
        """Remove every root and page but ``keep``."""
        kept = {digest.hex() for digest in keep}
        with self.state.clone() as state:
            for name in state.names(MANIFESTS):
                if name not in kept:
                    state.remove_file(f"{MANIFESTS}/{name}")

    def counter_seen(self) -> int:
        """Return the highest release counter seen; 0 if none."""
        with self.state.clone() as state:
            content = read_whole(state, SEEN, size_max=20)
        return int(content) if content is not None and content.isdigit() else 0

    def see_counter(self, counter: int) -> None:
        """Remember a release counter if it is the highest yet."""
        if counter > self.counter_seen():
            with self.state.clone() as state:
                write_whole(state, SEEN, str(counter).encode())

    def forget(self) -> None:
        """Remove the console's own state, the lock last."""
        with self.top.clone() as top:
            if top.status(STATE_FOLDER) is not None:
                _remove_tree(top, STATE_FOLDER, last=LOCK)


def _lock(path: Path, state: Folder) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(LOCK, flags, 0o666, dir_fd=state.fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_held = os.fstat(fd).st_nlink > 0  # else whoever held it has just removed it
    except BlockingIOError:
        is_held = False
    if not is_held:
        os.close(fd)
        raise Conflict(f"{path}: another console is at work on this folder")
    return fd


def _staging_name(build_id: Digest) -> str:
    return build_id.hex()[:32]


def _remove_tree(folder: Folder, path: str, last: str = "") -> None:
    """Remove a folder with all it holds; links in it are removed, never followed."""
    for name in sorted(folder.names(path), key=lambda name: name == last):
        below = f"{path}/{name}"
        if not folder.remove_file(below):
            _remove_tree(folder, below)
    folder.remove_folder(path)
