"""What the S3 adapter makes of a bad day: real Swift behind a proxy that misbehaves."""

from __future__ import annotations

import asyncio
import base64
import threading
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from random import Random

import pytest
from botocore.exceptions import ClientError
from msgspec.structs import replace

from kit.errors import (
    Denied,
    IntegrityError,
    InvalidInput,
    NotFound,
    OutOfSpace,
    PlayheadError,
    SettingsError,
    Unavailable,
)
from kit.object_storage.s3 import S3Storage
from kit.object_storage.s3_errors import answered
from kit.object_storage.s3_settings import S3Settings
from kit.object_storage.wrappers import Retrying, RetrySettings
from kit.units import MIB, ByteSize, Seconds
from tests.polling import eventually
from tests.servers.faulty_proxy import (
    Fault,
    FaultyProxy,
    broken_after_commit,
    conflict,
    damaged_upload,
    held,
    range_unconfirmed,
    reset_after_commit,
    reset_midway,
    running_proxy,
    slow_down,
    truncated,
)
from tests.servers.ports import free_ports
from tests.servers.swift import Swift

pytestmark = pytest.mark.slow  # starts a server

BODY = Random(2).randbytes(100_000)
LARGE = Random(3).randbytes(12 * MIB)  # three parts, as set below


@pytest.fixture
def proxy(swift: Swift) -> Iterator[FaultyProxy]:
    with running_proxy(swift.port) as proxy:
        yield proxy


@pytest.fixture
def settings(swift: Swift, proxy: FaultyProxy) -> S3Settings:
    return replace(
        swift.settings(),
        endpoint_url=proxy.endpoint_url,
        multipart_above=ByteSize(6 * MIB),
        part_size=ByteSize(5 * MIB),
        parts_connections_max=2,
    )


@pytest.fixture
async def storage(settings: S3Settings) -> AsyncIterator[S3Storage]:
    storage = S3Storage(settings)
    yield storage
    await storage.close()


@pytest.fixture
def retrying(storage: S3Storage) -> Retrying:
    quick = RetrySettings(pause_first=Seconds(0.001))
    return Retrying(storage, settings=quick, random=Random(4))


def uploads_left(swift: Swift) -> int:
    with closing(swift.client()) as client:
        return len(client.list_multipart_uploads(Bucket=swift.bucket).get("Uploads", ()))


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (slow_down, Unavailable),
        (broken_after_commit, Unavailable),
        (reset_after_commit, Unavailable),
        (reset_midway, Unavailable),
        (truncated, IntegrityError),
    ],
)
async def test_a_read_that_went_wrong_says_how_and_a_retry_mends_it(
    storage: S3Storage,
    retrying: Retrying,
    proxy: FaultyProxy,
    fault: Fault,
    error: type[PlayheadError],
) -> None:
    await storage.put_if_absent("a", BODY)
    proxy.faults += [fault, fault]
    with pytest.raises(error, match=r"s3://playhead/test/.*/a"):
        await storage.get("a", size_max=len(BODY))
    with pytest.raises(error, match=r"s3://playhead/test/.*/a"):
        await storage.read("a", 10, 90_000)
    proxy.faults += [fault, fault]
    assert await retrying.get("a", size_max=len(BODY)) == BODY
    proxy.faults += [fault, fault]
    assert await retrying.read("a", 10, 90_000) == BODY[10:90_010]


async def test_botocore_does_not_retry_behind_our_back(
    storage: S3Storage, proxy: FaultyProxy
) -> None:
    proxy.faults += [slow_down]
    with pytest.raises(Unavailable):
        await storage.put("a", BODY)
    assert len(proxy.requests) == 1


@pytest.mark.parametrize("fault", [broken_after_commit, reset_after_commit])
async def test_a_write_that_was_done_though_it_failed_is_found_done(
    storage: S3Storage, retrying: Retrying, proxy: FaultyProxy, fault: Fault
) -> None:
    proxy.faults += [fault]
    assert not await retrying.put_if_absent("a", BODY)
    assert await storage.get("a", size_max=len(BODY)) == BODY


@pytest.mark.parametrize("fault", [slow_down, damaged_upload])
async def test_a_write_that_was_not_done_is_done_by_the_retry(
    storage: S3Storage, retrying: Retrying, proxy: FaultyProxy, fault: Fault
) -> None:
    proxy.faults += [fault]
    assert await retrying.put_if_absent("a", BODY)
    assert await storage.get("a", size_max=len(BODY)) == BODY


async def test_what_was_damaged_on_its_way_is_not_stored(
    storage: S3Storage, proxy: FaultyProxy
) -> None:
    proxy.faults += [damaged_upload]
    with pytest.raises(IntegrityError, match="damaged on the way"):
        await storage.put_if_absent("a", BODY)
    with pytest.raises(NotFound):
        await storage.stat("a")


async def test_every_body_carries_its_checksum(storage: S3Storage, proxy: FaultyProxy) -> None:
    # Over plain HTTP the signature covers the body as well; over TLS it does not.
    await storage.put("a", BODY)
    await storage.put("large", LARGE)
    bodies = [BODY, *(LARGE[start : start + 5 * MIB] for start in range(0, len(LARGE), 5 * MIB))]
    sent = [int.from_bytes(base64.b64decode(checksum), "big") for checksum in proxy.checksums]
    assert sorted(sent) == sorted(zlib.crc32(body) for body in bodies)


async def test_bytes_that_do_not_say_which_they_are_are_not_believed(
    storage: S3Storage, proxy: FaultyProxy
) -> None:
    await storage.put_if_absent("a", BODY)
    proxy.faults += [range_unconfirmed]
    with pytest.raises(IntegrityError, match="as the whole object"):
        await storage.read("a", 10, 20)


async def test_a_conflict_means_exists_only_if_it_does(
    storage: S3Storage, proxy: FaultyProxy
) -> None:
    proxy.faults += [conflict]
    with pytest.raises(Unavailable):
        await storage.put_if_absent("a", BODY)
    await storage.put_if_absent("a", BODY)
    proxy.faults += [conflict]
    assert not await storage.put_if_absent("a", BODY)


async def test_an_upload_whose_part_fails_leaves_nothing(
    storage: S3Storage, retrying: Retrying, proxy: FaultyProxy, swift: Swift
) -> None:
    through = None
    proxy.faults += [through, through, slow_down]  # the question, the start, a part
    with pytest.raises(Unavailable):
        await storage.put_if_absent("large", LARGE)
    assert uploads_left(swift) == 0
    with pytest.raises(NotFound):
        await storage.stat("large")
    proxy.faults += [through, through, damaged_upload]
    assert await retrying.put_if_absent("large", LARGE)
    assert await storage.get("large", size_max=len(LARGE)) == LARGE


@pytest.mark.parametrize("fault", [broken_after_commit, reset_after_commit])
async def test_parts_that_became_an_object_unheard_are_not_pulled_from_under_it(
    storage: S3Storage, proxy: FaultyProxy, fault: Fault
) -> None:
    proxy.faults += [None] * 5 + [fault]  # question, start, three parts, completion
    with pytest.raises(Unavailable):
        await storage.put_if_absent("large", LARGE)
    assert proxy.requests[-1].startswith("POST")  # and no DELETE after it
    assert await storage.get("large", size_max=len(LARGE)) == LARGE


async def test_a_large_object_that_is_there_is_not_sent_again(
    storage: S3Storage, proxy: FaultyProxy
) -> None:
    assert await storage.put_if_absent("large", LARGE)
    proxy.requests.clear()
    assert not await storage.put_if_absent("large", LARGE)
    assert [request.split()[0] for request in proxy.requests] == ["HEAD"]


async def test_large_uploads_at_once_do_not_wait_for_each_other_for_ever(
    settings: S3Settings,
) -> None:
    storage = S3Storage(replace(settings, connections_max=2))
    async with asyncio.timeout(60):
        stored = await asyncio.gather(
            *(storage.put_if_absent(f"large/{index}", LARGE) for index in range(4))
        )
    assert all(stored)
    await storage.close()


async def test_a_cancelled_upload_leaves_no_parts(
    storage: S3Storage, proxy: FaultyProxy, swift: Swift
) -> None:
    release = threading.Event()
    proxy.faults += [None, None, held(release)]  # the question, the start, a part
    uploading = asyncio.create_task(storage.put_if_absent("large", LARGE))

    async def is_sending() -> bool:
        return len(proxy.requests) > 2

    await eventually(is_sending)
    uploading.cancel()
    await asyncio.gather(uploading, return_exceptions=True)
    release.set()
    await storage.close()  # waits for the threads
    assert await asyncio.to_thread(uploads_left, swift) == 0


async def test_an_object_larger_than_expected_is_not_downloaded(
    storage: S3Storage, proxy: FaultyProxy
) -> None:
    await storage.put_if_absent("large", LARGE)
    with pytest.raises(IntegrityError, match=f"{len(LARGE)} bytes, expected at most 1000"):
        await storage.get("large", size_max=1000)


async def test_a_wrong_secret_is_denied_by_name(settings: S3Settings) -> None:
    storage = S3Storage(replace(settings, secret_access_key="wrong"))
    for call in (storage.get("a", size_max=1), storage.stat("a"), storage.put_if_absent("a", b"")):
        with pytest.raises(Denied, match=r"s3://playhead/test/.*/a.*access key"):
            await call
    await storage.close()


async def test_a_bucket_that_is_not_there_is_the_operators_to_mend(settings: S3Settings) -> None:
    storage = S3Storage(replace(settings, bucket="misspelt"))
    with pytest.raises(SettingsError, match=r"misspelt.*create the bucket"):
        await storage.put_if_absent("a", b"")
    with pytest.raises(SettingsError, match="misspelt"):
        await storage.get("a", size_max=1)
    await storage.close()


async def test_an_endpoint_that_is_no_url_is_named(settings: S3Settings) -> None:
    storage = S3Storage(replace(settings, endpoint_url="storage.example"))
    with pytest.raises(SettingsError, match=r"storage\.example"):
        await storage.stat("a")
    await storage.close()


async def test_a_server_that_is_down_is_unavailable(settings: S3Settings) -> None:
    (port,) = free_ports(1)
    storage = S3Storage(replace(settings, endpoint_url=f"http://127.0.0.1:{port}"))
    with pytest.raises(Unavailable, match=f"s3://playhead/.*{port}"):
        await storage.stat("a")
    await storage.close()


async def test_a_server_that_says_nothing_is_given_up(settings: S3Settings) -> None:
    connected: list[asyncio.StreamWriter] = []

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.append(writer)

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    storage = S3Storage(
        replace(settings, endpoint_url=f"http://127.0.0.1:{port}", read_timeout=Seconds(0.2))
    )
    with pytest.raises(Unavailable, match="timeout"):
        await storage.get("a", size_max=1)
    await storage.close()
    assert len(connected) == 1
    connected[0].close()
    server.close()
    await server.wait_closed()


async def test_a_thousand_and_one_keys_are_deleted_in_two_calls(
    storage: S3Storage, proxy: FaultyProxy
) -> None:
    await storage.put("k1000", b"")
    await storage.delete([f"k{index}" for index in range(1001)])
    assert sum("delete" in request for request in proxy.requests) == 2
    with pytest.raises(NotFound):
        await storage.stat("k1000")


async def test_keys_of_others_in_the_bucket_are_passed_over(
    storage: S3Storage, settings: S3Settings, swift: Swift
) -> None:
    await storage.put("ours", b"")
    with closing(swift.client()) as client:
        for key in ("not a key", ".hidden", "ours/"):
            await asyncio.to_thread(
                client.put_object, Bucket=swift.bucket, Key=f"{settings.prefix}/{key}", Body=b""
            )
    assert [found.key async for found in storage.list("")] == ["ours"]


def test_settings_do_not_print_the_secret(settings: S3Settings) -> None:
    assert "testing" not in repr(settings)
    assert "testing" not in f"{settings}"


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (301, "PermanentRedirect", SettingsError),
        (400, "AuthorizationHeaderMalformed", SettingsError),
        (400, "BadDigest", IntegrityError),
        (400, "EntityTooLarge", InvalidInput),
        (400, "RequestTimeout", Unavailable),
        (403, "AccessDenied", Denied),
        (404, "404", NotFound),  # HEAD has no body to say more
        (409, "OperationAborted", Unavailable),
        (416, "InvalidRange", IntegrityError),
        (429, "TooManyRequests", Unavailable),
        (500, "InternalError", Unavailable),
        (503, "SlowDown", Unavailable),
        (507, "InsufficientStorage", OutOfSpace),
    ],
)
def test_an_answer_means_one_of_our_errors(
    status: int, code: str, kind: type[PlayheadError]
) -> None:
    answer = ClientError(
        {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        "GetObject",
    )
    error = answered(answer, "s3://bucket/key")
    assert type(error) is kind
    assert f"s3://bucket/key: {status} {code}" in str(error)
