"""Fixtures that every test gets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from blockbuster import blockbuster_ctx

WATCHED = ["kit", "origin", "edge", "console", "packager", "services", "playhead"]


@pytest.fixture(autouse=True)
def _nothing_blocks_the_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail any test in which our code makes a blocking call on an event loop."""
    if "may_block" in request.keywords:
        yield
        return
    with blockbuster_ctx(WATCHED):
        yield
