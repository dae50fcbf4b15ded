"""A second reader of the answers to start calls: ``docs/format/start.md`` and nothing else of ours.

It reads a whole answer; what is too much for one is for the page to say, and held here too.
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from typing import Any

END, CONTENT, ABSENT, LEASE, REFUSAL = range(5)
NAME = "[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?"
MOST = {"h": 16 << 10, "trust": 256 << 10, "m": 64 << 10, "b": 1 << 20}
ORDER = {"h": 1, "trust": 1, "m": 2, "b": 3}


@dataclass(frozen=True)
class Read:
    """A part; ``body`` of a lease or a refusal is what its JSON says."""

    kind: int
    path: str
    span: tuple[int, int]
    body: Any


def read_answer(data: bytes, title: str, channel: str) -> list[Read]:
    """Return the parts of the answer ``data``, without its end.

    Raises:
        ValueError: It breaks a rule of its page.
    """
    if data[:8] != b"PHSA" + struct.pack("<I", 1):
        raise ValueError("no answer of version 1")
    found: list[Read] = []
    at = 8
    while True:
        part, at = _part(data, at)
        if part.kind == END:
            break
        found.append(part)
    if at != len(data):
        raise ValueError("goes on behind its end")
    _check(found, title, channel)
    return found


def _part(data: bytes, at: int) -> tuple[Read, int]:
    if at + 16 > len(data):
        raise ValueError("ends early")
    kind, zero, path_size, start, end, size = struct.unpack_from("<BBHIII", data, at)
    path_at, body_at = at + 16, at + 16 + path_size
    if zero or kind > REFUSAL or path_size > 160 or bool(path_size) != (kind in (CONTENT, ABSENT)):
        raise ValueError("a part that none has")
    if size and kind in (END, ABSENT):
        raise ValueError("a body where none belongs")
    if path_size == 0 and (start, end) != (0, 0):
        raise ValueError("a span of nothing")
    if body_at + size > len(data):
        raise ValueError("ends early")
    path, body = data[path_at:body_at].decode("ascii"), data[body_at : body_at + size]
    if kind in (LEASE, REFUSAL):
        if size > (2048 if kind == LEASE else 4096):
            raise ValueError("says too much of who may read")
        return Read(kind, path, (0, 0), _document(kind, body)), body_at + size
    return Read(kind, path, (start, end), body), body_at + size


def _document(kind: int, body: bytes) -> dict[str, Any]:
    said = json.loads(body.decode())
    match kind, said:
        case 3, {"lease": str(lease), "expires_in_s": int() | float() as seconds}:
            is_right = 1 <= len(lease) <= 1024 and 0 < seconds <= 86_400 and len(said) == 2
        case 4, {"status": int(status), "code": str(code), "detail": str(detail)}:
            is_right = 400 <= status <= 599 and len(code) <= 64 and len(detail) <= 1024
            is_right = is_right and len(said) == 3
        case _:
            is_right = False
    if not is_right or any(isinstance(value, bool) for value in said.values()):
        raise ValueError("says of who may read what no answer says")
    return dict(said)


def _check(parts: list[Read], title: str, channel: str) -> None:
    """See to it that each part is of this title and channel, in order, and not too much."""
    steps: list[int] = []
    seen: set[tuple[str, tuple[int, int]]] = set()
    ranges: list[Read] = []
    for part in parts:
        what = _what(part, title, channel)
        steps.append(1 if what is None else ORDER[what])
        if what is None:
            continue
        start, end = part.span
        if part.kind == CONTENT and len(part.body) > MOST[what]:
            raise ValueError("too large")
        if what == "b":
            ranges.append(part)
            if start >= end or (part.kind == CONTENT and len(part.body) != end - start):
                raise ValueError("not the bytes of its span")
        elif (start, end) != (0, 0):
            raise ValueError("a part of what comes whole")
        if (part.path, part.span) in seen:
            raise ValueError("twice")
        seen.add((part.path, part.span))
    said = [part for part in parts if part.kind in (LEASE, REFUSAL)]
    if steps != sorted(steps) or steps.count(2) > 2 or len(said) > 1 or len(ranges) > 2:
        raise ValueError("out of order, or too many")
    if len(ranges) == 2:
        first, second = ranges
        if first.path != second.path or first.span[1] != second.span[0]:
            raise ValueError("ranges that do not go on")
        if second.span[1] - first.span[0] > 1 << 20:
            raise ValueError("ranges that are too large")


def _what(part: Read, title: str, channel: str) -> str | None:
    """Return what the path names: head, trust bundle, manifest or bundle; None without a path."""
    if part.kind in (LEASE, REFUSAL):
        return None
    match = re.fullmatch(rf"/t/({NAME})/(?:h/({NAME})(/trust)?|([mb])/[0-9a-f]{{64}})", part.path)
    if match is None or match[1] != title or match[2] not in (None, channel):
        raise ValueError("of something else")
    if match[2] is None:
        return match[4]
    return "trust" if match[3] else "h"
