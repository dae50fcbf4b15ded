"""Uploads straight into a bucket: what is presigned is all that may come; it is judged there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from random import Random

import aiohttp
import msgspec
import pytest

from chunks.bundle import Bundle, BundleWriter
from chunks.chunk_id import digest_of
from kit.errors import Denied, InvalidInput, NotFound
from kit.object_storage.remote import RemoteStorage
from kit.object_storage.s3 import S3Storage
from kit.units import Seconds
from manifests import locations
from manifests.names import TitleId
from origin.publishing.settings import PublishingSettings
from tests.polling import eventually
from tests.publishing_service import SCOPE, Service, running_service
from tests.servers.swift import Swift

pytestmark = pytest.mark.slow
GAME = TitleId("game")


def bundle_of(seed: int) -> Bundle:
    writer, noise = BundleWriter(1 << 30), Random(seed)
    for _ in range(3):
        content = noise.randbytes(700_000)
        writer.add(digest_of(content), len(content), content)
    return writer.close()


@dataclass
class Bucket:
    service: Service
    s3: S3Storage
    session: aiohttp.ClientSession

    @property
    def remote(self) -> RemoteStorage:
        return self.service.storage()

    async def begin(self, key: str, size: int) -> dict[str, object]:
        asked = {"key": key, "size": size}
        answer = await self.remote.ask_json("POST", "/uploads", asked, dict[str, object])
        direct = answer["direct"]
        assert isinstance(direct, dict)
        return direct

    async def put(self, direct: dict[str, object], data: bytes) -> int:
        put = direct["put"]
        assert isinstance(put, dict)
        async with self.session.put(put["url"], data=BytesIO(data)) as reply:
            return reply.status

    async def commit(self, key: str, direct: dict[str, object], token: str = "token") -> None:
        asked = {"key": key, "upload": direct["upload"]}
        storage = self.service.storage(token)
        await storage.ask_json("POST", "/commits", asked, dict[str, bool])

    async def keys(self, prefix: str = "") -> list[str]:
        return [stat.key async for stat in self.s3.list(prefix)]


@pytest.fixture
async def bucket(swift: Swift, tmp_path: Path) -> AsyncIterator[Bucket]:
    s3 = S3Storage(swift.settings())
    async with running_service(s3, tmp_path, presigner=s3) as service, aiohttp.ClientSession() as s:
        yield Bucket(service, s3, s)
    await s3.close()


async def test_a_bundle_goes_straight_into_the_bucket_and_is_there_once_judged(
    bucket: Bucket,
) -> None:
    bundle = bundle_of(1)
    key = locations.bundle_key(GAME, bundle.bundle_id)
    assert await bucket.remote.put_if_absent(key, bundle.data)
    assert not await bucket.remote.put_if_absent(key, bundle.data)
    assert await bucket.s3.get(key, size_max=1 << 25) == bytes(bundle.data)
    assert await bucket.keys() == [key]
    events = await bucket.service.audit()
    assert [(each.what, each.outcome) for each in events] == [("commit", "ok"), ("commit", "there")]


async def test_nothing_is_there_before_it_was_handed_in(bucket: Bucket) -> None:
    bundle = bundle_of(2)
    key = locations.bundle_key(GAME, bundle.bundle_id)
    direct = await bucket.begin(key, len(bundle.data))
    assert await bucket.put(direct, bytes(bundle.data)) == 200
    with pytest.raises(NotFound):
        await bucket.remote.stat(key)
    await bucket.commit(key, direct)
    assert (await bucket.remote.stat(key)).size == len(bundle.data)


async def test_other_bytes_than_the_key_says_go_into_quarantine(bucket: Bucket) -> None:
    bundle = bundle_of(3)
    key = locations.bundle_key(GAME, bundle.bundle_id)
    tampered = bytearray(bundle.data)
    tampered[1000] ^= 1
    direct = await bucket.begin(key, len(tampered))
    assert await bucket.put(direct, bytes(tampered)) == 200
    with pytest.raises(InvalidInput, match="quarantine/acme/"):
        await bucket.commit(key, direct)
    left = await bucket.keys()
    assert [name.rpartition(".")[2] for name in left] == ["bin", "json"]
    assert all(name.startswith("quarantine/acme/") for name in left)


async def test_an_address_takes_the_size_it_was_given_for_and_no_other(bucket: Bucket) -> None:
    bundle = bundle_of(4)
    key = locations.bundle_key(GAME, bundle.bundle_id)
    direct = await bucket.begin(key, len(bundle.data))
    assert await bucket.put(direct, bytes(bundle.data) + b"more") == 403
    assert await bucket.keys() == []
    with pytest.raises(InvalidInput, match="at most"):
        await bucket.begin(key, 1 << 30)


async def test_another_publishers_upload_cannot_be_handed_in(bucket: Bucket) -> None:
    bucket.service.tokens["rival"] = msgspec.structs.replace(
        SCOPE, publisher="rival", titles=("other",)
    )
    bundle = bundle_of(5)
    direct = await bucket.begin(locations.bundle_key(GAME, bundle.bundle_id), len(bundle.data))
    await bucket.put(direct, bytes(bundle.data))
    theirs = locations.bundle_key(TitleId("other"), bundle.bundle_id)
    with pytest.raises(InvalidInput, match="no upload of yours"):
        await bucket.commit(theirs, direct, "rival")
    with pytest.raises((Denied, InvalidInput)):
        await bucket.commit(locations.bundle_key(GAME, bundle.bundle_id), direct, "rival")


async def test_what_was_never_handed_in_is_swept(bucket: Bucket, tmp_path: Path) -> None:
    bundle = bundle_of(6)
    direct = await bucket.begin(locations.bundle_key(GAME, bundle.bundle_id), len(bundle.data))
    await bucket.put(direct, bytes(bundle.data))
    kept = await bucket.keys("upload/")
    assert len(kept) == 1
    soon = PublishingSettings(uploads_expire_after=Seconds(-60))
    async with running_service(bucket.s3, tmp_path / "again", settings=soon):

        async def is_swept() -> bool:
            return await bucket.keys("upload/") == []

        await eventually(is_swept)
