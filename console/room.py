"""What the disk offers: room, clones, and files that may be written where they are."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from console.drafting import Found
from console.installed import stamp_of
from console.inventory import Inventory
from console.layout import Mask
from console.placement import Location, Mode
from console.safe_paths import Folder
from console.settings import UpdateMode
from console.staging import staged_name


def free_size(folder: Folder) -> int:
    """Return how many bytes this user may still write."""
    found = os.fstatvfs(folder.fd)
    return found.f_bavail * found.f_frsize


def ways_to_try(wanted: UpdateMode, *, is_repair: bool, was_in_place: bool) -> Sequence[Mode]:
    """Return the modes to try, the preferred first: the first for which there is room is taken.

    A repair leaves what is good of a damaged file where it is; and what was fetched to be patched
    in place would be of no use to another mode.
    """
    match wanted:
        case "overlay":
            return (Mode.OVERLAY,)
        case "clone":
            return (Mode.CLONE, Mode.OVERLAY)
        case "in-place":
            return (Mode.IN_PLACE,)
        case "auto" if was_in_place:
            return (Mode.IN_PLACE, Mode.CLONE, Mode.OVERLAY)
        case "auto" if is_repair:
            return (Mode.CLONE, Mode.IN_PLACE, Mode.OVERLAY)
        case "auto":
            return (Mode.CLONE, Mode.OVERLAY, Mode.IN_PLACE)


def look_at(top: Folder, old: Inventory, files: Iterable[Location]) -> dict[Location, Found]:
    """Return what those of ``files`` are that are there, links unfollowed."""
    return {at: found for at in files if (found := _look_at(top, old, at)) is not None}


def strays(present: Sequence[Mask], wanted: Sequence[Mask]) -> Iterator[str]:
    """Yield staged files that nobody wants any more: a commit would put them in place."""
    for group, (found, kept) in enumerate(zip(present, wanted, strict=True)):
        for index in np.flatnonzero(found & ~kept).tolist():
            yield staged_name(group, index)


def taken_size(folder: Folder, names: Iterable[str]) -> int:
    """Return what files directly inside ``folder`` take on the disk, in bytes."""
    found = [folder.status(name) for name in names]
    return sum(status.st_blocks * 512 for status in found if status is not None)


def _look_at(top: Folder, old: Inventory, at: Location) -> Found | None:
    found = top.status(old.build.shards[at[0]].entries[at[1]].path)
    if found is None:
        return None
    is_alone = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
    is_ours = os.geteuid() in {0, found.st_uid}
    return Found(found.st_size, stamp_of(found), is_alone and is_ours)
