"""Whatever is published, promoted, replaced, renewed: a stock client believes the newest state."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from tuf.api.metadata import Targets

from kit.clock import ManualClock
from kit.errors import Conflict
from manifests.documents import Release
from manifests.names import Channel, TitleId
from manifests.trust_document import sign
from manifests.trust_metadata import again, root_with, shard_with, targets_with, titles_of
from manifests.trust_roles import (
    RELEASE,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    PublisherId,
    publisher_role,
    shard_role,
)
from origin.registry import Registry
from tests.registries import StockClient, TestBed
from tests.trust_repository import NOW_S, a_release, keys_of, offline_signer, online_signer

PUBLISHERS = ("acme", "bravo", "carol")
CHANNELS = (Channel("live"), Channel("beta"))

_publisher = st.sampled_from(PUBLISHERS)
_title = st.integers(0, 2)
STEPS = st.one_of(
    st.tuples(st.just("publish"), _publisher, _title, st.sampled_from(CHANNELS)),
    st.tuples(st.just("promote"), _publisher, _title, st.sampled_from(CHANNELS)),
    st.tuples(st.just("publish together"), st.integers(2, 5)),
    st.tuples(st.just("rotate online"), st.sampled_from((TIMESTAMP, SNAPSHOT, RELEASE))),
    st.tuples(st.just("rotate publisher"), _publisher),
    st.tuples(st.just("rotate holder")),
    st.tuples(st.just("wait"), st.integers(1, 60 * 24)),
    st.tuples(st.just("restart")),
)


@dataclass
class Model:
    """A registry, and what it should say."""

    bed: TestBed
    registry: Registry
    client: StockClient
    counters: dict[str, int] = field(default_factory=dict)
    heads: dict[tuple[str, Channel], tuple[str, Release]] = field(default_factory=dict)

    async def publish(self, publisher: str, index: int, channel: Channel) -> None:
        title = f"{publisher}-{index}"
        if title not in self.counters:
            await self.bed.enrol(self.registry, publisher, title)
        self.counters[title] = self.counters.get(title, 0) + 1
        release = a_release(title, self.counters[title])
        await self.bed.vouch(self.registry, publisher, release, channel)
        self.heads[title, channel] = publisher, release

    async def promote(self, publisher: str, index: int, channel: Channel) -> None:
        for other in CHANNELS:
            found = self.heads.get((f"{publisher}-{index}", other))
            if found is None:
                continue
            before = self.heads.get((f"{publisher}-{index}", channel))
            try:
                await self.bed.vouch(self.registry, publisher, found[1], channel)
            except Conflict:
                assert before is not None
                assert before[1].counter > found[1].counter
            else:
                self.heads[f"{publisher}-{index}", channel] = found

    async def rotate_online(self, role: str) -> None:
        bed = self.bed
        former = bed.keys.online
        new = online_signer()
        bed.keys.online = {**former, role: [*former[role], new]}
        state = await self.registry.state()
        if role == RELEASE:
            said = targets_with(
                state.targets,
                shards=keys_of(*bed.keys.holders),
                release=keys_of(new),
                now_s=bed.clock.now(),
            )
            await self.registry.install({TARGETS: sign(said, bed.keys.holders)})
        else:
            root = root_with(state.root, {role: keys_of(new)}, bed.clock.now())
            await self.registry.install({ROOT: sign(root, bed.keys.holders)})
        bed.keys.online = {**former, role: [new]}

    async def rotate_publisher(self, publisher: str) -> None:
        bed, who = self.bed, PublisherId(publisher)
        shard = await self.registry.said(shard_role(who))
        if shard is None or not titles_of(shard, who):
            return
        new = offline_signer()
        now_s = bed.clock.now()
        changed = shard_with(shard, who, keys_of(new), titles_of(shard, who), now_s)
        documents = {shard_role(who): sign(changed, bed.keys.holders)}
        said = await self.registry.said(publisher_role(who))
        if said is not None:
            documents[publisher_role(who)] = sign(again("publisher", said, now_s), [new])
        await self.registry.install(documents)
        bed.keys.publishers[publisher] = new

    async def rotate_holder(self) -> None:
        bed = self.bed
        new, now_s = offline_signer(), bed.clock.now()
        state = await self.registry.state()
        both = [*bed.keys.holders, new]
        root = root_with(state.root, dict.fromkeys((ROOT, TARGETS), keys_of(new)), now_s)
        targets = targets_with(
            state.targets,
            shards=keys_of(new),
            release=keys_of(bed.keys.online[RELEASE][-1]),
            now_s=now_s,
        )
        documents = {ROOT: sign(root, both), TARGETS: sign(targets, both)}
        for role in state.roles():
            said = await self.registry.said(role)
            if role.startswith("shard-"):
                assert isinstance(said, Targets)
                documents[role] = sign(again(role, said, now_s), [new])
        await self.registry.install(documents)
        bed.keys.holders = [new]

    async def play(self, step: tuple[object, ...]) -> None:
        match step:
            case "publish", str(publisher), int(index), str(channel):
                await self.publish(publisher, index, Channel(channel))
            case "promote", str(publisher), int(index), str(channel):
                await self.promote(publisher, index, Channel(channel))
            case "publish together", int(count):
                publishers = PUBLISHERS[: min(count, len(PUBLISHERS))]
                live = CHANNELS[0]
                await asyncio.gather(*(self.publish(each, 0, live) for each in publishers))
            case "rotate online", str(role):
                await self.rotate_online(role)
            case "rotate publisher", str(publisher):
                await self.rotate_publisher(publisher)
            case ("rotate holder",):
                await self.rotate_holder()
            case "wait", int(hours):
                assert isinstance(self.bed.clock, ManualClock)
                self.bed.clock.advance(hours * 3600)
                await self.registry.renew()
            case ("restart",):
                self.registry = self.bed.registry()
            case _:
                raise AssertionError(step)

    async def check(self) -> None:
        for (title, channel), (publisher, release) in self.heads.items():
            assert self.client.believes(publisher, release, channel)
            assert await self.registry.publisher_of(TitleId(title)) == publisher


@settings(max_examples=40, deadline=None)
@given(st.lists(STEPS, max_size=12))
def test_any_history_is_believed_by_a_stock_client(steps: list[tuple[object, ...]]) -> None:
    async def run() -> None:
        bed = TestBed(clock=ManualClock(NOW_S))
        registry = await bed.begun()
        model = Model(bed, registry, bed.client())
        try:
            for step in steps:
                await model.play(step)
                await model.check()
        finally:
            model.client.close()

    asyncio.run(run())
