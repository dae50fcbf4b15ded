"""Read the small text files a publisher writes by hand."""

from __future__ import annotations

from pathlib import Path

from kit.errors import InvalidInput

SIZE_MAX = 1 << 20


def read_text(path: Path) -> str | None:
    """Return what is in ``path``, or None if there is no such file.

    Raises:
        InvalidInput: It cannot be read, is not UTF-8, or is larger than ``SIZE_MAX`` bytes.
    """
    try:
        with path.open("rb") as opened:
            text = opened.read(SIZE_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}") from error
    if len(text) > SIZE_MAX:
        raise InvalidInput(f"{path} has more than {SIZE_MAX} bytes")
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8: {error}") from error
