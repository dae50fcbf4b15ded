"""Compressing chunks; and opening frames that lie about themselves, without paying for the lie."""

from __future__ import annotations

import random
import tracemalloc

import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chunks import codec
from chunks.chunker import CHUNK_SIZE_MAX
from kit.buffers import Buffer
from kit.errors import FormatError

TEXT = b"a line that comes again and again\n" * 1000
NOISE = random.Random(5).randbytes(10_000)
FRAME = codec.compress(TEXT)


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=1, max_size=5000), st.integers(1, 30))
def test_what_was_packed_unpacks(piece: bytes, repeats: int) -> None:
    plain = piece * repeats
    stored = codec.pack(plain)
    assert codec.unpack(stored, len(plain)) == plain
    assert len(stored) <= len(plain)


def test_what_gains_little_is_stored_as_it_is() -> None:
    assert codec.pack(NOISE) is NOISE
    assert codec.unpack(NOISE, len(NOISE)) is NOISE


def test_gain_decides_at_three_percent() -> None:
    """Noise with a run of zeros, which zstd packs into a few bytes: nearly the run is the gain."""
    for run, is_packed in ((200, False), (500, True)):
        plain = NOISE[: 10_000 - run] + bytes(run)
        assert (len(codec.pack(plain)) < len(plain)) is is_packed


def test_a_frame_declares_its_size_and_no_checksum() -> None:
    declared = zstandard.get_frame_parameters(FRAME)
    assert (declared.content_size, declared.has_checksum, declared.dict_id) == (len(TEXT), False, 0)


def test_a_bomb_is_refused_before_a_byte_is_allocated() -> None:
    compressor = zstandard.ZstdCompressor(write_content_size=True).compressobj(size=1 << 30)
    zeros = bytes(1 << 20)
    bomb = b"".join(compressor.compress(zeros) for _ in range(1 << 10)) + compressor.flush()
    assert len(bomb) < 100_000
    assert zstandard.frame_content_size(bomb) == 1 << 30
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="promised"):
            codec.decompress(bomb, CHUNK_SIZE_MAX)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def spoken_of_as(declared_size: int, frame: bytes) -> bytes:
    """Return ``frame`` with another declared content size: a bare lie in its header."""
    assert zstandard.get_frame_parameters(frame).content_size == len(TEXT)
    honest = (len(TEXT) - 256).to_bytes(2, "little")  # how zstd writes 256 to 65,791
    assert frame[5:7] == honest
    return frame[:5] + (declared_size - 256).to_bytes(2, "little") + frame[7:]


@pytest.mark.parametrize("by", [-1, 1])
def test_a_frame_that_lies_about_its_size_is_refused(by: int) -> None:
    lie = spoken_of_as(len(TEXT) + by, FRAME)
    with pytest.raises(FormatError, match="damaged"):
        codec.decompress(lie, len(TEXT) + by)


def test_another_size_than_promised_is_refused() -> None:
    with pytest.raises(FormatError, match="promised"):
        codec.decompress(FRAME, len(TEXT) - 1)


def test_a_frame_without_a_size_is_refused() -> None:
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(TEXT)
    with pytest.raises(FormatError, match="declares"):
        codec.decompress(frame, len(TEXT))


@pytest.mark.parametrize("behind", [b"\0", FRAME, b"\x50\x2a\x4d\x18\x01\0\0\0x"])
def test_trailing_bytes_are_refused(behind: bytes) -> None:
    with pytest.raises(FormatError, match="damaged"):
        codec.decompress(FRAME + behind, len(TEXT))


@pytest.mark.parametrize("behind", [b"", b"hidden"])
def test_an_empty_frame_hides_nothing(behind: bytes) -> None:
    with pytest.raises(FormatError):
        codec.decompress(codec.compress(b"") + behind, 0)


def test_a_skippable_frame_is_refused() -> None:
    with pytest.raises(FormatError):
        codec.decompress(b"\x50\x2a\x4d\x18\x04\0\0\0abcd", 4)


@pytest.mark.parametrize("length", range(len(FRAME)))
def test_a_truncated_frame_is_refused(length: int) -> None:
    with pytest.raises(FormatError):
        codec.decompress(FRAME[:length], len(TEXT))


def test_a_window_too_large_is_refused() -> None:
    plain = bytes(9 << 20)
    parameters = zstandard.ZstdCompressionParameters(window_log=24, write_content_size=True)
    frame = zstandard.ZstdCompressor(compression_params=parameters).compress(plain)
    with pytest.raises(FormatError, match="window"):
        codec.decompress(frame, len(plain))


def test_levels_up_to_19_stay_within_the_window() -> None:
    plain = bytes(20 << 20)
    for level in (codec.LEVEL_QUICK, 9, 19):
        assert len(codec.decompress(codec.compress(plain, level), len(plain))) == len(plain)


def test_a_dictionary_is_refused() -> None:
    samples: list[Buffer] = [TEXT[at : at + 700] + NOISE[at : at + 50] for at in range(500)]
    trained = zstandard.train_dictionary(4096, samples)
    frame = zstandard.ZstdCompressor(dict_data=trained).compress(TEXT)
    with pytest.raises(FormatError):
        codec.decompress(frame, len(TEXT))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(FRAME) - 1), st.integers(1, 255), st.integers(0, 2 * len(FRAME)))
@example(4, 0x20, 1000)
def test_no_damage_raises_anything_else(position: int, flip: int, length: int) -> None:
    damaged = bytearray(FRAME)
    damaged[position] ^= flip
    try:
        plain = codec.decompress(memoryview(damaged)[:length], len(TEXT))
    except FormatError:
        return
    assert len(plain) == len(TEXT)
