"""An origin with a real build that is vouched for, and an edge that lets in operators."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import msgspec

import edge.operating.routes
import edge.routes
from chunks.slices import SliceList
from edge.node import Node as EdgeNode
from edge.settings import EdgeSettings
from kit.clock import Clock
from kit.object_storage.testing import MemoryStorage
from kit.service import Binder
from manifests import locations
from manifests.documents import Release, encode
from manifests.trust_roles import TIMESTAMP, PublisherId
from playhead.edge_operators import OperatorSecret
from tests.folder_publisher import TITLE, FolderPublisher, GroupOf, launch_only
from tests.serving import LISTEN, Node, OpenHouse, Reply, running
from tests.trees import write_tree
from tests.trust_repository import TrustRepository

SECRET = "the operator's secret"
STUDIO = PublisherId("studio")


class CountingStorage(MemoryStorage):
    """Remembers how often each key was read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()

    async def get(self, key: str, *, size_max: int) -> bytes:
        self.reads[key] += 1
        return await super().get(key, size_max=size_max)

    async def read(self, key: str, start: int, length: int) -> bytes:
        self.reads[f"{key} {start}"] += 1
        return await super().read(key, start, length)


@dataclass
class Studio:
    """Publishes builds of the trees of :mod:`tests.trees` into a storage, vouched for."""

    folder: Path
    group_of: GroupOf = launch_only
    storage: CountingStorage = field(default_factory=CountingStorage)

    def __post_init__(self) -> None:
        self.repository = TrustRepository(time.time())
        self.repository.enrol(STUDIO, TITLE)
        self.publisher = FolderPublisher()

    async def keys(self) -> list[str]:
        return [stat.key async for stat in self.storage.list("")]

    def trust_keys(self) -> list[str]:
        """Return where the metadata is that is in force."""
        signed = self.repository.signed
        names = [f"{signed[role].version}.{role}.json" for role in signed if role != TIMESTAMP]
        return [locations.TRUST_PREFIX + name for name in (*names, f"{TIMESTAMP}.json")]

    async def publish(self, *, seed: int = 1, changes: int = 0) -> Release:
        """Publish the next release; nothing is made twice."""
        source = self.folder / f"source {self.publisher.counter}"
        write_tree(source, seed=seed, changes=changes)
        release = self.publisher.publish(source, group_of=self.group_of)
        self.repository.publish(STUDIO, release)
        for key, content in self.publisher.objects.items():
            await self.storage.put(key, content)
            if key.startswith(locations.bundles_prefix(TITLE)):
                slices = SliceList.of(content)
                at = locations.slice_list_key(TITLE, slices.bundle_id)
                await self.storage.put(at, slices.encode())
        key = locations.release_key(TITLE, release.counter)
        await self.storage.put(key, encode(release))
        for name, content in self.repository.files.items():
            await self.storage.put(locations.TRUST_PREFIX + name, content)
        return release


@dataclass
class Operated:
    """An edge, and its operator."""

    node: Node
    edge: EdgeNode
    notes: list[dict[str, str]] = field(default_factory=list)
    """The lines of its audit log."""

    async def tell(
        self, method: str, path: str, body: Any = None, *, secret: str | None = SECRET
    ) -> Reply:
        headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
        content = None if body is None else msgspec.json.encode(body)
        url = f"{self.node.url}/edge/v1/{path}"
        async with self.node.session.request(method, url, headers=headers, data=content) as reply:
            return Reply(reply.status, reply.headers, await reply.read())

    async def get(self, path: str) -> Any:
        reply = await self.tell("GET", path)
        assert reply.status == 200, reply
        return reply.json()

    async def post(self, path: str, **body: Any) -> Any:
        reply = await self.tell("POST", path, body)
        assert reply.status < 300, reply
        return reply.json()

    async def begin_warm(self, target: str = TITLE, **wishes: Any) -> Any:
        deadline_s = self.edge.clock.now() + 3600
        return await self.post("warms", **{"target": target, "deadline_s": deadline_s, **wishes})

    async def warmed(self, target: str = TITLE, **wishes: Any) -> Any:
        """Return a warm once it is over, as whoever follows it hears of it."""
        begun = await self.begin_warm(target, **wishes)
        return (await self.followed(begun["warm_id"]))[-1]

    async def followed(self, warm_id: str) -> list[Any]:
        """Return all that is told of a warm until it is over."""
        reply = await self.tell("GET", f"warms/{warm_id}/events")
        assert reply.status == 200, reply
        blocks = [block for block in reply.body.split(b"\n\n") if block.startswith(b"event: warm")]
        return [msgspec.json.decode(block.partition(b"\ndata: ")[2]) for block in blocks]


@asynccontextmanager
async def operated_edge(
    cache_dir: Path,
    *upstreams: str,
    clock: Clock | None = None,
    first_pause_s: float = 0.001,
    **settings: Any,
) -> AsyncIterator[Operated]:
    binder = Binder("edge", LISTEN)
    chosen = EdgeSettings(upstreams=upstreams, cache_dir=cache_dir, **settings)
    node = edge.routes.bind(binder, chosen, OpenHouse(), lambda: "", clock)
    notes: list[dict[str, str]] = []

    async def note(**line: str) -> None:
        notes.append(line)

    edge.operating.routes.bind(
        binder,
        node,
        check_operator=OperatorSecret(SECRET),
        note=note,
        random=Random(1),
        first_pause_s=first_pause_s,
    )
    async with running(binder) as served:
        yield Operated(served, node, notes)
