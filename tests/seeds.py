"""The one number that a run of the suite is random by. It is part of the names of tests."""

from __future__ import annotations

import os
import random
import zlib


def run_seed() -> int:
    """Return ``TEST_SEED`` if set, else a new one, the same in all processes of a run."""
    # Not with the product's prefix: what the tests start would take it for a setting, and refuse.
    given = os.environ.get("TEST_SEED")
    if given is not None:
        return int(given)
    run_id = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if run_id is not None:
        return zlib.crc32(run_id.encode()) % 10**6
    return random.SystemRandom().randrange(10**6)
