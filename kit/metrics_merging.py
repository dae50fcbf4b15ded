"""Metrics of several processes as one page: each sample says whose it is. Pure.

Source: the Prometheus text format, version 0.0.4: all lines of a metric stand together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_SAMPLE = re.compile(rb"([A-Za-z_:][A-Za-z0-9_:]*)(\{)?(.*)", re.S)


def labelled(page: bytes, label: str, value: str) -> bytes:
    """Return ``page`` with a label more on every sample; ``value`` needs no escapes."""
    told = f'{label}="{value}"'.encode()
    return b"".join(_with(line, told) for line in page.splitlines(keepends=True))


def merged(pages: Iterable[bytes]) -> bytes:
    """Return one page of all samples; ``HELP`` and ``TYPE`` are of the first that has them."""
    heads: dict[bytes, list[bytes]] = {}
    samples: dict[bytes, list[bytes]] = {}
    for page in pages:
        name = b""
        for line in page.splitlines(keepends=True):
            if not line.startswith(b"#"):
                samples.setdefault(name, []).append(line)
                continue
            _, kind, name, *_ = line.split(maxsplit=3)
            head = heads.setdefault(name, [])
            if not any(known.split(maxsplit=2)[1] == kind for known in head):
                head.append(line)
    return b"".join(_families(heads, samples))


def _families(
    heads: Mapping[bytes, list[bytes]], samples: Mapping[bytes, list[bytes]]
) -> Iterable[bytes]:
    for name in {**heads, **samples}:
        yield from heads.get(name, ())
        yield from samples.get(name, ())


def _with(line: bytes, told: bytes) -> bytes:
    match = None if line.startswith(b"#") else _SAMPLE.fullmatch(line)
    if match is None:
        return line
    name, brace, rest = match.groups()
    return name + b"{" + told + (b"," + rest if brace else b"}" + rest)
