"""What an operator can tell the part of the origin that takes in publications."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from kit.settings import Group
from kit.units import MIB, ByteSize, Seconds


class PublishingSettings(Group, frozen=True):
    """How much publishers may hand in at once, and how long what is refused is kept."""

    memory_max_bytes: ByteSize = ByteSize(256 * MIB)
    """Memory for uploads that are being taken in and verified; others wait."""
    publisher_memory_max_bytes: ByteSize = ByteSize(64 * MIB)
    """Of that, for one publisher: none can keep the others out."""
    requests_max: Annotated[int, Meta(ge=1)] = 128
    """Requests of publishers at the same time: half of what the origin serves by default."""
    publisher_requests_max: Annotated[int, Meta(ge=1)] = 64
    """Of those, of one publisher."""
    direct: bool = True
    """Let publishers put bundles straight into a bucket, at an address that is good once."""
    direct_expires_after: Seconds = Seconds(900)
    """How long such an address is good."""
    uploads_expire_after: Seconds = Seconds(86400)
    """What was put into a bucket and never handed in is deleted after this."""
    quarantine_expires_after: Seconds = Seconds(7 * 86400)
    """What was refused is kept so long, for people to look at."""
    quarantine_count_max: Annotated[int, Meta(ge=1)] = 16
    """Of one title; the oldest go."""
    audit_file_max_bytes: ByteSize = ByteSize(64 * MIB)
    """A file of the audit log that has grown so large is set aside."""
    audit_files_max: Annotated[int, Meta(ge=1)] = 16
    """Files of it that are kept."""
