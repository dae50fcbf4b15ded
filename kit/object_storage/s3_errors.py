"""What S3 and the way to it may say, in our errors: which of them a retry can help."""

from __future__ import annotations

from http.client import IncompleteRead

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, ResponseStreamingError
from botocore.exceptions import ConnectionError as BotoConnectionError

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

# Answers 4xx, but asking again is what the S3 error reference says to do.
_BUSY = {"RequestTimeout", "SlowDown", "OperationAborted", "ConditionalRequestConflict"}
# What we sent was damaged on its way.
_DAMAGED = {"BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch", "InvalidDigest"}
_FULL = {"InsufficientStorage", "QuotaExceeded"}


def status_of(error: ClientError) -> int:
    """Return the HTTP status of the answer."""
    return error.response["ResponseMetadata"]["HTTPStatusCode"]


def answered(error: ClientError, name: str) -> PlayheadError:
    """Say what an answer of the server about ``name`` means."""
    status = status_of(error)
    code = error.response["Error"].get("Code", "")
    said = f"{name}: {status} {code}: {error.response['Error'].get('Message', '')}"
    kind: type[PlayheadError]
    match status:
        case _ if code == "NoSuchBucket":
            kind, then = SettingsError, "create the bucket, or correct the bucket setting"
        case 404:
            kind, then = NotFound, "no such object"
        case 401 | 403:
            kind, then = Denied, "check the access key, and the rights it has on this bucket"
        case 416:
            kind, then = IntegrityError, "the object ends before the bytes asked for"
        case 413:
            kind, then = InvalidInput, "more than this storage takes at once; or its quota is full"
        case _ if code == "EntityTooLarge":
            kind, then = InvalidInput, "larger than this storage takes"
        case _ if status == 507 or code in _FULL:
            kind, then = OutOfSpace, "free some space there or raise the quota, then run it again"
        case _ if code in _DAMAGED:
            kind, then = IntegrityError, "damaged on the way to the storage; nothing was stored"
        case _ if status in (408, 409, 429) or status >= 500 or code in _BUSY:
            kind, then = Unavailable, "retrying may help"
        case _:
            kind, then = SettingsError, "check endpoint, region, bucket and addressing"
    return kind(f"{said} ({then})")


def unanswered(error: Exception, name: str) -> PlayheadError:
    """Say what it means that no whole answer about ``name`` came."""
    said = f"{name}: {error}"
    if isinstance(error, ResponseStreamingError) and _is_cut_short(error):
        return IntegrityError(f"{said} (the body ended early)")
    if isinstance(error, HTTPClientError | BotoConnectionError) or not isinstance(
        error, BotoCoreError
    ):
        return Unavailable(f"{said} (retrying may help)")
    return SettingsError(f"{said} (check credentials and endpoint)")


def _is_cut_short(error: ResponseStreamingError) -> bool:
    """Tell a body that ended before its Content-Length from a connection that broke."""
    cause = error.kwargs["error"]
    return any(isinstance(reason, IncompleteRead) for reason in (cause, *cause.args))
