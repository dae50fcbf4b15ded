"""Make and check manifest deltas: what tells a console of a new build by what it knows of its own.

Made last, when both builds' manifests and the index of their deltas are stored.
"""

from __future__ import annotations

import asyncio

from chunks.chunk_id import check_digest, digest_of
from kit.concurrency import for_each
from kit.errors import FormatError, IntegrityError, NotFound
from manifests.documents import DeltaSet, ObjectRef
from manifests.manifest_delta import (
    apply_manifest_delta,
    encode_manifest_delta,
    new_pages_of,
    pages_of,
)
from packager.title_store import TitleStore

READS_AT_ONCE = 8


async def make_manifest_delta(
    store: TitleStore, base: ObjectRef, target: ObjectRef, index: ObjectRef
) -> ObjectRef | None:
    """Store the manifest delta between two builds; None if it would spare nothing.

    Args:
        store: Holds both manifests and the index.
        base: The root of the build that consoles have.
        target: The root of the one they shall have.
        index: Of the deltas from one to the other.

    Raises:
        NotFound, IntegrityError, FormatError: Some of it is missing or damaged.
        Unavailable: The storage did not answer.
    """
    had, wanted = await _had(store, base), await _wanted(store, base, target, index)
    of_base = await for_each(had, store.manifest, at_once=READS_AT_ONCE)
    parts = await for_each(wanted, store.manifest, at_once=READS_AT_ONCE)
    data = await asyncio.to_thread(encode_manifest_delta, of_base, parts)
    if data is None or len(data) >= sum(map(len, parts)):
        return None
    return await store.put_manifest(data)


async def check_manifest_delta(store: TitleStore, found: DeltaSet) -> None:
    """Do nothing if the manifest delta of ``found``, if it has one, makes what it should.

    It is left untried where a build it is about is not there or not sound: that is said elsewhere.

    Raises:
        NotFound, IntegrityError, FormatError: It is missing or damaged, or makes something else.
        Unavailable: The storage did not answer.
    """
    if found.manifest is None:
        return
    data = await store.manifest(found.manifest)
    check_digest(f"manifest delta {found.manifest.digest}", data, found.manifest.raw_digest)
    try:
        base, target = [(await store.release(of)).root for of in (found.base, found.target)]
        had, wanted = await _had(store, base), await _wanted(store, base, target, found.index)
        of_base = await for_each(had, store.manifest, at_once=READS_AT_ONCE)
    except (NotFound, IntegrityError, FormatError):
        return
    made = await asyncio.to_thread(apply_manifest_delta, data, of_base)
    if [digest_of(part) for part in made] != [each.raw_digest for each in wanted]:
        raise FormatError("it makes other objects than the manifest it is for")


async def _had(store: TitleStore, base: ObjectRef) -> list[ObjectRef]:
    return [base, *pages_of(await store.root(base))]


async def _wanted(
    store: TitleStore, base: ObjectRef, target: ObjectRef, index: ObjectRef
) -> list[ObjectRef]:
    pages = new_pages_of(await store.root(target), await store.root(base))
    return [target, *pages, index]
