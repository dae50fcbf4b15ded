"""Names: one spelling, safe in keys and URLs."""

from __future__ import annotations

import pytest

from kit.errors import InvalidInput
from manifests.names import channel, title_id, version


@pytest.mark.parametrize("text", ["a", "0", "half-life-2", "a" * 64, "a--b"])
def test_a_title_or_channel_is_taken(text: str) -> None:
    assert title_id(text) == text
    assert channel(text) == text


@pytest.mark.parametrize(
    "text", ["", "-a", "a-", "A", "a" * 65, "a\n", "a b", "a/b", "a.b", "..", "ä", "\u0663", "a_b"]
)
def test_another_title_or_channel_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="title"):
        title_id(text)
    with pytest.raises(InvalidInput, match="channel"):
        channel(text)


@pytest.mark.parametrize("text", ["1", "1.4.0", "1.0-rc.1+build_7", "v2", "A" * 64])
def test_a_version_is_taken(text: str) -> None:
    assert version(text) == text


@pytest.mark.parametrize("text", ["", ".1", "-1", "1 0", "1\n", "A" * 65, "1/2", "é", "\u0661"])
def test_another_version_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="version"):
        version(text)


def test_a_long_name_is_not_repeated_whole() -> None:
    with pytest.raises(InvalidInput) as raised:
        title_id("x" * 100_000)
    assert len(str(raised.value)) < 300
