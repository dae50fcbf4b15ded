"""What an operator can tell the origin."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from kit.http_settings import ListenSettings
from kit.settings import Group
from kit.units import MIB, ByteSize, Seconds


class TrustBundleSettings(Group, frozen=True):
    """How trust bundles, which storage does not have, are made and kept."""

    fresh_for: Seconds = Seconds(1)
    """How long a bundle is sent before storage is asked whether anything changed."""
    max_bytes: ByteSize = ByteSize(64 * MIB)
    """Memory for bundles and for the metadata they are made of: 64 MiB hold 4,000 bundles."""


class OriginSettings(Group, frozen=True):
    """How much of the storage's and the machine's time the origin may take."""

    listen: ListenSettings = ListenSettings(port=7401)
    reads_max: Annotated[int, Meta(ge=1)] = 32
    """Reads from storage at the same time, each of at most 1 MiB."""
    slice_lists_max_bytes: ByteSize = ByteSize(16 * MIB)
    """Memory for slice lists: 16 MiB hold the lists of about 400 GB of bundles."""
    trust: TrustBundleSettings = TrustBundleSettings()
