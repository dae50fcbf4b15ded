"""Object storage in an S3 bucket, through boto3: for publishing and administration.

What it asks of a server beside the basics: ``If-None-Match: *`` on PutObject and on
CompleteMultipartUpload. AWS and OpenStack Swift honour both; a server that ignores them
overwrites, with the same bytes since keys are digests.

boto3 is synchronous, so each call runs in a thread of a pool we own, one connection per
thread. Its own retries are off: retrying is a wrapper's job (``wrappers.py``), under a budget.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from kit.buffers import Buffer
from kit.errors import Denied, IntegrityError, NotFound, SettingsError, Unavailable
from kit.object_storage import ObjectStat
from kit.object_storage.direct import DirectPut
from kit.object_storage.keys import check_key, check_prefix, is_key
from kit.object_storage.s3_errors import answered, status_of, unanswered
from kit.object_storage.s3_settings import S3Settings
from kit.object_storage.s3_upload import Upload

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from types_boto3_s3.client import S3Client
    from types_boto3_s3.type_defs import (
        GetObjectOutputTypeDef,
        ListObjectsV2OutputTypeDef,
        ListObjectsV2RequestTypeDef,
    )

DELETE_KEYS_MAX = 1000  # what DeleteObjects takes in one call

T = TypeVar("T")

# boto3's default session keeps what making a client read, but must not be entered twice.
_CONNECTING = threading.Lock()


class S3Storage:
    """Implements :class:`kit.object_storage.ObjectStorage` on a bucket."""

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._prefix = f"{check_key(settings.prefix)}/" if settings.prefix else ""
        self._calls = ThreadPoolExecutor(settings.connections_max, thread_name_prefix="s3")
        # A put that waits for its parts holds a thread of the first pool; were the parts to
        # queue in that same pool, enough puts at once would wait for each other for ever.
        self._parts = ThreadPoolExecutor(settings.parts_connections_max, thread_name_prefix="s3-p")
        self._client: S3Client | None = None

    async def close(self) -> None:
        """Wait for running calls, then end the threads and connections."""
        await asyncio.to_thread(self._close)

    async def get(self, key: str, *, size_max: int) -> bytes:
        """Return the whole object."""
        return await self._in_thread(self._get, check_key(key), size_max)

    async def read(self, key: str, start: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``start``."""
        assert start >= 0
        assert length >= 0
        return await self._in_thread(self._read, check_key(key), start, length)

    async def stat(self, key: str) -> ObjectStat:
        """Return size and age of an object."""
        return await self._in_thread(self._stat, check_key(key))

    async def list(self, prefix: str) -> AsyncIterator[ObjectStat]:
        """Yield objects in order of key, one page in memory. Keys that are none are skipped."""
        check_prefix(prefix)
        token: str | None = None
        while True:
            page = await self._in_thread(self._list_page, prefix, token)
            for entry in page.get("Contents", ()):
                key = entry["Key"].removeprefix(self._prefix)
                if is_key(key):
                    yield ObjectStat(key, entry["Size"], entry["LastModified"].timestamp())
            token = page.get("NextContinuationToken")
            if token is None:
                return

    async def put_if_absent(self, key: str, data: Buffer) -> bool:
        """Store ``data`` unless the key exists."""
        return await self._in_thread(self._store, check_key(key), data, True)

    async def put(self, key: str, data: Buffer) -> None:
        """Store ``data``, replacing what is there."""
        await self._in_thread(self._store, check_key(key), data, False)

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete ``keys``, a thousand per call."""
        for start in range(0, len(keys), DELETE_KEYS_MAX):
            batch = [check_key(key) for key in keys[start : start + DELETE_KEYS_MAX]]
            await self._in_thread(self._delete, batch)

    async def direct_put(self, key: str, size: int, good_for_s: float) -> DirectPut:
        """Return a presigned ``PUT``; its length is under the signature."""
        return await self._in_thread(self._direct_put, check_key(key), size, good_for_s)

    # Everything below runs in a thread of ours.

    async def _in_thread(self, call: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._calls, call, *args)

    def _s3(self) -> S3Client:
        """Return the client, made on first use: that reads files, and takes 100 ms."""
        with _CONNECTING:
            if self._client is None:
                self._client = _connect(self._settings)
            return self._client

    def _close(self) -> None:
        self._calls.shutdown()
        self._parts.shutdown()
        if self._client is not None:
            self._client.close()

    def _get(self, key: str, size_max: int) -> bytes:
        with self._errors_named(key):
            answer = self._s3().get_object(Bucket=self._settings.bucket, Key=self._prefix + key)
            with closing(answer["Body"]) as body:
                size = answer["ContentLength"]
                if size > size_max:
                    raise IntegrityError(
                        f"{self._name(key)}: {size} bytes, expected at most {size_max}"
                    )
                return self._read_body(key, body, size)

    def _read(self, key: str, start: int, length: int) -> bytes:
        if length == 0:  # HTTP cannot ask for an empty range
            self._check_end(key, start, self._stat(key).size)
            return b""
        end = start + length
        with self._errors_named(key):
            answer = self._s3().get_object(
                Bucket=self._settings.bucket,
                Key=self._prefix + key,
                Range=f"bytes={start}-{end - 1}",
            )
            with closing(answer["Body"]) as body:
                self._check_span(key, start, length, answer)
                return self._read_body(key, body, length)

    def _read_body(self, key: str, body: StreamingBody, length: int) -> bytes:
        content = body.read()
        if len(content) != length:
            raise IntegrityError(f"{self._name(key)}: ended at {len(content)} of {length} bytes")
        return content

    def _check_span(
        self, key: str, start: int, length: int, answer: GetObjectOutputTypeDef
    ) -> None:
        """Check by the headers, before the body is read, that it is the span asked for."""
        end = start + length
        sent, _, size = answer.get("ContentRange", "").partition("/")  # "bytes 3-4/5"
        if size.isdigit():
            self._check_end(key, end, int(size))
        is_span = sent == f"bytes {start}-{end - 1}" or (not sent and start == 0)
        if not is_span or answer["ContentLength"] != length:
            raise IntegrityError(
                f"{self._name(key)}: asked for bytes {start} to {end}, got "
                f"{answer['ContentLength']} bytes as {sent or 'the whole object'}"
            )

    def _check_end(self, key: str, end: int, size: int) -> None:
        if end > size:
            raise IntegrityError(f"{self._name(key)}: asked for up to {end}, it ends at {size}")

    def _stat(self, key: str) -> ObjectStat:
        with self._errors_named(key):
            answer = self._s3().head_object(Bucket=self._settings.bucket, Key=self._prefix + key)
            return ObjectStat(key, answer["ContentLength"], answer["LastModified"].timestamp())

    def _exists(self, key: str) -> bool:
        try:
            self._stat(key)
        except NotFound:
            return False
        return True

    def _list_page(self, prefix: str, token: str | None) -> ListObjectsV2OutputTypeDef:
        request: ListObjectsV2RequestTypeDef = {
            "Bucket": self._settings.bucket,
            "Prefix": self._prefix + prefix,
            "MaxKeys": self._settings.list_page,
        }
        if token is not None:
            request["ContinuationToken"] = token
        with self._errors_named(prefix):
            return self._s3().list_objects_v2(**request)

    def _store(self, key: str, data: Buffer, is_once: bool) -> bool:
        is_large = memoryview(data).nbytes > self._settings.multipart_above
        # One question is cheap against sending all of a large object for nothing.
        if is_large and is_once and self._exists(key):
            return False
        with self._errors_named(key):
            upload = Upload(self._s3(), self._settings.bucket, self._prefix + key, is_once)
            try:
                if is_large:
                    upload.send_in_parts(data, self._settings.part_size, self._parts)
                else:
                    upload.send_whole(data)
            except ClientError as error:
                # 409: it was written or deleted meanwhile, and which of them the answer does
                # not say. If it was deleted, the caller is told to try again.
                if is_once and (
                    status_of(error) == 412 or (status_of(error) == 409 and self._exists(key))
                ):
                    return False
                raise
        return True

    def _delete(self, keys: Sequence[str]) -> None:
        with self._errors_named(keys[0]):
            answer = self._s3().delete_objects(
                Bucket=self._settings.bucket,
                Delete={"Objects": [{"Key": self._prefix + key} for key in keys], "Quiet": True},
            )
        for failure in answer.get("Errors", ()):
            if failure["Code"] != "NoSuchKey":
                kind = Denied if failure["Code"] == "AccessDenied" else Unavailable
                raise kind(
                    f"s3://{self._settings.bucket}/{failure['Key']}: not deleted: "
                    f"{failure['Code']}: {failure.get('Message', '')}"
                )

    def _direct_put(self, key: str, size: int, good_for_s: float) -> DirectPut:
        with self._errors_named(key):
            url = self._s3().generate_presigned_url(
                "put_object",
                Params={
                    "Bucket": self._settings.bucket,
                    "Key": self._prefix + key,
                    "ContentLength": size,
                },
                ExpiresIn=max(1, int(good_for_s)),
            )
        return DirectPut(url, {"Content-Length": str(size)})

    def _name(self, key: str) -> str:
        return f"s3://{self._settings.bucket}/{self._prefix}{key}"

    @contextmanager
    def _errors_named(self, key: str) -> Iterator[None]:
        """Turn what botocore raises into our errors, which name bucket and key."""
        try:
            yield
        except ClientError as error:
            raise answered(error, self._name(key)) from error
        except (BotoCoreError, ResponseParserError) as error:
            raise unanswered(error, self._name(key)) from error


def _connect(settings: S3Settings) -> S3Client:
    config = Config(
        s3={"addressing_style": settings.addressing},
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
        max_pool_connections=settings.connections_max + settings.parts_connections_max,
        retries={"total_max_attempts": 1, "mode": "standard"},
        # Uploads carry their own (s3_upload.py); downloads are checked by digest above us.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        signature_version="s3v4",  # an older one signs no lengths in addresses
    )
    try:
        return boto3.client(
            "s3",
            endpoint_url=settings.endpoint_url,
            region_name=settings.region,
            aws_access_key_id=settings.access_key_id,
            aws_secret_access_key=settings.secret_access_key,
            config=config,
        )
    except ValueError as error:  # what boto3 says of an endpoint that is no URL
        raise SettingsError(f"endpoint_url {settings.endpoint_url!r}: {error}") from error
