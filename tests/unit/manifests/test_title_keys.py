"""Keys of titles: what locations write is read back, and nothing else is a key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunks.chunk_id import Digest
from kit.errors import InvalidInput
from manifests import locations
from manifests.names import TITLE_PATTERN, Channel, TitleId
from manifests.title_keys import parse_title_key, title_of_prefix

titles = st.from_regex(TITLE_PATTERN).map(TitleId)
digests = st.binary(min_size=32, max_size=32).map(Digest)
counters = st.integers(1, 9_999_999_999)


@given(titles, digests, counters, counters, titles)
def test_every_location_is_read_back(
    title: TitleId, digest: Digest, counter: int, base: int, channel: str
) -> None:
    head = parse_title_key(locations.head_key(title, Channel(channel)))
    assert (head.kind, head.title, head.channel) == ("head", title, channel)
    release = parse_title_key(locations.release_key(title, counter))
    assert (release.kind, release.counter) == ("release", counter)
    for make, kind in (
        (locations.manifest_key, "manifest"),
        (locations.bundle_key, "bundle"),
        (locations.slice_list_key, "slices"),
    ):
        found = parse_title_key(make(title, digest))
        assert (found.kind, found.digest) == (kind, digest)
    deltas = parse_title_key(locations.delta_set_key(title, base, counter))
    assert (deltas.kind, deltas.counters) == ("deltas", (base, counter))


@given(st.text(max_size=100))
def test_no_other_text_is_a_key(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_title_key(text)


@pytest.mark.parametrize(
    "key",
    [
        "t/game/h/live\n",
        "t/game/h/Live",
        "t/game/h/live/x",
        "t/game/r/1",
        "t/game/r/00000000010",
        "t/game/m/" + "F" * 64,
        "t/game/m/" + "f" * 63,
        "t/../h/live",
        "t/-game/h/live",
        "/t/game/h/live",
        "T/game/h/live",
        "t/game/d/0000000001",
        "t/game/w/0000000001",
    ],
)
def test_another_spelling_is_no_key(key: str) -> None:
    with pytest.raises(InvalidInput):
        parse_title_key(key)


def test_a_prefix_is_of_one_title_or_refused() -> None:
    assert title_of_prefix("t/game/") == "game"
    assert title_of_prefix("t/game/b/00") == "game"
    for prefix in ("", "t/", "t/game", "t/ga", "trust/", "t//b/"):
        with pytest.raises(InvalidInput):
            title_of_prefix(prefix)
