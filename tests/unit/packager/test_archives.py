"""Look through compression, and stay calm when there is nothing to see."""

from __future__ import annotations

import gzip
import io
import random
import zipfile

import pytest
import zstandard

from packager.archives import PLAIN_SIZE_MAX, ReadFile, opened, zip_members
from packager.formats import GZIP, ZIP, ZLIB, ZSTD, FileKind, format_of
from tests.patches import noise


def reader(data: bytes) -> ReadFile:
    return lambda _path, start, size: data[start : start + size]


def zipped(count: int) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.mkdir("levels")
        for number in range(count):
            archive.writestr(f"levels/{number}.map", noise(100, number))
    return made.getvalue()


def test_members_of_a_zip_are_its_files() -> None:
    data = zipped(300)
    found = zip_members(reader(data), "a.zip", len(data))
    assert [member.filename for member in found] == [f"levels/{n}.map" for n in range(300)]


@pytest.mark.parametrize("data", [b"", b"PK\3\4", noise(5000, 1), zipped(20)[:-10]])
def test_what_is_no_zip_has_no_members(data: bytes) -> None:
    assert zip_members(reader(data), "a.zip", len(data)) == []


def test_damaged_zips_have_no_members_or_some_and_never_fail() -> None:
    rng, data = random.Random(1), zipped(20)
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 30)):
            damaged[rng.randrange(len(data))] = rng.randrange(256)
        zip_members(reader(bytes(damaged)), "a.zip", len(damaged))


def test_zip_that_claims_to_be_larger_than_it_is_has_no_members() -> None:
    data = zipped(20)
    assert zip_members(reader(data), "a.zip", len(data) + (40 << 30)) == []


def test_streams_that_grow_without_end_are_opened_a_little() -> None:
    zeros = bytes(64 << 20)
    for data, form in (
        (gzip.compress(zeros, 1), GZIP),
        (zstandard.ZstdCompressor(level=1).compress(zeros), ZSTD),
    ):
        plain = opened(data, form)
        assert 0 < len(plain) <= PLAIN_SIZE_MAX
        assert not any(plain)


@pytest.mark.parametrize("form", [GZIP, ZLIB, ZSTD, ZIP])
def test_damaged_streams_are_opened_to_nothing(form: object) -> None:
    assert opened(b"\x1f\x8b" + noise(1000, 1), form) == b""  # type: ignore[arg-type]


def test_a_stream_cut_short_is_opened_as_far_as_it_goes() -> None:
    data = gzip.compress(noise(100_000, 1))
    assert noise(100_000, 1).startswith(opened(data[:50_000], GZIP))
    assert len(opened(data[:50_000], GZIP)) > 40_000


def test_formats_are_told_by_their_first_bytes() -> None:
    assert format_of(zipped(1)) == ZIP
    assert format_of(b"just words") is format_of(b"") is None
    mp4 = format_of(b"\0\0\0\x20ftypisom")
    assert mp4 is not None
    assert mp4.kind is FileKind.MEDIA
