"""The paths of ``docs/format/urls.md`` as patterns that nginx and Varnish read as well as Python.

:func:`manifests.addresses.parse_path` is who decides; a test holds the patterns against it. They
are anchored, capture nothing, and have no backslash: in neither language is one of them special.
"""

from __future__ import annotations

from chunks.slices import BUNDLE_SIZE_MAX, SLICE_SIZE

_NAME = "[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?"
_DIGEST = "[0-9a-f]{64}"
_SLICES = "|".join(map(str, range(BUNDLE_SIZE_MAX // SLICE_SIZE)))
_ROLES = (
    "root|targets|snapshot|release|release-bin-[0-9a-f]{1,8}|shard-[0-9a-f]{2}"
    f"|publisher-{_NAME}"
)

TITLE = f"^/t/({_NAME})/.*$"
"""Captures the title of whatever has one."""
OBJECTS = f"^/t/{_NAME}/(?:m/{_DIGEST}|b/{_DIGEST}/(?:slices|{_SLICES}))$"
"""Content of at most some MiB, asked for as a whole."""
BUNDLES = f"^/t/{_NAME}/b/{_DIGEST}$"
"""Content of up to 32 MiB, asked for in spans."""
HEADS = f"^(?:/t/{_NAME}/h/{_NAME}(?:/trust)?|/trust/timestamp[.]json)$"
"""What changes. Anyone may read it."""
RECORDS = f"^(?:/t/{_NAME}/r/[0-9]{{10}}|/trust/[1-9][0-9]{{0,8}}[.](?:{_ROLES})[.]json)$"
"""What is written once and named by a number. Anyone may read it."""
STARTS = f"^/t/{_NAME}/h/{_NAME}/start$"
"""Start calls, the one thing that is asked for by POST: an engine passes them on to an edge."""
START_BODY = "[0-9]{1,3}"
"""The length of what they ask with, as a header says it."""
ODD = "[^A-Za-z0-9/._~-]|//|/[.]"
"""In what no path of ours has: queries, escapes, empty and dot segments."""
