"""Put staged files in place, so that a crash at any moment is finished by doing it again.

Every step looks at what is there and does what is left. Removals come before moves, so that a
file may become a folder and the other way round; nothing is fetched any more, so whatever stops a
commit, the same command ends it.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from console.durable import SYNC_EACH_MAX, read_whole, sync_file_system
from console.installed import NO_STAMP, Installed, Stamps, entries_of, stamp_of
from console.journal import Intent
from console.layout import Mask
from console.safe_paths import Folder
from console.staging import staged_name
from kit.errors import Conflict
from manifests.documents import Release
from manifests.model import Build, Entry, EntryKind
from manifests.names import Channel


@dataclass(frozen=True)
class Owned:
    """What is installed, and the build it belongs to."""

    record: Installed
    build: Build


@dataclass(frozen=True)
class Target:
    """What is to be installed."""

    release: Release
    channel: Channel
    build: Build


def refuse_foreign(top: Folder, target: Build, staged: Sequence[Mask], old: Owned | None) -> None:
    """Do nothing if no file of anyone else is in the way.

    Raises:
        Conflict: A path that a new file needs is taken by something the console did not install.
    """
    owned = set() if old is None else _leaves(old.build, old.record.groups)
    free: dict[str, bool] = {"": False}
    for group, index, entry in entries_of(target, range(len(target.shards))):
        if staged[group][index] and not _is_free(top, _parent(entry.path), owned, free):
            _refuse_at(top, entry, owned, set() if old is None else set(old.record.folders))


def intent_of(top: Folder, target: Build, groups: Sequence[int]) -> Intent:
    """Return the intent to put ``groups`` in place, with the folders that are yet to be made."""
    needed = _folders((entry for _, _, entry in entries_of(target, groups)))
    missing = [path for path in needed if not _is_folder(top, path)]
    return Intent(groups=tuple(groups), folders=tuple(missing))


def commit(
    top: Folder,
    staging: Folder,
    target: Target,
    intent: Intent,
    old: Owned | None,
    *,
    unsound: Sequence[tuple[int, int]] = (),
) -> Installed:
    """Make the title's folder hold the groups of ``intent``; return the record to be written.

    Its script was carried out; ``unsound`` entries did not come out of that as they should, and
    get no stamp.

    May be called again after a crash anywhere in it, with the same arguments.
    """
    is_same_build = old is not None and old.build.build_id == target.build.build_id
    touched = set() if old is None or is_same_build else _remove_old(top, target.build, old)
    for path in _folders(entry for _, _, entry in entries_of(target.build, intent.groups)):
        top.make_folder(path)
    staged = set(staging.names())
    for group, index, entry in entries_of(target.build, intent.groups):
        name = staged_name(group, index)
        if name in staged:
            top.take_in(staging, name, entry.path)
            touched.add(_parent(entry.path))
    known = old if is_same_build else None
    groups, stamps = _stamps(top, target.build, intent, known, set(unsound))
    _sync(top, staging, touched | set(intent.folders))
    kept = () if old is None else old.record.folders
    return Installed(
        release=target.release,
        channel=target.channel,
        groups=groups,
        folders=tuple(p for p in dict.fromkeys((*kept, *intent.folders)) if _is_folder(top, p)),
        stamps=stamps,
    )


def drop_unchanged(top: Folder, staging: Folder, build: Build, doubtful: Sequence[Mask]) -> int:
    """Drop staged files that turned out to be what is installed; return how many."""
    count = 0
    for group, mask in enumerate(doubtful):
        for index in np.flatnonzero(mask).tolist():
            entry, name = build.shards[group].entries[index], staged_name(group, index)
            content = read_whole(staging, name, size_max=entry.size)
            if content is not None and content == read_whole(top, entry.path, size_max=entry.size):
                staging.remove_file(name)
                count += 1
    return count


def remove_installed(top: Folder, old: Owned) -> tuple[int, list[str]]:
    """Remove every file and link of the record, and the folders it made that are empty then.

    Returns how many files were removed, and what could not be because it is not ours any more.
    """
    removed, left = 0, []
    for path in _leaves(old.build, old.record.groups):
        if top.remove_file(path):
            removed += 1
        elif top.status(path) is not None:
            left.append(path)
    for path in _deepest_first(old.record.folders):
        top.remove_folder(path)
    return removed, left


def _refuse_at(top: Folder, entry: Entry, owned: set[str], folders: set[str]) -> None:
    found = top.status(entry.path)
    if found is None or (entry.path in owned and not stat.S_ISDIR(found.st_mode)):
        return
    if stat.S_ISDIR(found.st_mode):
        if entry.kind is EntryKind.DIRECTORY:
            return
        stranger = _stranger_in(top, entry.path, owned, folders)
        if stranger is None:
            return
        raise _in_the_way(stranger)
    raise _in_the_way(entry.path)


def _stranger_in(top: Folder, path: str, owned: set[str], folders: set[str]) -> str | None:
    """Return something below the folder ``path`` that is not ours; None if all of it is."""
    if path not in folders:
        return path
    for name in sorted(top.names(path)):
        below = f"{path}/{name}"
        found = top.status(below)
        if found is not None and stat.S_ISDIR(found.st_mode):
            stranger = _stranger_in(top, below, owned, folders)
            if stranger is not None:
                return stranger
        elif below not in owned:
            return below
    return None


def _is_free(top: Folder, folder: str, owned: set[str], known: dict[str, bool]) -> bool:
    """Return whether nothing can be in ``folder``, for it is yet to be made.

    Raises:
        Conflict: It cannot be made: something of somebody else stands there.
    """
    found = known.get(folder)
    if found is None:
        found = _is_free(top, _parent(folder), owned, known)
        if not found:
            status = top.status(folder)
            is_folder = status is not None and stat.S_ISDIR(status.st_mode)
            if status is not None and not is_folder and folder not in owned:
                raise _in_the_way(folder)
            found = not is_folder
        known[folder] = found
    return found


def _in_the_way(path: str) -> Conflict:
    return Conflict(
        f"{path}: the new build has a file here, and what stands here was not installed by this"
        " console; move it away and run the same command"
    )


def _remove_old(top: Folder, new: Build, old: Owned) -> set[str]:
    """Remove what the new build has not; return the folders that files were removed from."""
    groups = range(len(new.shards))
    dropped = _leaves(old.build, old.record.groups) - _leaves(new, groups)
    for path in dropped:
        top.remove_file(path)
    needed = set(_folders(entry for _, _, entry in entries_of(new, groups)))
    for path in _deepest_first(set(old.record.folders) - needed):
        top.remove_folder(path)
    return {_parent(path) for path in dropped}


def _stamps(
    top: Folder,
    build: Build,
    intent: Intent,
    old: Owned | None,
    unsound: set[tuple[int, int]],
) -> tuple[tuple[int, ...], Stamps]:
    """Return the groups in place now and their stamps; groups not of the intent keep theirs."""
    rows: dict[int, list[tuple[int, ...]]] = {}
    if old is not None:
        known = iter(old.record.stamps.tolist())
        for group, _, _ in entries_of(old.build, old.record.groups):
            rows.setdefault(group, []).append(tuple(next(known)))
    for group in intent.groups:
        rows[group] = [
            NO_STAMP if (group, index) in unsound else _stamp(top, entry)
            for index, entry in enumerate(build.shards[group].entries)
        ]
    groups = tuple(sorted(rows))
    stamps = [stamp for group in groups for stamp in rows[group]]
    return groups, np.array(stamps, np.int64).reshape(-1, 2)


def _stamp(top: Folder, entry: Entry) -> tuple[int, int]:
    """Return an entry's stamp; one that is no more what was put there gets none, and is mended
    by the next repair or update instead of stopping this commit for good."""
    found = top.status(entry.path)
    if found is None:
        return NO_STAMP
    if not entry.kind.is_file:
        return stamp_of(found)
    if not stat.S_ISREG(found.st_mode) or found.st_size != entry.size:
        return NO_STAMP
    is_executable = entry.kind is EntryKind.EXECUTABLE
    if bool(found.st_mode & 0o100) != is_executable:
        top.set_executable(entry.path, is_executable=is_executable)
    return stamp_of(found)


def _sync(top: Folder, staging: Folder, touched: set[str]) -> None:
    """Make the names in these folders, and the folders' own names, durable."""
    wanted = {""}
    for path in touched:
        above = path
        while above not in wanted:
            wanted.add(above)
            above = _parent(above)
    if len(wanted) > SYNC_EACH_MAX:
        sync_file_system(top.fd)
        return
    for path in wanted:
        if path == "" or _is_folder(top, path):
            top.sync(path)
    staging.sync()


def _leaves(build: Build, groups: Iterable[int]) -> set[str]:
    return {
        entry.path
        for _, _, entry in entries_of(build, tuple(groups))
        if entry.kind is not EntryKind.DIRECTORY
    }


def _folders(entries: Iterable[Entry]) -> list[str]:
    """Return every folder that entries are or lie in, parents first; without the top."""
    found: dict[str, None] = {}
    for entry in entries:
        own = entry.path if entry.kind is EntryKind.DIRECTORY else _parent(entry.path)
        missing: list[str] = []
        while own and own not in found:
            missing.append(own)
            own = _parent(own)
        found.update(dict.fromkeys(reversed(missing)))
    return list(found)


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _deepest_first(paths: Iterable[str]) -> list[str]:
    return sorted(paths, key=lambda path: path.count("/"), reverse=True)


def _is_folder(top: Folder, path: str) -> bool:
    found = top.status(path)
    return found is not None and stat.S_ISDIR(found.st_mode)
