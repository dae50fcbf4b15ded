"""What a publisher can be told of deltas and of sweeping. Apart from both, which need numpy."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from kit.settings import Group
from kit.units import ByteSize, Seconds


class DeltaSettings(Group, frozen=True):
    """What deltas may cost the publisher."""

    cpu_seconds_max: Seconds = Seconds(4 * 3600)
    """Seconds of all cores spent on the smallest deltas of a release; the rest are quick ones."""
    memory_max: ByteSize = ByteSize(768 << 20)
    """What all deltas under way may take together; it bounds how many are. One takes 240 MiB."""
    reach: Annotated[int, Meta(ge=1, le=8)] = 3
    """From so many builds back updates get deltas made for them where others cost 3 % more."""


class SweepSettings(Group, frozen=True):
    """How much of the past is kept."""

    keep: Annotated[int, Meta(ge=1)] = 3
    """The newest so many releases are live, whether or not a channel points to them."""
    grace: Seconds = Seconds(7 * 86400)
    """Nothing younger is deleted. As long as an edge may serve what it cached (a week)."""
