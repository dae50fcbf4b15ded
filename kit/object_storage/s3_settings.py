"""Where a bucket is and how hard it may be asked. Apart from the adapter, which needs boto3."""

from __future__ import annotations

from typing import Literal

from kit.settings import Group
from kit.units import MIB, ByteSize, Seconds


class S3Settings(Group, frozen=True):
    """Where the bucket is and how hard it may be asked."""

    bucket: str
    """The bucket's name; it must exist."""
    prefix: str = ""
    """Put before every key, with a slash between; empty for none."""
    endpoint_url: str | None = None
    """None for AWS."""
    region: str = "us-east-1"
    """What requests are signed for."""
    access_key_id: str | None = None
    """With the next, None leaves credentials to boto3: its files, the instance's role."""
    secret_access_key: str | None = None
    """Better given by the environment than in a file."""
    addressing: Literal["auto", "path", "virtual"] = "auto"
    """Where the bucket's name stands: most servers but AWS want it in the ``path``."""
    connections_max: int = 16
    """Calls at the same time."""
    parts_connections_max: int = 4
    """Beside those, for the parts of large objects; each holds a copy of its part."""
    connect_timeout: Seconds = Seconds(3)
    """A server that takes longer to accept a connection counts as down."""
    read_timeout: Seconds = Seconds(20)
    """No byte for so long means the server is gone."""
    multipart_above: ByteSize = ByteSize(16 * MIB)
    """Larger objects are sent in parts, several at a time."""
    part_size: ByteSize = ByteSize(16 * MIB)
    """AWS takes 5 MiB to 5 GiB, and 10,000 parts: 16 MiB reaches 156 GiB."""
    list_page: int = 1000
    """Keys per page of a listing; S3 gives at most 1000."""

    def __repr__(self) -> str:
        """Name the place, never the secret: this is what ends up in logs."""
        return f"S3Settings(s3://{self.bucket}/{self.prefix} at {self.endpoint_url or 'AWS'})"
