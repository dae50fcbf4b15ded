"""Pairs of builds on disk that truly have what an explanation looks for, and the explanation."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from kit.clock import ManualClock
from packager.causes import Cause, Finding
from packager.explaining import explain_folders
from packager.patch_report import PatchReport

Files = Mapping[str, bytes]


def write_files(folder: Path, files: Files) -> Path:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def explained(folder: Path, old: Files, new: Files, **more: Any) -> PatchReport:
    """Write both builds below ``folder``, explain the patch, and check that it adds up."""
    before, after = write_files(folder / "old", old), write_files(folder / "new", new)
    report = asyncio.run(explain_folders(before, after, clock=ManualClock(), **more))
    check_sums(report, sum(map(len, new.values())))
    return report


def check_sums(report: PatchReport, size: int) -> None:
    assert report.size == report.sizes.total == size
    for part in ("new", "changed", "moved", "unchanged", "download"):
        of_groups = sum(getattr(group.sizes, part) for group in report.groups)
        assert of_groups == getattr(report.sizes, part)
    assert sum(file.sizes.download for file in report.files) == report.sizes.download
    assert sum(found.download_size for found in report.findings) == report.sizes.download
    for file in report.files:
        assert file.sizes.total == file.size


def causes(report: PatchReport) -> set[Cause]:
    return {finding.cause for finding in report.findings}


def finding(report: PatchReport, cause: Cause) -> Finding:
    [found] = [finding for finding in report.findings if finding.cause is cause]
    return found


def noise(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


def prose(size: int, seed: int) -> bytes:
    """Words that compress well and seldom repeat in whole."""
    rng = random.Random(seed)
    words = [bytes(rng.choices(b"abcdefghilmnoprstu", k=rng.randint(4, 9))) for _ in range(3000)]
    order = np.random.default_rng(seed).integers(0, len(words), size // 5 + 30)
    text = b" ".join([words[number] for number in order.tolist()])
    assert len(text) >= size
    return text[:size]


def members(count: int, size: int, seed: int) -> list[bytes]:
    """Pieces of structured content of about ``size`` bytes."""
    rng = random.Random(seed)
    ends = accumulate(rng.randint(size // 2, size * 3 // 2) for _ in range(count))
    cuts = [0, *ends]
    text = prose(cuts[-1], seed)
    return [text[start:end] for start, end in pairwise(cuts)]


def table_of(parts: Sequence[bytes]) -> bytes:
    at, rows = 0, []
    for number, part in enumerate(parts):
        rows.append([f"textures/rock_{number:05}.dds", at, len(part)])
        at += len(part)
    return json.dumps(rows).encode()


def machine_code(size: int, seed: int, base: int) -> bytes:
    """Instructions that name addresses: all of them differ when ``base`` does."""
    rng = random.Random(seed)
    parts = (
        rng.randbytes(12) + (base + 16 * rng.randrange(2**20)).to_bytes(4, "little")
        for _ in range(-(-size // 16))
    )
    return b"".join(parts)[:size]
