"""A second reader of trust bundles: ``docs/format/trust.md`` and nothing else of ours."""

from __future__ import annotations

import re
import struct

import zstandard


def read_bundle(data: bytes) -> dict[str, bytes]:
    """Return the documents of a bundle by name.

    Raises:
        ValueError: It breaks a rule of its page.
    """
    if len(data) > 256 << 10 or data[:4] != b"PHTB" or data[4:8] != (1).to_bytes(4, "little"):
        raise ValueError("no trust bundle of version 1")
    if zstandard.frame_content_size(data[8:]) not in range(4 << 20):
        raise ValueError("does not declare a size that a bundle may have")
    plain = zstandard.ZstdDecompressor().decompress(data[8:], allow_extra_data=False)
    documents: dict[str, bytes] = {}
    at = 0
    while at < len(plain):
        name_size, size = struct.unpack_from("<BI", plain, at)
        begin = at + 5 + name_size
        name = plain[at + 5 : begin].decode("ascii")
        at = begin + size
        if re.fullmatch("[a-z0-9][a-z0-9.-]{0,126}", name) is None or name in documents:
            raise ValueError(f"a name that may not be: {name}")
        if at > len(plain) or len(documents) == 64:
            raise ValueError("ends early, or holds too much")
        documents[name] = plain[begin:at]
    return documents
