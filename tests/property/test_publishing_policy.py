"""Whatever one publisher asks for, nothing of another's title is read, listed, changed or deleted.

Two publishers share an origin. One asks for anything at all, below its own title and outside; a
model of its own claims says what it should find. The same check must catch rules that forget whose
a key is: else it proves nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from kit.errors import PlayheadError
from kit.object_storage import ObjectStorage
from kit.object_storage.keys import is_key
from kit.object_storage.testing import MemoryStorage
from manifests.publishing_scope import Scope
from origin.publishing.rules import Rules, TitleRules
from tests.publishing_service import NoRules, running_service

OURS, THEIRS = "ours", "theirs"
HEX = "0123456789abcdef"
SECRET = b"what only they may see"

Verb = Literal["get", "read", "stat", "list", "put", "put_if_absent", "delete"]

letters = st.sampled_from("hrmbsdwx")
names = st.one_of(
    st.sampled_from(["live", "0000000001", "0000000002", "0000000002-0000000001", "../r", "."]),
    st.just(HEX * 4),
    st.text("0123456789abcdef-", min_size=1, max_size=20),
    st.integers(0, 3).map(lambda n: f"{n:010}-{HEX}"),
)
titles = st.sampled_from([OURS, THEIRS, "ours-too", "our", "ours/../theirs", "", "THEIRS"])
inner = st.builds(lambda title, letter, name: f"t/{title}/{letter}/{name}", titles, letters, names)
outer = st.sampled_from(
    [
        "trust/timestamp.json",
        "trust/1.root.json",
        "quarantine/theirs/1.bin",
        "upload/theirs/1",
        "t/theirs",
        "t",
        "t/",
        "t/theirs/",
        "t/ours/../theirs/h/live",
    ]
)
keys = st.one_of(inner, outer)
prefixes = st.one_of(
    keys, st.sampled_from(["", "t", "t/", "t/o", "t/ours/", "t/theirs/", "trust/"])
)


@dataclass(frozen=True)
class Ask:
    verb: Verb
    key: str


verbs = st.sampled_from(["get", "read", "stat", "put", "put_if_absent", "delete"])
asks = st.one_of(st.builds(Ask, verbs, keys), st.builds(Ask, st.just("list"), prefixes))


def own_claim(key: str) -> bool:
    return key.startswith(f"t/{OURS}/w/") and is_key(key) and len(key.rsplit("/", 1)[-1]) == 27


async def carry_out(storage: ObjectStorage, ask: Ask) -> object:
    answer: object = None
    match ask.verb:
        case "get":
            answer = await storage.get(ask.key, size_max=1 << 20)
        case "read":
            answer = await storage.read(ask.key, 0, 1)
        case "stat":
            answer = (await storage.stat(ask.key)).key
        case "list":
            answer = [stat.key async for stat in storage.list(ask.key)]
        case "put":
            await storage.put(ask.key, b"{}")
        case "put_if_absent":
            answer = await storage.put_if_absent(ask.key, b"{}")
        case "delete":
            await storage.delete([ask.key])
    return answer


async def others_title() -> MemoryStorage:
    memory = MemoryStorage()
    for key in (
        f"t/{THEIRS}/h/live",
        f"t/{THEIRS}/r/{1:010}",
        f"t/{THEIRS}/m/{HEX * 4}",
        f"t/{THEIRS}/b/{HEX * 4}",
        f"t/{THEIRS}/w/{1:010}-{HEX}",
        f"t/{OURS}-too/h/live",
        "trust/timestamp.json",
        "quarantine/theirs/1.bin",
        "upload/theirs/1",
    ):
        await memory.put(key, SECRET)
    return memory


async def contents(memory: MemoryStorage) -> dict[str, bytes]:
    found = [stat.key async for stat in memory.list("")]
    return {
        key: await memory.get(key, size_max=1 << 20)
        for key in found
        # What was refused of ours, and our own title, may change.
        if not key.startswith((f"t/{OURS}/", "quarantine/us/"))
    }


async def run(asked: Sequence[Ask], folder: Path, *, with_rules: bool = True) -> None:
    memory = await others_title()
    before = await contents(memory)
    ours: set[str] = set()
    rules: Rules = TitleRules(memory, NobodyVouches()) if with_rules else NoRules()
    async with running_service(memory, folder, rules) as service:
        service.tokens["token"] = Scope(publisher="us", titles=(OURS,), channels=("live",))
        storage = service.storage()
        for ask in asked:
            try:
                answer: object = await carry_out(storage, ask)
            except PlayheadError as error:
                assert SECRET.decode() not in str(error)
                if own_claim(ask.key):
                    assert ask.verb in ("get", "read", "stat")
                    assert ask.key not in ours
                continue
            assert answer != SECRET
            assert answer != SECRET[:1]
            if isinstance(answer, list):
                assert set(answer) <= {key for key in ours if key.startswith(ask.key)}
            if own_claim(ask.key):
                if ask.verb == "delete":
                    ours.discard(ask.key)
                elif ask.verb in ("put", "put_if_absent"):
                    ours.add(ask.key)
            assert ask.key.startswith(f"t/{OURS}/")
        assert await contents(memory) == before
        assert ours == {s.key async for s in memory.list(f"t/{OURS}/")}


class NobodyVouches:
    async def head_of(self, title: object, channel: object) -> None:
        return None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(asks, min_size=1, max_size=40))
def test_no_key_of_another_title_can_be_reached(asked: list[Ask]) -> None:
    with TemporaryDirectory() as folder:
        asyncio.run(run(asked, Path(folder)))


def test_the_check_catches_rules_that_forget_whose_a_key_is() -> None:
    @settings(max_examples=200, deadline=None, phases=[Phase.generate], database=None)
    @given(st.lists(asks, min_size=1, max_size=40))
    def reach(asked: list[Ask]) -> None:
        with TemporaryDirectory() as folder:
            asyncio.run(run(asked, Path(folder), with_rules=False))

    with pytest.raises((AssertionError, ExceptionGroup)):
        reach()
