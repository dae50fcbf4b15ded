"""Numbers of few bytes, each spelled in one way only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunks.varints import NUMBER_MAX, VarintReader, encode_varints
from kit.errors import FormatError


@given(st.lists(st.integers(0, NUMBER_MAX)))
def test_what_was_written_is_read(numbers: list[int]) -> None:
    reader = VarintReader("numbers", encode_varints(numbers))
    assert reader.take_column(len(numbers)) == numbers
    reader.close()


@given(st.binary(max_size=12))
def test_what_can_be_read_has_no_other_spelling(encoded: bytes) -> None:
    reader, numbers = VarintReader("numbers", encoded), []
    try:
        while reader.left_size:
            numbers.append(reader.take())
    except FormatError:
        return
    assert encode_varints(numbers) == encoded


@pytest.mark.parametrize(
    ("number", "encoded"),
    [(0, "00"), (127, "7f"), (128, "8001"), (300, "ac02"), (NUMBER_MAX, "ffffff7f")],
)
def test_seven_bits_a_byte_lowest_first(number: int, encoded: str) -> None:
    assert encode_varints([number]).hex() == encoded


@pytest.mark.parametrize("encoded", ["", "80", "8000", "ffffff8001", "8080808000"])
def test_no_number_is_refused(encoded: str) -> None:
    with pytest.raises(FormatError, match="numbers: a number is"):
        VarintReader("numbers", bytes.fromhex(encoded)).take()


def test_a_column_longer_than_its_bytes_is_refused_before_it_is_read() -> None:
    with pytest.raises(FormatError, match="3 bytes cannot hold 268435455 numbers"):
        VarintReader("numbers", bytes(3)).take_column(NUMBER_MAX)


def test_bytes_left_over_are_refused() -> None:
    with pytest.raises(FormatError, match="1 bytes are left over"):
        VarintReader("numbers", b"\x00").close()
