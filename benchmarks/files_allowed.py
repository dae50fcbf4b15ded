"""As many open files as the system permits: for thousands of connections of one process."""

from __future__ import annotations

import resource


def allow_all_files() -> int:
    """Raise this process's limit as far as it may be, and return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
