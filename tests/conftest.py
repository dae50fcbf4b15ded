"""Fixtures that every test gets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import HealthCheck, settings

from tests.servers.swift import Swift, running_swift

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile(
    "busy machine", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy machine")

WATCHED = ["kit", "origin", "edge", "console", "packager", "services", "playhead"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the quick tests first: most of what is wrong is known after a few minutes."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.fixture(autouse=True)
def _nothing_blocks_the_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail any test in which our code makes a blocking call on an event loop."""
    if "may_block" in request.keywords:
        yield
        return
    with blockbuster_ctx(WATCHED) as blocking:
        # Its sockets do not block, and it is given only what the page cache holds.
        blocking.functions["os.sendfile"].can_block_in("kit/connection.py", "_send_file")
        yield


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    """One real S3 server for the whole run, started by the first test that asks."""
    with running_swift(tmp_path_factory.mktemp("swift")) as server:
        yield server
