"""What a fresh install of a build begins with, and whether that is much.

By the same rule as consoles and edges have it (``manifests/opening.py``). What is too much is told
to the publisher: a layout puts other files first.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from chunks.plan import FIRST_REQUEST_SIZE
from kit.units import size_text
from manifests.opening import first_request, in_turns
from manifests.page import parse_page
from manifests.start import MANIFEST_PART_SIZE_MAX
from packager.build_writer import WrittenBuild

FIRST_CHUNK_SIZE_MAX = FIRST_REQUEST_SIZE
"""As it is stored. More takes a new connection another round trip, and one more when lost."""


class FirstSteps(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in bytes of what a fresh install begins with."""

    root_size: int
    page_size: int
    """Of the first page of the first group."""
    first_chunk_size: int
    """As it is stored; 0 for a build without bytes."""
    first_request_size: int
    """Of the first chunk and what is fetched with it."""

    def too_large(self) -> tuple[str, ...]:
        """Say what makes installs start late, and what helps."""
        return tuple(self._troubles())

    def _troubles(self) -> Iterator[str]:
        limit = size_text(MANIFEST_PART_SIZE_MAX)
        if self.root_size > MANIFEST_PART_SIZE_MAX:
            yield (
                f"the root has {size_text(self.root_size)}, more than {limit}: consoles ask for it"
                " by itself before they start; fewer, larger files make it smaller"
            )
        if self.page_size > MANIFEST_PART_SIZE_MAX:
            yield (
                f"the first page has {size_text(self.page_size)}, more than {limit}: consoles ask"
                " for it by itself before they start; have the layout put a file of some 100 KiB"
                " before the many small ones"
            )
        if self.first_chunk_size > FIRST_CHUNK_SIZE_MAX:
            yield (
                f"the first chunk has {size_text(self.first_chunk_size)}, more than"
                f" {size_text(FIRST_CHUNK_SIZE_MAX)}: installs start one round trip later; have"
                " the layout put a smaller file first"
            )


def first_steps_of(written: WrittenBuild) -> FirstSteps:
    """Return the first steps into a build that was just written."""
    ref = written.build.root.groups[0].pages[0]
    request = first_request(parse_page(written.pages[0], ref))
    return FirstSteps(
        root_size=len(written.root),
        page_size=ref.size,
        first_chunk_size=0 if request is None else in_turns(request)[0].size,
        first_request_size=0 if request is None else request.size,
    )
