"""What counts as bytes here: anything contiguous that a C library reads without a copy."""

from __future__ import annotations

from typing import TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview

BYTES = (bytes, bytearray, memoryview)
"""The same, for ``isinstance``."""
