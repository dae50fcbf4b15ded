"""A title that publisher and platform vouch for, on edges that may lie; and a console before them.

``world.repository`` signs, ``world.publisher`` makes builds, ``world.put`` lays all of it out as
edges serve it. An attack is whatever a test does to ``edge.objects`` after that.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from console.platform_api import Console
from console.settings import TrustSettings
from kit.http_client import HttpClient
from manifests import locations
from manifests.documents import Release
from manifests.trust_bundle import HEAD, encode_bundle
from manifests.trust_roles import (
    RELEASE,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    PublisherId,
    head_path,
    publisher_role,
    shard_role,
)
from tests.consoles import impatient_settings
from tests.faulty_edge import FaultyEdge, serving_faulty
from tests.folder_publisher import LIVE, TITLE, FolderPublisher
from tests.leases import AnyLease
from tests.trust_repository import TrustRepository

STUDIO = PublisherId("studio")
HEAD_KEY = locations.head_key(TITLE, LIVE)
BUNDLE_KEY = locations.trust_bundle_key(TITLE, LIVE)


class ShiftedClock:
    """A console's clock that is wrong by ``ahead_s``; time passes as it does."""

    def __init__(self, ahead_s: float = 0.0) -> None:
        self._ahead_s = ahead_s

    def now(self) -> float:
        return time.time() + self._ahead_s

    def monotonic(self) -> float:
        return time.monotonic()

    def advance(self, seconds: float) -> None:
        self._ahead_s += seconds


@dataclass
class VouchedWorld:
    """All of it; ``folder`` is for everything on disk."""

    folder: Path
    now_s: float = field(default_factory=time.time)
    has_bundle: bool = True

    def __post_init__(self) -> None:
        self.clock = ShiftedClock()
        self.repository = TrustRepository(self.now_s)
        self.repository.enrol(STUDIO, TITLE)
        self.publisher = FolderPublisher()
        self.edge = FaultyEdge({})
        self.root = self.folder / "root.json"
        self.root.write_bytes(self.repository.root)
        self.game = self.folder / "game"

    @property
    def objects(self) -> dict[str, bytes]:
        assert isinstance(self.edge.objects, dict)
        return self.edge.objects

    def build(self, text: str = "one") -> Release:
        """Publish a build of one file, vouched for by both, and lay it out."""
        source = self.folder / "source"
        source.mkdir(exist_ok=True)
        (source / "game.txt").write_text(text)
        release = self.publisher.publish(source)
        self.repository.publish(STUDIO, release)
        self.put()
        return release

    def put(self) -> None:
        """Serve what is published and signed now."""
        self.objects.update(self.publisher.objects)
        head = self.publisher.objects[HEAD_KEY]
        release = msgspec.json.decode(head)["release"]
        key = locations.release_key(TITLE, release["counter"])
        self.objects[key] = msgspec.json.encode(release)
        self.objects.update(
            {locations.TRUST_PREFIX + name: data for name, data in self.repository.files.items()}
        )
        if self.has_bundle:
            self.objects[BUNDLE_KEY] = encode_bundle(self.bundle())

    def bundle(self) -> dict[str, bytes]:
        """Return the documents that the bundle of the channel holds now."""
        roles = [ROOT, SNAPSHOT, TARGETS, RELEASE, self.bin, shard_role(STUDIO)]
        roles.append(publisher_role(STUDIO))
        signed = self.repository.signed
        names = [f"{signed[role].version}.{role}.json" for role in roles if role in signed]
        names.append(f"{TIMESTAMP}.json")
        documents = {name: self.repository.files[name] for name in names}
        return {HEAD: self.objects[HEAD_KEY], **documents}

    def put_bundle(self, change: Callable[[dict[str, bytes]], None]) -> None:
        documents = self.bundle()
        change(documents)
        self.objects[BUNDLE_KEY] = encode_bundle(documents)

    @property
    def bin(self) -> str:
        return self.repository.bin_of(head_path(TITLE, LIVE))

    @asynccontextmanager
    async def console(self, *edges: FaultyEdge, **settings: Any) -> AsyncIterator[Console]:
        urls = [edge.url for edge in edges or (self.edge,)]
        trust = {"trust": TrustSettings(root=self.root)}
        chosen = impatient_settings(*urls, **(trust | settings))
        async with HttpClient(chosen.http) as http:
            yield Console(chosen, http, AnyLease(), self.clock)

    def asked(self) -> list[str]:
        """Return what was asked for since the last call."""
        found = [asked.path for asked in self.edge.asked]
        self.edge.asked.clear()
        return found

    @property
    def text(self) -> str:
        return (self.game / "game.txt").read_text()


@asynccontextmanager
async def vouched_world(folder: Path, *more: FaultyEdge) -> AsyncIterator[VouchedWorld]:
    """Serve a world; release 1 is there."""
    world = VouchedWorld(folder)
    world.build()
    async with serving_faulty(world.edge, *more):
        yield world
