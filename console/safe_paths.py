"""A folder that no symbolic link leads out of: every path is walked part by part from its top.

Someone else may write into the folder a title is installed in, or may have prepared it. So no
part of a path is ever followed if it is a link, whatever it was a moment ago: each part is opened
relative to the one before it with ``O_NOFOLLOW``.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from types import TracebackType

from kit.errors import Conflict

OPEN_FOLDERS_MAX = 64
"""Files of one folder mostly follow each other; this many keep their folders at hand."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""Without ``O_NONBLOCK`` a planted FIFO would hang whoever opens it."""
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class Folder:
    """Files below one folder, by ``/``-separated relative path. Belongs to one thread.

    Every method that changes something raises :class:`~kit.errors.Conflict` where a part of the
    path that should be a folder is none, and otherwise lets :class:`OSError` through.
    """

    def __init__(self, fd: int) -> None:
        """Take over ``fd``, an open folder; it is closed by :meth:`close`."""
        self._top = fd
        self._open: dict[str, int] = {"": fd}

    @classmethod
    def at(cls, path: Path) -> Folder:
        """Open an existing folder by the path the user gave; links in *that* are theirs."""
        return cls(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every folder held open."""
        while self._open:
            os.close(self._open.popitem()[1])

    @property
    def fd(self) -> int:
        """The top folder's descriptor."""
        return self._top

    def clone(self) -> Folder:
        """Return the same folder for another thread."""
        return Folder(os.dup(self._top))

    def inside(self, path: str) -> Folder:
        """Return the folder at ``path``, to be closed by the caller."""
        return Folder(os.dup(self._folder(path)))

    def status(self, path: str) -> os.stat_result | None:
        """Return what is at ``path`` itself, a link unfollowed; None if nothing can be there."""
        try:
            folder, name = self._parent(path)
            return os.stat(name, dir_fd=folder, follow_symlinks=False)
        except Conflict:
            return None
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise

    def link_target(self, path: str) -> str | None:
        """Return where the link at ``path`` points to; None if there is no link."""
        found = self.status(path)
        if found is None or not stat.S_ISLNK(found.st_mode):
            return None
        folder, name = self._parent(path)
        return os.readlink(name, dir_fd=folder)

    def open_file(self, path: str) -> int | None:
        """Return a descriptor to read the regular file at ``path``; None if there is none."""
        try:
            folder, name = self._parent(path)
            fd = os.open(name, _READ, dir_fd=folder)
        except Conflict:
            return None
        except OSError as error:
            if error.errno in (*_ABSENT, errno.ENXIO):
                return None
            raise
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            return None
        return fd

    def make_folder(self, path: str) -> bool:
        """Make a folder, whose parent must exist; return False if it is one already."""
        folder, name = self._parent(path)
        try:
            os.mkdir(name, 0o777, dir_fd=folder)
        except FileExistsError:
            self._folder(path)
            return False
        return True

    def take_in(self, source: Folder, name: str, path: str) -> bool:
        """Move ``name`` of the folder ``source`` to ``path``; False if there is no such name."""
        folder, target = self._parent(path)
        try:
            os.rename(name, target, src_dir_fd=source.fd, dst_dir_fd=folder)
        except FileNotFoundError:
            return False
        except (IsADirectoryError, NotADirectoryError) as error:
            raise Conflict(f"{path}: a folder stands where a file should be") from error
        return True

    def set_executable(self, path: str, *, is_executable: bool) -> None:
        """Give a file the mode that a new one would have, executable or not."""
        fd = self.open_file(path)
        if fd is not None:
            try:
                os.fchmod(fd, file_mode(is_executable=is_executable))
            finally:
                os.close(fd)

    def remove_file(self, path: str) -> bool:
        """Remove a file or link; return False if there is none."""
        try:
            folder, name = self._parent(path)
            os.unlink(name, dir_fd=folder)
        except (Conflict, FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return False
        except PermissionError:
            # What some systems say of unlinking a folder.
            found = self.status(path)
            if found is None or not stat.S_ISDIR(found.st_mode):
                raise
            return False
        return True

    def remove_folder(self, path: str) -> bool:
        """Remove a folder if it is empty; return whether it is gone."""
        held = self._open.pop(path, None) if path else None
        if held is not None:
            os.close(held)
        try:
            folder, name = self._parent(path)
            os.rmdir(name, dir_fd=folder)
        except (Conflict, FileNotFoundError, NotADirectoryError):
            return True
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY):
                return False
            raise
        return True

    def names(self, path: str = "") -> list[str]:
        """Return what lies in a folder, unsorted."""
        # Opened anew: btrfs lists only what was in a folder when its descriptor was opened.
        fd = os.open(".", _FOLDER, dir_fd=self._folder(path))
        try:
            return os.listdir(fd)  # noqa: PTH208 - a descriptor has no Path
        finally:
            os.close(fd)

    def sync(self, path: str = "") -> None:
        """Make the names in a folder durable."""
        os.fsync(self._folder(path))

    def _parent(self, path: str) -> tuple[int, str]:
        folder, _, name = path.rpartition("/")
        return self._folder(folder), name

    def _folder(self, path: str) -> int:
        found = self._open.get(path)
        if found is not None:
            return found
        parent, name = self._parent(path)
        try:
            fd = os.open(name, _FOLDER, dir_fd=parent)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise Conflict(f"{path}: not a folder, and links are not followed") from error
            raise
        if len(self._open) >= OPEN_FOLDERS_MAX:
            self._forget_oldest()
        self._open[path] = fd
        return fd

    def _forget_oldest(self) -> None:
        oldest = next(path for path in self._open if path)
        os.close(self._open.pop(oldest))


def file_mode(*, is_executable: bool) -> int:
    """Return the permissions of a new file under the umask of this process."""
    return (0o777 if is_executable else 0o666) & ~_UMASK


def _read_umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


_UMASK = _read_umask()
"""Read once, while there is one thread: it can only be read by setting it."""
