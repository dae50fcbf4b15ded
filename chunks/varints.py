"""Numbers in as few bytes as they need, each in one spelling only (``docs/format/archives.md``)."""

from __future__ import annotations

from collections.abc import Iterable

from kit.buffers import Buffer
from kit.errors import FormatError

NUMBER_MAX = (1 << 28) - 1
"""Four bytes of seven bits each: no size in a recipe is larger."""

_BYTES_MAX = 4


def encode_varints(numbers: Iterable[int]) -> bytes:
    """Write each number in groups of seven bits, lowest first; all but its last byte have bit 7."""
    out = bytearray()
    for number in numbers:
        assert 0 <= number <= NUMBER_MAX
        rest = number
        while rest > 0x7F:
            out.append(rest & 0x7F | 0x80)
            rest >>= 7
        out.append(rest)
    return bytes(out)


class VarintReader:
    """Takes numbers off the front of some bytes; ``name`` is for messages."""

    def __init__(self, name: str, encoded: Buffer) -> None:
        self._name = name
        self._rest = bytes(encoded)
        self._at = 0

    @property
    def left_size(self) -> int:
        """Bytes not taken yet."""
        return len(self._rest) - self._at

    def take(self) -> int:
        """Return the next number.

        Raises:
            FormatError: There is none, it is above ``NUMBER_MAX``, or a shorter spelling exists.
        """
        number = 0
        for index, byte in enumerate(self._rest[self._at : self._at + _BYTES_MAX]):
            number |= (byte & 0x7F) << 7 * index
            if byte <= 0x7F:
                if byte == 0 and index > 0:
                    raise FormatError(f"{self._name}: a number is written longer than it needs")
                self._at += index + 1
                return number
        raise FormatError(f"{self._name}: a number is cut off or above {NUMBER_MAX}")

    def take_column(self, count: int) -> list[int]:
        """Return the next ``count`` numbers.

        Raises:
            FormatError: There are fewer, told before anything is allocated, or one is wrong.
        """
        if count > self.left_size:
            raise FormatError(f"{self._name}: {self.left_size} bytes cannot hold {count} numbers")
        return [self.take() for _ in range(count)]

    def close(self) -> None:
        """Do nothing if everything was taken.

        Raises:
            FormatError: Bytes are left over.
        """
        if self.left_size:
            raise FormatError(f"{self._name}: {self.left_size} bytes are left over")
