"""Settings no edge can work with are refused by name, before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

import edge.routes
from edge.settings import EdgeSettings
from kit.errors import SettingsError
from kit.http_settings import ListenSettings
from kit.service import Binder
from tests.serving import OpenHouse


@pytest.mark.parametrize(
    "upstreams",
    [(), ("origin:7401",), ("ftp://origin",), ("http://origin/t",), ("http://a", "http://b?c")],
)
def test_upstreams_that_are_no_base_urls_are_refused(
    upstreams: tuple[str, ...], tmp_path: Path
) -> None:
    binder = Binder("edge", ListenSettings())
    with pytest.raises(SettingsError, match=r"^edge\.upstreams: "):
        settings = EdgeSettings(upstreams=upstreams, cache_dir=tmp_path)
        edge.routes.bind(binder, settings, OpenHouse(), lambda: "")


@pytest.mark.parametrize("url", ["http://origin", "https://10.0.0.1:7401/", "http://[::1]:80"])
def test_base_urls_are_taken(url: str, tmp_path: Path) -> None:
    binder = Binder("edge", ListenSettings())
    settings = EdgeSettings(upstreams=(url,), cache_dir=tmp_path)
    edge.routes.bind(binder, settings, OpenHouse(), lambda: "")
