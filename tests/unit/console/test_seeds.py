"""Which chunks of one build another one has."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from chunks.chunk_id import CHUNK_ID_SIZE
from console.seeds import same_rows

ids = st.lists(st.integers(0, 40), unique=True, max_size=20)


def table(numbers: list[int]) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    raw = b"".join(bytes([n]) * 8 + bytes([n // 2]) * 8 for n in numbers)
    return np.frombuffer(raw, dtype=f"V{CHUNK_ID_SIZE}")


@given(ids, ids)
def test_every_common_id_is_found(wanted: list[int], present: list[int]) -> None:
    expected = [present.index(n) if n in present else -1 for n in wanted]
    assert same_rows(table(wanted), table(present)).tolist() == expected
