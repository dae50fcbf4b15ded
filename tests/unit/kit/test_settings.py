"""Four layers, one typed tree; a wrong value names its key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from kit.errors import SettingsError
from kit.settings import Group, load, reference
from kit.units import GIB, ByteSize, Seconds


class _Cache(Group, frozen=True):
    max_bytes: ByteSize = ByteSize(64 * GIB)
    """What the cache may take."""
    wait: Seconds = Seconds(60)


class _Remote(Group, frozen=True):
    bucket: str
    """Where it is."""


class _Root(Group, frozen=True):
    data: Path = Path("var")
    urls: tuple[str, ...] = ()
    names: Annotated[tuple[str, ...], Meta(min_length=1)] = ("a",)
    port: int = 80
    cache: _Cache = _Cache()
    remote: _Remote | None = None


def test_flags_beat_environment_beats_toml_beats_defaults(tmp_path: Path) -> None:
    toml = tmp_path / "playhead.toml"
    toml.write_text('port = 1\n[cache]\nmax_bytes = "1GiB"\nwait = "5s"\n')
    settings = load(
        _Root,
        toml=toml,
        env={"PLAYHEAD_CACHE__MAX_BYTES": "2GiB", "PLAYHEAD_PORT": "2", "HOME": "/"},
        flags=["port=3"],
    )
    assert settings.cache == _Cache(max_bytes=ByteSize(2 * GIB), wait=Seconds(5))
    assert settings.port == 3
    assert settings.data == Path("var")


def test_lists_and_optional_groups_come_from_flags() -> None:
    settings = load(_Root, flags=["urls=http://a,http://b", "names=x", "remote.bucket=games"])
    assert settings.urls == ("http://a", "http://b")
    assert settings.names == ("x",)
    assert settings.remote == _Remote(bucket="games")


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("cache.max_bytes=64GB", ["64GiB", "64GB", "cache.max_bytes"]),
        ("cash.max_bytes=1", ["unknown field", "cash"]),
        ("cache.maximum=1", ["unknown field", "maximum", "cache"]),
        ("port=eighty", ["int", "port"]),
        ("port.number=1", ["port"]),
        ("data", ["key=value"]),
        ("remote.region=x", ["remote"]),
    ],
)
def test_bad_setting_names_its_key(flag: str, words: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        load(_Root, flags=[flag])
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("text", [None, "port = ", "\xff"])
def test_bad_file_is_named(tmp_path: Path, text: str | None) -> None:
    toml = tmp_path / "playhead.toml"
    if text is not None:
        toml.write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError, match=r"playhead\.toml"):
        load(_Root, toml=toml)


def test_reference_lists_every_setting_with_its_docstring() -> None:
    found = {setting.key: setting for setting in reference(_Root)}
    assert list(found) == [
        "data",
        "urls",
        "names",
        "port",
        "cache.max_bytes",
        "cache.wait",
        "remote.bucket",
    ]
    assert found["cache.max_bytes"].default == "64GiB"
    assert found["cache.max_bytes"].description == "What the cache may take."
    assert found["cache.max_bytes"].variable == "PLAYHEAD_CACHE__MAX_BYTES"
    assert found["remote.bucket"].default is None


@given(st.integers(0, 1 << 50))
def test_sizes_are_spelt_as_they_are_read(size: int) -> None:
    assert ByteSize.parse(ByteSize(size).text) == size


class Listen(Group, frozen=True):
    host: str = "here"
    port: int = 0
    within: Seconds = Seconds(1)


class Door(Group, frozen=True):
    listen: Listen = Listen(port=7402, within=Seconds(5))


class House(Group, frozen=True):
    edge: Door = Door()


def test_who_sets_one_thing_of_a_group_keeps_the_other_defaults_of_its_place() -> None:
    found = load(House, flags=["edge.listen.host=there"])
    assert found.edge.listen == Listen(host="there", port=7402, within=Seconds(5))
