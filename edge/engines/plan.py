"""What a configuration is written from: settings, with every place where it is on this machine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from edge.engines.settings import EngineSettings
from kit.errors import SettingsError

_WORD = re.compile(r"[A-Za-z0-9/._:@+\[\]-]+")


@dataclass(frozen=True, slots=True)
class Upstream:
    """An edge of ours that an engine fetches from."""

    host: str
    port: int

    @property
    def authority(self) -> str:
        """Host and port as a URL has them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """One engine; all paths are absolute."""

    settings: EngineSettings
    upstreams: tuple[Upstream, ...]
    gate_socket: Path
    cache_dir: Path


def plan_engine(
    settings: EngineSettings, upstreams: Sequence[str], gate_socket: Path, cache_dir: Path
) -> EnginePlan:
    """Return what to write a configuration from.

    Raises:
        SettingsError: Something cannot stand in one: a path with a blank, an upstream with TLS.
    """
    _check_words(
        {
            "engine.listen.host": settings.listen.host,
            "gate.socket": gate_socket,
            "engine.cache_dir": cache_dir,
            "engine.user": settings.user,
            "engine.certificate": settings.certificate or "",
            "engine.certificate_key": settings.certificate_key or "",
        }
    )
    if (settings.certificate is None) != (settings.certificate_key is None):
        raise SettingsError("engine.certificate and engine.certificate_key: give both, or none")
    if settings.listen.port == 0:
        raise SettingsError("engine.listen.port: 0 picks a free port, which nobody would know")
    return EnginePlan(settings, tuple(map(_upstream, upstreams)), gate_socket, cache_dir)


def _check_words(words: dict[str, object]) -> None:
    """Do nothing if each is one word to nginx and Varnish: neither has our rules of quoting."""
    for name, word in words.items():
        if str(word) and _WORD.fullmatch(str(word)) is None:
            raise SettingsError(
                f"{name}: {str(word)!r} cannot stand in a configuration;"
                " use letters, digits and /._:@+- only"
            )


def _upstream(url: str) -> Upstream:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SettingsError(f"engine.upstreams: {url!r}: {error}") from error
    if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query:
        raise SettingsError(
            f"engine.upstreams: {url!r} is no base URL such as http://127.0.0.1:7402; between an"
            " engine and its edges there is no TLS: have them on one machine or in one network"
        )
    _check_words({"engine.upstreams": parts.hostname})
    return Upstream(parts.hostname, port or 80)
