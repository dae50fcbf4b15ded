"""What nodes are told of revoked leases: first all that still matter, then each as it happens.

::

    event: revoked        up to 256 revocations, as many times as are needed
    event: current        that was all there is; what follows is news
    event: revoked        ...

Source: ``docs/format/leases.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated

import msgspec
from msgspec import Meta

from kit.errors import FormatError
from kit.server_sent_events import ServerEvent
from manifests.lease import Subject
from manifests.lease_gate import Revocation
from manifests.names import TITLE_PATTERN, TitleId

PATH = "/api/v1/leases/epochs"

REVOKED, CURRENT = "revoked", "current"

BATCH_MAX = 256
"""Revocations in one event: at most 64 KiB, which no node minds holding."""

SUBJECT_PATTERN = r"^[0-9A-Za-z][0-9A-Za-z._:@-]{0,127}\Z"


class Revoked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One revocation on the wire."""

    subject: Annotated[str, Meta(pattern=SUBJECT_PATTERN)]
    title: Annotated[str, Meta(pattern=TITLE_PATTERN)]
    epoch: Annotated[int, Meta(ge=0, lt=1 << 53)]
    """Milliseconds since the Unix epoch."""

    @property
    def revocation(self) -> Revocation:
        """The same as the gate takes it."""
        return Revocation(Subject(self.subject), TitleId(self.title), self.epoch)


def revoked_events(revocations: Iterable[Revoked]) -> Iterator[ServerEvent]:
    """Yield events that hold all of ``revocations``."""
    left = iter(revocations)
    while batch := list(islice(left, BATCH_MAX)):
        yield ServerEvent(REVOKED, msgspec.json.encode(batch))


def revocations_in(event: ServerEvent) -> list[Revocation]:
    """Return what an event revokes; nothing if it says something else.

    Raises:
        FormatError: It is no list of revocations.
    """
    if event.name != REVOKED:
        return []
    try:
        found = msgspec.json.decode(event.data, type=list[Revoked])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"feed of revocations: {error}") from error
    if len(found) > BATCH_MAX:
        raise FormatError(f"feed of revocations: {len(found)} in one event, at most {BATCH_MAX}")
    return [each.revocation for each in found]
