"""A second reader of relinked differences, written by nothing but docs/format/deltas.md."""

import struct
from collections.abc import Iterator
from itertools import accumulate, pairwise

from tests.conformance.reader import check

OPCODES = {
    *bytes.fromhex("01 03 09 0b 10 11 12 13 14 16 21 23 28 29 2b 2e 2f 33 38 39 3a 3b 51 54 57"),
    *bytes.fromhex("58 59 5a 5c 5e 62 63 6c 6e 6f 7e 7f 80 81 83 84 85 88 89 8a 8b 8d af b6 b7"),
    *bytes.fromhex("be bf c6 c7 d4 d6 db eb ef f6 f7 fa fe ff"),
}


def numbers_of(raw: bytes) -> Iterator[int]:
    value = bits = 0
    for byte in raw:
        value |= (byte & 127) << bits
        bits = bits + 7 if byte & 128 else 0
        check(bits < 42, "a number of more than six bytes")
        if not bits:
            yield value
            value = 0
    check(bits == 0, "a number is cut off")


def unfold(number: int) -> int:
    return -(number + 1) // 2 if number % 2 else number // 2


def spans(columns: list[list[int]], size: int) -> list[tuple[int, int]]:
    gaps, sizes = columns
    ends = list(accumulate(g + s for g, s in zip(gaps, sizes, strict=True)))
    check(all(sizes) and (not ends or ends[-1] <= size), "a span is empty or ends behind")
    return [(end - s, end) for end, s in zip(ends, sizes, strict=True)]


def fields(made: bytes, start: int, end: int, kind: int) -> Iterator[int]:
    """Where fields begin."""
    if kind:
        width = 8 if kind == 1 else 4
        yield from range(start, end - width + 1, width)
        return
    before = -4
    for at in range(start + 1, end - 3):
        byte, first = made[at - 1], made[at - 2] if at - 2 >= start else None
        is_field = byte in (0xE8, 0xE9) or (first == 0x0F and 0x80 <= byte <= 0x8F)
        is_field |= first in OPCODES and byte & 0xC7 == 5
        if is_field and (made[at + 3] + 8) % 256 < 16:
            if at - before >= 4:
                yield at
            before = at


def from_relinked(plain: bytes, base: bytes, size: int) -> bytes:
    c, s, g, k, r, n, d = struct.unpack("<7I", plain[:28])
    check(c <= 131072 and g <= s <= 4096 and k <= 131072 and r <= 524288, "too many")
    check(28 + n + d <= len(plain), "parts do not add up")
    every = list(numbers_of(plain[28 : 28 + n]))
    columns = list[list[int]]()
    for count in (c, c, c, s, s, s, s, g, g + k, k, r, r):
        columns.append(every[:count])
        every = every[count:]
        check(len(columns[-1]) == count, "numbers are missing")
    check(not every, "numbers are left over")
    differences, literals = plain[28 + n : 28 + n + d], plain[28 + n + d :]
    lags = list(accumulate(map(unfold, columns[2])))
    covers = list(zip(spans(columns[:2], size), lags, strict=True))
    made, at = bytearray(), 0
    for (start, end), lag in covers:
        check(start + lag >= 0 and end + lag <= len(base), "out of the base")
        fresh = start - len(made)
        made += literals[at : at + fresh] + base[start + lag : end + lag]
        at += fresh
    made += literals[at:]
    check(len(made) == size, "another size")
    keys, shifts = (list(accumulate(map(unfold, column))) for column in columns[8:10])
    tables = list[list[tuple[int, int, int]]]()
    for count in columns[7]:
        mine, keys = keys[: count + 1], keys[count + 1 :]
        check(count > 0 and len(mine) == count + 1, "a table is empty or cut off")
        check(all(low < high for low, high in pairwise(mine)), "no order")
        tables.append(list(zip(mine, mine[1:], shifts, strict=False)))
        shifts = shifts[count:]
    check(not keys and not shifts, "tables do not add up")
    for (start, end), kind, of in zip(spans(columns[3:5], size), *columns[5:7], strict=True):
        check(end - start <= 262144 and kind < 4 and of < g, "a section's size, kind or table")
        width = 8 if kind == 1 else 4
        for p in list(fields(bytes(made), start, end, kind)):
            lag_of = [lag for (a, z), lag in covers if a <= p and p + width <= z]
            v = int.from_bytes(made[p : p + width], "little", signed=True)
            if not lag_of or (kind == 3 and not -(2**28) <= v < 0):
                continue
            address = v + (p + lag_of[0] if kind in (0, 3) else 0) + (4 if kind == 0 else 0)
            moved = [shift for low, high, shift in tables[of] if low <= address < high]
            if moved:
                v += moved[0] + (lag_of[0] if kind in (0, 3) else 0)
                made[p : p + width] = (v % 256**width).to_bytes(width, "little")
    used = 0
    for start, end in spans(columns[10:], size):
        for at in range(start, end):
            check(used < d, "differences are missing")
            made[at] = (made[at] + differences[used]) % 256
            used += 1
    check(used == d, "differences are left over")
    return bytes(made)
