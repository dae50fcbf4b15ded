"""Finding deflate streams, and not paying for what only looks like one."""

from __future__ import annotations

import random
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chunks.archives import UNFOLDED_SIZE_MAX
from chunks.deflate_streams import FOLDED_SIZE_MIN, DeflateStream, find_streams
from tests.deflated import (
    Wrapped,
    bomb,
    gzip_wrapped,
    raw_deflate,
    text,
    zip_of,
    zlib_wrapped,
)

PLAIN = text(5000)
NOISE = random.Random(3).randbytes(3000)


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Count the streams that zlib is asked to inflate."""
    counted: list[int] = []
    inflater: Callable[..., Any] = zlib.decompressobj

    def count(window_bits: int) -> Any:
        counted.append(window_bits)
        return inflater(window_bits)

    monkeypatch.setattr(zlib, "decompressobj", count)
    yield counted


@pytest.mark.parametrize(
    "wrapped",
    [
        *(zlib_wrapped(PLAIN, level) for level in (1, 2, 6, 9)),
        gzip_wrapped(PLAIN),
        gzip_wrapped(PLAIN, 9, "levels.dat"),
    ],
)
def test_a_wrapped_stream_is_found_between_other_bytes(wrapped: Wrapped) -> None:
    data = NOISE + wrapped.data + NOISE
    start, end = len(NOISE) + wrapped.start, len(NOISE) + wrapped.end
    assert find_streams(data) == [DeflateStream(len(NOISE), start, end, len(PLAIN), 15)]


@pytest.mark.parametrize("window_bits", [13, 14])
def test_a_smaller_window_is_told(window_bits: int) -> None:
    (stream,) = find_streams(zlib_wrapped(PLAIN, window_bits=window_bits).data)
    assert stream.window_bits == window_bits


@pytest.mark.parametrize(
    "header",
    [
        b"\x1f\x8b\x08\x04" + bytes(6) + b"\x05\x00extra",
        b"\x1f\x8b\x08\x08" + bytes(6) + b"name\0",
        b"\x1f\x8b\x08\x1e" + bytes(6) + b"\x02\x00exname\0comment\0\x12\x34",
    ],
)
def test_every_field_of_a_gzip_header_is_passed(header: bytes) -> None:
    stream = raw_deflate(PLAIN)
    (found,) = find_streams(header + stream)
    assert (found.start, found.unfolded_size) == (len(header), len(PLAIN))


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("is_zip64", [False, True])
def test_every_member_of_a_zip_is_found(is_streamed: bool, is_zip64: bool) -> None:
    members = {f"folder/{seed}": text(2000 + 100 * seed, seed) for seed in range(20)}
    data = zip_of(members, is_streamed=is_streamed, is_zip64=is_zip64)
    found = [zlib.decompress(data[s.start : s.end], -15) for s in find_streams(data)]
    assert found == list(members.values())


def test_stored_and_encrypted_members_are_left_alone() -> None:
    assert find_streams(zip_of({"a": PLAIN}, method=zipfile.ZIP_STORED)) == []
    encrypted = bytearray(zip_of({"a": PLAIN}))
    encrypted[6] |= 1
    assert find_streams(encrypted) == []


def test_a_zip_stored_in_a_zip_is_seen_through() -> None:
    inner = zip_of({"a": PLAIN})
    (found,) = find_streams(zip_of({"inner.zip": inner}, method=zipfile.ZIP_STORED))
    assert found.unfolded_size == len(PLAIN)


def test_what_is_inside_a_stream_is_not_looked_for() -> None:
    inner = zip_of({str(seed): text(3000, seed) for seed in range(3)}, level=1)
    wrapped = zlib_wrapped(inner + PLAIN)
    assert [(s.start, s.end) for s in find_streams(wrapped.data)] == [(wrapped.start, wrapped.end)]


def test_streams_that_gain_nothing_are_left_alone() -> None:
    assert find_streams(zlib_wrapped(NOISE).data) == []  # stored blocks
    small = zlib_wrapped(text(100))
    assert small.end - small.start < FOLDED_SIZE_MIN
    assert find_streams(small.data) == []


@pytest.mark.parametrize("cut_size", [1, 100, 1000])
def test_a_stream_cut_off_at_either_end_is_not_found(cut_size: int) -> None:
    wrapped = zlib_wrapped(PLAIN)
    assert find_streams(wrapped.data[: wrapped.end - cut_size]) == []
    assert find_streams(wrapped.data[cut_size:]) == []


def test_a_stream_may_end_where_the_bytes_end() -> None:
    wrapped = zlib_wrapped(PLAIN)
    assert len(find_streams(wrapped.data[: wrapped.end])) == 1


def test_only_streams_with_a_byte_in_the_span_are_told() -> None:
    wrapped = [zlib_wrapped(text(4000, seed)).data for seed in range(4)]
    data = b"".join(wrapped)
    all_streams = find_streams(data)
    second, third = all_streams[1:3]
    assert len(all_streams) == 4
    assert find_streams(data, second.start + 50, third.start + 1) == [second, third]
    assert find_streams(data, second.end - 1, second.end) == [second]
    assert find_streams(data, second.end, third.start) == []


def test_any_buffer_is_searched() -> None:
    data = zlib_wrapped(PLAIN).data
    assert find_streams(bytearray(data)) == find_streams(memoryview(data)) == find_streams(data)


@pytest.mark.parametrize("header", [b"\x78\x9c", b"\x78\x01\x01", b"PK\x03\x04", b"\x1f\x8b\x08"])
def test_bytes_full_of_headers_cost_attempts_in_proportion(
    header: bytes, attempts: list[int]
) -> None:
    data = header * ((1 << 20) // len(header))
    assert find_streams(data) == []
    assert len(attempts) <= len(data) // 64


def test_false_headers_that_inflate_on_and_on_cost_in_proportion(attempts: list[int]) -> None:
    """Each header is inside the stored block of the one before, and none ever ends."""
    size = 65_000
    header = b"\x78\x9c\x00" + size.to_bytes(2, "little") + (size ^ 0xFFFF).to_bytes(2, "little")
    data = header * ((2 << 20) // len(header))
    assert find_streams(data) == []
    assert len(attempts) <= 9 * len(data) // size + 100


def test_a_stream_behind_a_field_of_headers_is_found() -> None:
    field = b"\x78\x9c" * (1 << 19)
    data = field + NOISE * 100 + zlib_wrapped(PLAIN).data
    assert [stream.unfolded_size for stream in find_streams(data)] == [len(PLAIN)]


def test_noise_has_few_headers(attempts: list[int]) -> None:
    assert find_streams(random.Random(9).randbytes(1 << 20)) == []
    assert len(attempts) < 200


def test_a_bomb_is_dropped_soon_and_what_follows_it_is_found() -> None:
    data = b"\x78\x9c" + bomb(1 << 30) + zlib_wrapped(PLAIN).data
    assert len(data) < 1 << 21
    tracemalloc.start()
    try:
        found = find_streams(data)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert [stream.unfolded_size for stream in found] == [len(PLAIN)]


def test_a_bomb_in_a_stream_is_just_bytes() -> None:
    wrapped = zlib_wrapped(text(1 << 18) + b"\x78\x9c" + bomb(1 << 24))
    assert len(find_streams(wrapped.data)) == 1


def test_a_stream_that_no_recipe_can_hold_is_not_found() -> None:
    for zeros_size, is_found in ((1 << 20, True), (UNFOLDED_SIZE_MAX, False)):
        data = zlib_wrapped(text(3_000_000) + bytes(zeros_size), 1).data
        assert bool(find_streams(data)) is is_found
