"""What the console answers: what was done, what is there, what is wrong. Plain values."""

from __future__ import annotations

from dataclasses import dataclass

from console.inventory import Wound
from console.planner import Plan


@dataclass(frozen=True, slots=True)
class Report:
    """How an install, update or repair went. Sizes in bytes, times in seconds since its start."""

    operation: str
    title: str
    channel: str
    version: str
    release: int
    build_id: str
    plan: Plan
    requests: int
    """All of them, manifests and failed ones included."""
    failed_requests: int
    hedged_requests: int
    """Of all, those made because another edge was slow to answer."""
    received_bytes: int
    """Bodies received, manifests and failed ones included."""
    written_bytes: int
    delta_made_bytes: int
    """Plain bytes of chunks made by deltas."""
    failed_deltas: int
    """Deltas that were of no use; their chunks were fetched plain."""
    reused_bytes: int
    files_left_alone: int
    """Files that the plan counted as changed and that turned out to be as wanted."""
    first_chunk_s: float | None
    playable_s: float | None
    complete_s: float
    was_resumed: bool


@dataclass(frozen=True, slots=True)
class Verification:
    """What a thorough look at an installed build found."""

    title: str
    version: str
    build_id: str
    checked_bytes: int
    elapsed_s: float
    wounds: tuple[Wound, ...]

    @property
    def is_sound(self) -> bool:
        """Whether every file is what the build says."""
        return not self.wounds


@dataclass(frozen=True, slots=True)
class Removal:
    """What an uninstall did."""

    title: str
    files_removed: int
    left: tuple[str, ...]
    """Paths that were ours and hold something else now; they were not touched."""


@dataclass(frozen=True, slots=True)
class UnderWay:
    """An operation that was interrupted; running it again finishes it."""

    version: str
    release: int
    build_id: str
    is_committing: bool
    is_in_place: bool
    """Whether files are being changed where they are: the title cannot be played meanwhile."""
    staged_bytes: int
    """On disk, in staging."""


@dataclass(frozen=True, slots=True)
class Status:
    """What is in a folder; ``version`` and what follows are None if nothing is installed yet."""

    title: str
    channel: str
    version: str | None
    release: int | None
    build_id: str | None
    installed_bytes: int
    entries: int
    """Files, links and empty folders."""
    is_complete: bool
    """Whether every install group is in place."""
    under_way: UnderWay | None
