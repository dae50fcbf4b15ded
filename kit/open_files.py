"""How many files and sockets this process may have open."""

from __future__ import annotations

import resource


def allow_many_open_files() -> int:
    """Raise our limit to what the system allows us, and return it.

    The low limit that a shell starts with is for programs that use ``select``; we do not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # macOS calls its limit infinite, and refuses it
            return soft
    return hard
