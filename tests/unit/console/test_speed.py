"""The time a plan names is reckoned with a speed that was seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from console.safe_paths import Folder
from console.speed import SAMPLE_SIZE_MIN, SPEED, note_speed, read_speed, seconds_for


def test_speed_is_remembered(tmp_path: Path) -> None:
    with Folder.at(tmp_path) as state:
        assert read_speed(state) is None
        note_speed(state, 2 * SAMPLE_SIZE_MIN, 4.0)
        assert read_speed(state) == SAMPLE_SIZE_MIN / 2


def test_small_transfers_say_nothing(tmp_path: Path) -> None:
    with Folder.at(tmp_path) as state:
        note_speed(state, SAMPLE_SIZE_MIN - 1, 1.0)
        assert read_speed(state) is None


@pytest.mark.parametrize("content", [b"", b"fast", bytes(64), bytes(65)])
def test_damaged_memory_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / SPEED).write_bytes(content)
    with Folder.at(tmp_path) as state:
        assert read_speed(state) is None


@pytest.mark.parametrize(
    ("size", "speed", "limit_rate", "expected"),
    [
        (0, None, 0, 0.0),
        (1000, None, 0, None),
        (1000, 100.0, 0, 10.0),
        (1000, None, 50, 20.0),
        (1000, 100.0, 50, 20.0),
        (1000, 20.0, 50, 50.0),
    ],
)
def test_time_is_size_by_the_lower_of_speed_and_limit(
    size: int, speed: float | None, limit_rate: int, expected: float | None
) -> None:
    assert seconds_for(size, speed, limit_rate) == expected
