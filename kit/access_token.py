"""A Common Access Token: small CBOR claims under a MAC, which any node checks by itself.

Only the one shape that we issue is read::

    CWT (tag 61) COSE_Mac0 (tag 17) [ {alg: HMAC 256/256}, {kid}, claims, tag of 32 bytes ]

in base64url without padding. The frame around the claims is taken apart by hand: what is not
authentic never reaches a CBOR decoder, so nesting, sizes and duplicate keys are no concern.

Source: CTA-5007-A, Common Access Token; RFC 8392 (CWT); RFC 9052, section 6.2 (MAC0).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, NewType, TypeAlias

import cbor2

from kit.errors import Unauthenticated

KeyId = NewType("KeyId", str)
Claims: TypeAlias = dict[int, Any]

TOKEN_SIZE_MAX = 1024
"""Characters. One of ours has some 250; a header line may have 8,190."""

KEY_SIZE = 32
KEY_ID_SIZE_MAX = 23
"""What the head of a CBOR string says in one byte."""

ISSUER, SUBJECT, EXPIRES_AT, ISSUED_AT, TOKEN_ID = 1, 2, 4, 6, 7
VERSION, URI, METHODS = 310, 312, 313
"""Names of claims: RFC 8392, section 4, and CTA-5007-A, section 4."""
URI_PATH, PREFIX_MATCH = 3, 1
"""Within the claim ``URI``."""
EPOCH = -65537
"""A claim of our own, from the range for private use (RFC 8392, section 9.1)."""

_PROTECTED = b"\xa1\x01\x05"  # {1 (alg): 5 (HMAC 256/256)}
# Tags 61 (CWT) and 17 (MAC0), an array of 4, protected; {4 (kid):
_BEGIN = b"\xd8\x3d\xd1\x84\x43" + _PROTECTED + b"\xa1\x04"
_TAG_HEAD = b"\x58\x20"
_MAC_STRUCTURE = b"\x84\x64MAC0\x43" + _PROTECTED + b"\x40"
_TAG_SIZE = 32
_SHORT_STRING, _ONE_BYTE_LENGTH, _TWO_BYTE_LENGTH = 0x40, 0x58, 0x59


class InvalidToken(Unauthenticated):
    """A token was made by nobody whose key is known here, or was changed on the way."""

    code = "token-invalid"


def encode_token(claims: Mapping[int, Any], key_id: KeyId, key: bytes) -> str:
    """Return the token that holds ``claims``, in base64url."""
    assert len(key) == KEY_SIZE
    assert 0 < len(key_id) <= KEY_ID_SIZE_MAX
    payload = _string(cbor2.dumps(dict(claims), canonical=True))
    token = _BEGIN + _string(key_id.encode()) + payload + _TAG_HEAD + _tag_of(payload, key)
    return base64.urlsafe_b64encode(token).rstrip(b"=").decode()


def decode_token(text: str, keys: Mapping[KeyId, bytes]) -> tuple[KeyId, Claims]:
    """Return whose key made a token, and its claims; what they mean is the caller's to check.

    Raises:
        InvalidToken: It is no token of ours, by an unknown key, or not what that key signed.
    """
    token = _raw(text)
    try:
        key_id, at = _string_at(token, len(_BEGIN))
        payload_begin = at
        payload, at = _string_at(token, at)
    except IndexError as error:
        raise InvalidToken("the token ends too early") from error
    is_framed = token.startswith(_BEGIN) and token[at : at + 2] == _TAG_HEAD
    if not is_framed or len(token) != at + 2 + _TAG_SIZE:
        raise InvalidToken("the token is not of the shape that is issued here")
    name = KeyId(key_id.decode("ascii", "replace"))
    key = keys.get(name)
    if key is None:
        raise InvalidToken(f"the token is by key {name!r}, which is not valid here (any more)")
    if not hmac.compare_digest(_tag_of(token[payload_begin:at], key), token[at + 2 :]):
        raise InvalidToken(f"the token was not made by key {name!r}, or was changed since")
    claims = cbor2.loads(payload)
    if not isinstance(claims, dict):
        raise InvalidToken("the token holds no claims")
    return name, claims


def _raw(text: str) -> bytes:
    if len(text) > TOKEN_SIZE_MAX:
        raise InvalidToken(f"a token of {len(text)} characters; at most {TOKEN_SIZE_MAX}")
    try:
        token = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidToken("the token is not base64url") from error
    # Spare bits at the end would make another spelling of the same token.
    if base64.urlsafe_b64encode(token).rstrip(b"=").decode() != text:
        raise InvalidToken("the token is not in its one spelling of base64url")
    return token


def _tag_of(payload: bytes, key: bytes) -> bytes:
    """Return the MAC over a payload that is encoded as a CBOR string."""
    return hmac.digest(key, _MAC_STRUCTURE + payload, hashlib.sha256)


def _string(content: bytes) -> bytes:
    if len(content) < 24:
        return bytes([_SHORT_STRING + len(content)]) + content
    if len(content) < 256:
        return bytes([_ONE_BYTE_LENGTH, len(content)]) + content
    return bytes([_TWO_BYTE_LENGTH]) + len(content).to_bytes(2, "big") + content


def _string_at(token: bytes, at: int) -> tuple[bytes, int]:
    """Return the CBOR byte string at ``at``, and where it ends; IndexError if it is cut short."""
    head = token[at]
    if head == _ONE_BYTE_LENGTH:
        begin, size = at + 2, token[at + 1]
    elif head == _TWO_BYTE_LENGTH:
        begin, size = at + 3, token[at + 1] << 8 | token[at + 2]
    elif _SHORT_STRING <= head < _SHORT_STRING + 24:
        begin, size = at + 1, head - _SHORT_STRING
    else:
        raise InvalidToken("the token is not of the shape that is issued here")
    if begin + size > len(token):
        raise IndexError
    return token[begin : begin + size], begin + size
