"""Say what is in a folder without touching it: from the records alone."""

from __future__ import annotations

from pathlib import Path

from console.installed import Installed, read_installed
from console.journal import Pending, read_journal
from console.reports import Status, UnderWay
from console.title_folder import TitleFolder
from kit.errors import FormatError, IntegrityError, NotFound
from manifests.documents import ROOT_SIZE_MAX, Group, Root, parse_root


def status_of(path: Path) -> Status:
    """Return what is in the folder ``path``. Blocks.

    Raises:
        NotFound: The console has nothing there.
        IntegrityError: The record of what is installed is damaged.
    """
    folder = TitleFolder.peek(path)
    try:
        with folder.state.clone() as state:
            installed, pending = read_installed(state), read_journal(state)
        if installed is not None:
            return _installed(folder, installed, pending)
        if pending is not None:
            return _about_to_be(folder, pending)
        raise NotFound(f"{path}: nothing is installed here")
    finally:
        folder.close()


def _installed(folder: TitleFolder, installed: Installed, pending: Pending | None) -> Status:
    release = installed.release
    root = _root(folder, installed)
    groups: list[Group] = [root.groups[group] for group in installed.groups] if root else []
    return Status(
        title=release.title,
        channel=installed.channel,
        version=release.version,
        release=release.counter,
        build_id=release.root.digest,
        installed_bytes=sum(group.size for group in groups),
        entries=sum(group.entry_count for group in groups),
        is_complete=root is not None and len(groups) == len(root.groups),
        under_way=None if pending is None else _under_way(folder, pending),
    )


def _about_to_be(folder: TitleFolder, pending: Pending) -> Status:
    return Status(
        title=pending.begin.release.title,
        channel=pending.begin.channel,
        version=None,
        release=None,
        build_id=None,
        installed_bytes=0,
        entries=0,
        is_complete=False,
        under_way=_under_way(folder, pending),
    )


def _under_way(folder: TitleFolder, pending: Pending) -> UnderWay:
    release = pending.begin.release
    return UnderWay(
        version=release.version,
        release=release.counter,
        build_id=release.root.digest,
        is_committing=pending.intent is not None,
        is_in_place=pending.intent is not None and pending.intent.has_script,
        staged_bytes=folder.staged_size(pending.build_id),
    )


def _root(folder: TitleFolder, installed: Installed) -> Root | None:
    digest = installed.release.root.raw_digest
    content = folder.manifest(digest, ROOT_SIZE_MAX)
    try:
        return None if content is None else parse_root(content, digest, installed.release.title)
    except (IntegrityError, FormatError):
        return None
