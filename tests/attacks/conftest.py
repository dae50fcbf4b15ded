"""The stage that most attacks share, and what must be true of it after each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from manifests.names import TitleId
from tests.attacks import wire
from tests.attacks.stage import Stage, running_stage


@pytest.fixture(scope="session")
def shared_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_stage(tmp_path_factory.mktemp("stage")) as stage:
        yield stage


@pytest.fixture
def stage(shared_stage: Stage) -> Iterator[Stage]:
    """The shared stage; after the attack both servers must be as well as before."""
    shared_stage.front.asked.clear()
    shared_stage.upstream.asked.clear()
    pids = (shared_stage.origin.pid, shared_stage.edge.pid)
    yield shared_stage
    assert (shared_stage.origin.pid, shared_stage.edge.pid) == pids
    for role in (shared_stage.origin, shared_stage.edge):
        assert wire.get(role.url, "/readyz").status == 200


@pytest.fixture
def title(stage: Stage) -> TitleId:
    """A title that nobody has published yet."""
    return stage.new_title()
