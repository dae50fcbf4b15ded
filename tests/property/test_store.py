"""Puts, reads, drops, pins, flips, restarts in any order: a store gives right bytes or none."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from prometheus_client import CollectorRegistry

from chunks.chunk_id import Digest, digest_of
from edge.metrics import EdgeMetrics
from edge.store.checking import Checked
from edge.store.located import worker_of
from edge.store.segments import size_on_disk
from edge.store.store import Store
from kit.clock import ManualClock
from tests.stored_blobs import blobs_on_disk, bytes_taken

T = TypeVar("T")

MAX_BYTES = 192 << 10
SIZES = (0, 1, 4096, 5000, 20_000)
NUMBERS = st.integers(0, 19)


def content_of(number: int) -> bytes:
    return random.Random(number).randbytes(SIZES[number % len(SIZES)])


NAMES = {number: digest_of(content_of(number)) for number in range(20)}


class StoreMachine(RuleBasedStateMachine):
    """Two workers on one folder, and what each blob must be."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)  # for what is begun between two runs of it
        self._made = tempfile.TemporaryDirectory()
        self._folder = Path(self._made.name)
        self._clock = ManualClock(1000)
        self._flipped: set[Digest] = set()
        self._stack = AsyncExitStack()
        self._open()

    @rule(number=NUMBERS, is_pushed=st.booleans())
    def put(self, number: int, is_pushed: bool) -> None:
        name, content = NAMES[number], content_of(number)
        was_here = name in self._owner(name)
        at = self._run(self._owner(name).put(name, name, content, is_pushed=is_pushed))
        assert at is not None
        assert at.size == len(content)
        if not was_here:
            self._flipped.discard(name)

    @rule(number=NUMBERS, by_owner=st.booleans())
    def get(self, number: int, by_owner: bool) -> None:
        name = NAMES[number]
        owner = self._owner(name)
        at = owner.locate(name)
        asked = owner if by_owner else self._other(name)
        if not by_owner and at is not None:
            asked.adopt(name, at)
        found = self._run(asked.get(name, name))
        if name not in self._flipped:
            assert found is None or found == content_of(number)
            assert (found is None) == (at is None)

    @rule(number=NUMBERS)
    def read_now(self, number: int) -> None:
        name = NAMES[number]
        at = self._owner(name).locate(name)
        if at is not None and name not in self._flipped:
            found = self._owner(name).read_now(at, 1, 4000)
            assert found is None or found == content_of(number)[1:4000]

    @rule(number=NUMBERS)
    def drop(self, number: int) -> None:
        name = NAMES[number]
        was_here = name in self._owner(name)
        assert self._owner(name).drop([name]) == was_here
        assert name not in self._owner(name)

    @rule(number=NUMBERS, for_s=st.integers(1, 50))
    def pin(self, number: int, for_s: int) -> None:
        name = NAMES[number]
        report = self._owner(name).pin([name], self._clock.now() + for_s)
        assert (name in report.absent) == (name not in self._owner(name))

    @rule(number=NUMBERS)
    def supersede(self, number: int) -> None:
        self._owner(NAMES[number]).supersede([NAMES[number]])

    @rule(seconds=st.integers(1, 60))
    def wait(self, seconds: int) -> None:
        self._clock.advance(seconds)

    @rule(number=NUMBERS)
    def flip(self, number: int) -> None:
        for blob in blobs_on_disk(self._folder):
            if blob.name == NAMES[number] and blob.size:
                content = bytearray(blob.read())
                content[number % blob.size] ^= 4
                blob.overwrite(bytes(content))
                self._flipped ^= {blob.name}

    @rule(number=NUMBERS)
    def check(self, number: int) -> None:
        name = NAMES[number]
        was_here = name in self._owner(name)
        found = self._run(self._owner(name).check(name)).found
        if not was_here:
            assert found is Checked.GONE
        else:
            assert found is (Checked.DAMAGED if name in self._flipped else Checked.RIGHT)
        self._forget_gone(name)

    @rule()
    def restart(self) -> None:
        pinned = [store.usage().pinned for store in self._stores]
        kept = {name for name in NAMES.values() if name in self._owner(name)}
        self._run(self._stack.aclose())
        self._open()
        assert {name for name in NAMES.values() if name in self._owner(name)} <= kept
        assert [store.usage().pinned[0] for store in self._stores] <= [n for n, _ in pinned]
        for number, name in NAMES.items():  # nothing is believed of an earlier run
            found = self._run(self._owner(name).get(name, name))
            assert found is None or found == content_of(number)
            self._forget_gone(name)

    @invariant()
    def the_budget_holds(self) -> None:
        used = 0
        for worker, store in enumerate(self._stores):
            usage = store.usage()
            assert usage.size <= usage.size_max
            names = store.records()
            assert all(worker_of(name, 2) == worker for name in names)
            used += usage.size
        assert used <= MAX_BYTES

    def teardown(self) -> None:
        for _ in range(3):
            self._run(asyncio.sleep(0))
        sizes = {name: size_on_disk(len(content_of(n))) for n, name in NAMES.items()}
        kept = sum(sizes[name] for store in self._stores for name in store.records())
        self._run(self._stack.aclose())
        assert bytes_taken(self._folder) <= kept
        asyncio.set_event_loop(None)
        self._loop.close()
        self._made.cleanup()

    def _open(self) -> None:
        self._stores = [self._new(worker) for worker in range(2)]
        self._stack = AsyncExitStack()
        for store in self._stores:
            self._run(self._stack.enter_async_context(store.open()))

    def _new(self, worker: int) -> Store:
        metrics = EdgeMetrics(CollectorRegistry())
        return Store(
            self._folder,
            max_bytes=MAX_BYTES,
            threads=1,
            metrics=metrics,
            clock=self._clock,
            worker=worker,
            workers=2,
        )

    def _owner(self, name: Digest) -> Store:
        return self._stores[worker_of(name, 2)]

    def _other(self, name: Digest) -> Store:
        return self._stores[1 - worker_of(name, 2)]

    def _forget_gone(self, name: Digest) -> None:
        if name not in self._owner(name):
            self._flipped.discard(name)

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(call)


StoreMachine.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
test_a_store_gives_right_bytes_or_none = StoreMachine.TestCase
