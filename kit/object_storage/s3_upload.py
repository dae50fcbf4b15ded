"""Sends one object to S3: whole, or in parallel parts that become an object all at once.

Every body carries its CRC-32 in a header, which the server checks before it stores. Not as a
trailer, which is botocore's own way over TLS: several servers that speak S3 refuse those.
"""

from __future__ import annotations

import base64
import zlib
from concurrent.futures import FIRST_EXCEPTION, Executor, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from kit.buffers import Buffer
from kit.object_storage.s3_errors import status_of

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client
    from types_boto3_s3.type_defs import (
        CompletedPartTypeDef,
        CompleteMultipartUploadRequestTypeDef,
        PutObjectRequestTypeDef,
    )


@dataclass(frozen=True, slots=True)
class Upload:
    """One object to be sent; create-once if ``is_once``.

    Both ways of sending raise what botocore does: of those, a ``ClientError`` with status 412
    says that the object is there already.
    """

    client: S3Client
    bucket: str
    key: str
    is_once: bool

    def send_whole(self, data: Buffer) -> None:
        """Send ``data`` in one request."""
        request: PutObjectRequestTypeDef = {
            "Bucket": self.bucket,
            "Key": self.key,
            "Body": _body(data),
            "ChecksumCRC32": _crc32(data),
        }
        if self.is_once:
            request["IfNoneMatch"] = "*"
        self.client.put_object(**request)

    def send_in_parts(self, data: Buffer, part_size: int, pool: Executor) -> None:
        """Send ``data`` in parts of ``part_size`` bytes, as many at once as ``pool`` has threads.

        After failure the parts are gone from the server, unless it was the last request that
        went unanswered: then it may yet make the object, and pulling the parts from under it
        would break that. What stays is for the bucket's rule on incomplete uploads.
        """
        view = memoryview(data).cast("B")
        upload_id = self.client.create_multipart_upload(
            Bucket=self.bucket, Key=self.key, ChecksumAlgorithm="CRC32"
        )["UploadId"]
        try:
            parts = self._send_parts(upload_id, view, part_size, pool)
        except (BotoCoreError, ClientError):
            self._abort(upload_id)
            raise
        try:
            self._complete(upload_id, parts)
        except ClientError as error:
            if status_of(error) < 500:
                self._abort(upload_id)
            raise

    def _send_parts(
        self, upload_id: str, view: memoryview, part_size: int, pool: Executor
    ) -> list[CompletedPartTypeDef]:
        sending = [
            pool.submit(self._send_part, upload_id, number, view[start : start + part_size])
            for number, start in enumerate(range(0, len(view), part_size), start=1)
        ]
        wait(sending, return_when=FIRST_EXCEPTION)
        for part in sending:
            part.cancel()  # after a failure, those that have not begun; otherwise none
        wait(sending)  # an abort would miss parts that arrive after it
        return [part.result() for part in sending]

    def _send_part(self, upload_id: str, number: int, part: memoryview) -> CompletedPartTypeDef:
        crc32 = _crc32(part)
        answer = self.client.upload_part(
            Bucket=self.bucket,
            Key=self.key,
            UploadId=upload_id,
            PartNumber=number,
            Body=_body(part),
            ChecksumCRC32=crc32,
        )
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": crc32}

    def _complete(self, upload_id: str, parts: list[CompletedPartTypeDef]) -> None:
        request: CompleteMultipartUploadRequestTypeDef = {
            "Bucket": self.bucket,
            "Key": self.key,
            "UploadId": upload_id,
            "MultipartUpload": {"Parts": parts},
        }
        if self.is_once:
            request["IfNoneMatch"] = "*"
        self.client.complete_multipart_upload(**request)

    def _abort(self, upload_id: str) -> None:
        with suppress(BotoCoreError, ClientError):  # the error that led here is the one to tell
            self.client.abort_multipart_upload(Bucket=self.bucket, Key=self.key, UploadId=upload_id)


def _body(data: Buffer) -> bytes:
    """Return ``data`` as botocore takes it, which copies a view: 2 ms for 16 MiB."""
    return data if isinstance(data, bytes) else bytes(data)


def _crc32(data: Buffer) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
