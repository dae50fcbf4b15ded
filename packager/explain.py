"""Say what a build would mean for players: which files change, and what a console downloads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec
import numpy as np

from chunks.plan import Wanted, range_requests
from manifests.changes import Change, EntryChange, entry_changes, missing_rows
from manifests.documents import Root, encode
from manifests.model import U32, Build


class ChangeCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many files, links and empty folders there are of each kind of change."""

    added: int = 0
    changed: int = 0
    mode: int = 0
    unchanged: int = 0
    removed: int = 0


class FileChange(msgspec.Struct, frozen=True, kw_only=True):
    """A path that is not as before; sizes in bytes, 0 where there is no such file."""

    path: str
    change: Change
    old_size: int
    new_size: int


class Download(msgspec.Struct, frozen=True, kw_only=True):
    """What a console fetches to have a build; sizes in bytes."""

    chunk_count: int
    size: int
    """Of all ranges of bundles, with what lies between wanted chunks."""
    request_count: int
    """For those ranges."""
    manifest_size: int
    """Root and pages, fetched first."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """A build beside the one before it."""

    files: tuple[FileChange, ...]
    """All that is not as before, in play order; removed ones last."""
    update: Download | None
    """From the build before; None if there is none."""
    install: Download


def count_changes(changes: Iterable[EntryChange]) -> ChangeCounts:
    """Count ``changes`` by kind."""
    counts = Counter(change.change.value for change in changes)
    return ChangeCounts(**counts)


def explain(old: Build | None, new: Build) -> Explanation:
    """Compare ``new`` with what players have, and plan what a console would fetch."""
    changes = entry_changes(old, new)
    return Explanation(
        files=tuple(_file_change(c) for c in changes if c.change is not Change.UNCHANGED),
        update=None if old is None else download(old, new),
        install=download(None, new),
    )


def download(old: Build | None, new: Build) -> Download:
    """Return what a console that has ``old``, or nothing, fetches to have ``new``."""
    has = frozenset[bytes]() if old is None else old.row_of.keys()
    rows = missing_rows(new, lambda chunk_id: chunk_id in has)
    requests = list(range_requests(wanted_of(new, rows)))
    return Download(
        chunk_count=len(rows),
        size=sum(request.size for request in requests),
        request_count=len(requests),
        manifest_size=_manifest_size(None if old is None else old.root, new.root),
    )


def wanted_of(build: Build, rows: U32) -> list[Wanted]:
    """Return where each of ``rows`` is stored."""
    chunks = build.chunks
    starts = chunks.offsets[rows]
    columns = (rows, chunks.bundle_indexes[rows], starts, starts + chunks.stored_sizes[rows])
    return [Wanted(*row) for row in np.stack(columns, axis=1).tolist()]


def _manifest_size(old: Root | None, new: Root) -> int:
    kept = {page.digest for group in old.groups for page in group.pages} if old else set()
    pages = (page for group in new.groups for page in group.pages)
    return len(encode(new)) + sum(page.size for page in pages if page.digest not in kept)


def _file_change(change: EntryChange) -> FileChange:
    return FileChange(
        path=change.path,
        change=change.change,
        old_size=0 if change.old is None else change.old.size,
        new_size=0 if change.new is None else change.new.size,
    )
