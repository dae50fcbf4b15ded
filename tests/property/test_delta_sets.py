"""Whatever two builds hold, what their published deltas make are the new build's chunks."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from kit.object_storage.testing import MemoryStorage
from packager.title_store import TitleStore
from packager.verify import verify
from tests.any_tree import build_tree, edit_tree, edits, scratch, steps
from tests.delta_builds import chunks_of, made_by, make, make_all
from tests.pushes import TITLE, push_folder
from tests.vouchers import Notary

LARGE = [("large", "f", 300_000, 0), ("folder/large", "x", 300_000, 1)]
"""Files that deltas pay for."""


@settings(max_examples=15, deadline=None)
@given(first=steps, then=steps, edited=edits, cpu_seconds_max=st.sampled_from([0, 60]))
def test_deltas_of_any_pair_of_trees_make_the_new_chunks(
    first: list[tuple[str, str, int, int]],
    then: list[tuple[str, str, int, int]],
    edited: list[tuple[str, int, bytes]],
    cpu_seconds_max: float,
) -> None:
    async def scenario() -> None:
        storage = MemoryStorage()
        store = TitleStore(storage, TITLE)
        with scratch() as folder:
            await asyncio.to_thread(build_tree, folder / "build", first)
            one = await push_folder(storage, folder / "build", "1")
            await asyncio.to_thread(build_tree, folder / "build", then)
            await asyncio.to_thread(edit_tree, folder / "build", edited)
            other = await push_folder(storage, folder / "build", "2")
            if one.build_id == other.build_id:
                return
            report = await make(storage, folder / "cache", cpu_seconds_max=cpu_seconds_max)
        old, new = [
            await chunks_of(store, await store.build(release.root))
            for release in await store.releases()
        ]
        refs = [known.index for known in await store.delta_sets()]
        made = await made_by(store, refs, old)
        assert made.items() <= {id_: new[id_] for id_ in new.keys() - old.keys()}.items()
        assert sum(map(len, made.values())) == report.target_size
        verdict = await verify(store, witness=Notary())
        assert verdict.is_sound, verdict.problems
        assert verdict.applied_delta_count == verdict.delta_count == report.count

    asyncio.run(scenario())


@settings(max_examples=12, deadline=None)
@given(first=steps, edited=st.lists(edits, min_size=3, max_size=3))
def test_sets_from_any_three_trees_make_chunks_of_the_newest_and_are_sound(
    first: list[tuple[str, str, int, int]], edited: list[list[tuple[str, int, bytes]]]
) -> None:
    """Whatever of them is borrowed, from whichever set."""

    async def scenario() -> None:
        storage = MemoryStorage()
        store = TitleStore(storage, TITLE)
        with scratch() as folder:
            await asyncio.to_thread(build_tree, folder / "build", [*LARGE, *first])
            build_ids = set()
            for version, edit in enumerate(edited):
                await asyncio.to_thread(edit_tree, folder / "build", edit)
                pushed = await push_folder(storage, folder / "build", str(version))
                if pushed.build_id not in build_ids and version:
                    await make_all(storage, folder / "cache")
                build_ids.add(pushed.build_id)
        chunks = {
            release.counter: await chunks_of(store, await store.build(release.root))
            for release in await store.releases()
        }
        for found in await store.delta_sets():
            old, new = chunks[found.base], chunks[found.target]
            made = await made_by(store, [found.index], old)
            assert made.items() <= {id_: new[id_] for id_ in new.keys() - old.keys()}.items()
            assert sum(map(len, made.values())) == found.target_size
        verdict = await verify(store, witness=Notary())
        assert verdict.is_sound, verdict.problems
        assert verdict.applied_delta_count == verdict.delta_count

    asyncio.run(scenario())
