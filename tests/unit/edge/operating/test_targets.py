"""What an operator's words name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunks.chunk_id import Digest
from edge.operating.targets import (
    OfChannel,
    OfId,
    OfObject,
    OfRelease,
    OfTitle,
    Target,
    parse_target,
)
from kit.errors import InvalidInput
from manifests.addresses import BundleAddress, HeadAddress, SliceAddress, TimestampAddress
from manifests.names import Channel, TitleId

GAME, DIGEST = TitleId("game"), Digest(bytes(range(32)))
HEX = DIGEST.hex()


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("game", OfTitle(GAME)),
        ("game@beta", OfChannel(GAME, Channel("beta"))),
        ("game@12", OfRelease(GAME, 12)),
        (HEX, OfId(DIGEST)),
        ("/t/game/h/live", OfObject(HeadAddress(GAME, Channel("live")))),
        (f"http://edge:7402/t/game/b/{HEX}", OfObject(BundleAddress(GAME, DIGEST))),
        (f"https://edge/t/game/b/{HEX}/3", OfObject(SliceAddress(GAME, DIGEST, 3))),
        ("/trust/timestamp.json", OfObject(TimestampAddress())),
    ],
)
def test_what_is_named_is_found(text: str, target: Target) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Game",
        "game@",
        "game@0",
        "game@Live",
        "game@live@beta",
        "/t/game",
        "/etc/passwd",
        "http://edge",
        "ftp://edge/t/game/h/live",
        f"/t/game/b/{HEX}?x",
        f"/t/game/b/{HEX}/99",
        HEX.upper(),
        "a" * 600,
    ],
)
def test_what_nothing_can_be_called_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_target(text)


@given(st.text(max_size=600))
def test_whatever_is_typed_is_read_or_refused(text: str) -> None:
    try:
        parse_target(text)
    except InvalidInput:
        return
