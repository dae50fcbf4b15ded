"""However publishing, moving channels, sweeping and dying follow each other, what is live is whole.

The same machine must catch a sweep that forgets a channel: else it proves nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from kit.buffers import Buffer
from kit.clock import ManualClock
from kit.errors import Conflict, NotFound, Unavailable
from kit.object_storage import ObjectStat, ObjectStorage
from kit.object_storage.testing import FaultyStorage, MemoryStorage
from kit.storage_lock import LockSettings
from kit.units import Seconds
from manifests import locations
from manifests.names import Channel
from packager.releases import promote, rollback
from packager.settings import SweepSettings
from packager.sweep import plan_sweep, sweep
from packager.title_store import TitleStore
from packager.verify import verify
from packager.writer_lock import WriterLock
from tests.publishing import BETA, LIVE, TITLE, publish
from tests.vouchers import Notary

LOCK = LockSettings(wait=Seconds(0))
GRACE_S = 1000

channels = st.sampled_from([LIVE, BETA])
contents = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=4, unique=True)
counters = st.integers(1, 6)
deaths = st.one_of(st.none(), st.integers(0, 12))
"""After how many writes the process dies."""


class MortalStorage(MemoryStorage):
    """Every write and every single deletion may be the last of the process that does it."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock=clock)
        self.writes_left: int | None = None

    async def put_if_absent(self, key: str, data: Buffer) -> bool:
        self._live_on()
        return await super().put_if_absent(key, data)

    async def put(self, key: str, data: Buffer) -> None:
        self._live_on()
        await super().put(key, data)

    async def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._live_on()
            await super().delete([key])

    def _live_on(self) -> None:
        if self.writes_left == 0:
            raise Unavailable("the process is dead")
        if self.writes_left is not None:
            self.writes_left -= 1


class WithoutBeta(FaultyStorage):
    """Passes everything on, but hides a channel from whoever lists."""

    async def list(self, prefix: str) -> AsyncIterator[ObjectStat]:
        async for found in super().list(prefix):
            if found.key != locations.head_key(TITLE, BETA):
                yield found


class Publishing(RuleBasedStateMachine):
    """One title, one publisher after another; each may die after any write."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock(1_777_888_000)
        self.storage = MortalStorage(self.clock)
        self.store = TitleStore(self.storage, TITLE)
        self.version = 0

    def storage_of_sweep(self) -> ObjectStorage:
        return self.storage

    @rule(content=contents, channel=st.one_of(channels, st.none()), death=deaths)
    def push(self, content: list[str], channel: Channel | None, death: int | None) -> None:
        self.version += 1
        files = {name: name.encode() * 300 for name in content}

        async def act(_: WriterLock) -> None:
            await publish(self.store, files, f"1.{self.version}", channel, clock=self.clock)

        self.attempt(act, death)

    @rule(counter=counters, channel=channels, death=deaths)
    def promote(self, counter: int, channel: Channel, death: int | None) -> None:
        async def act(lock: WriterLock) -> None:
            await promote(self.store, lock, counter, channel, voucher=Notary())

        self.attempt(act, death)

    @rule(channel=channels, to=st.one_of(st.none(), counters), death=deaths)
    def roll_back(self, channel: Channel, to: int | None, death: int | None) -> None:
        async def act(lock: WriterLock) -> None:
            await rollback(self.store, lock, channel, to, clock=self.clock, voucher=Notary())

        self.attempt(act, death)

    @rule(keep=st.integers(1, 3), death=deaths)
    def sweep(self, keep: int, death: int | None) -> None:
        store = TitleStore(self.storage_of_sweep(), TITLE)
        kept = SweepSettings(keep=keep, grace=Seconds(GRACE_S))

        async def act(lock: WriterLock) -> None:
            await sweep(store, lock, await plan_sweep(store, lock, kept))

        self.attempt(act, death)

    @rule(seconds=st.sampled_from([1, GRACE_S // 2, GRACE_S + 1]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @invariant()
    def every_release_and_channel_is_whole(self) -> None:
        with suppress(NotFound):
            problems = asyncio.run(verify(self.store, witness=Notary())).problems
            assert not problems, problems

    def teardown(self) -> None:
        """Whatever was left half done, one more sweep finishes it."""
        self.clock.advance(GRACE_S + 1)
        self.sweep(keep=1, death=None)
        self.every_release_and_channel_is_whole()

    def attempt(self, act: Callable[[WriterLock], Awaitable[None]], death: int | None) -> None:
        async def locked() -> None:
            async with WriterLock(
                self.storage, TITLE, clock=self.clock, settings=LOCK, command="a test"
            ) as lock:
                await act(lock)

        self.storage.writes_left = death
        with suppress(Unavailable, NotFound, Conflict):
            asyncio.run(locked())
        if self.storage.writes_left == 0:
            self.clock.advance(LOCK.expires_after + 3)  # the dead one's claim expires
        self.storage.writes_left = None


class ForgettingBeta(Publishing):
    """Its sweep does not know of the channel ``beta``."""

    def storage_of_sweep(self) -> ObjectStorage:
        return WithoutBeta(self.storage)


STEPS = settings(max_examples=60, stateful_step_count=20, deadline=None)
# The first failure is enough, and must come every time.
UNTIL_CAUGHT = settings(
    STEPS, max_examples=500, phases=[Phase.generate], derandomize=True, database=None
)

TestPublishing = Publishing.TestCase
TestPublishing.settings = STEPS


def test_a_sweep_that_forgets_a_channel_is_caught() -> None:
    with pytest.raises(AssertionError, match=r"Rule\.MISSING"):
        run_state_machine_as_test(ForgettingBeta, settings=UNTIL_CAUGHT)
