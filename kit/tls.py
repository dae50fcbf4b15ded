"""TLS 1.3 as both sides speak it, and what a client believes."""

from __future__ import annotations

import ssl
from pathlib import Path

from kit.errors import SettingsError

PROTOCOLS = ["http/1.1"]
"""What ALPN offers: the one protocol that both lanes speak."""

FIRST_WRITE_SIZE = 4096
"""Of an answer, in a record of its own. A record is of use only once all of it is here, and 16 KiB,
the largest, do not fit the ten segments a connection may send at first: without this the first byte
comes a round trip later."""


def client_context(ca_file: Path) -> ssl.SSLContext:
    """Return what believes servers that the authorities in ``ca_file`` vouch for, and no others.

    Blocks on the disk.

    Raises:
        SettingsError: The file is missing or holds no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(PROTOCOLS)
    try:
        context.load_verify_locations(ca_file)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"ca_file: {ca_file} holds no certificates of authorities in PEM: {error}"
        ) from error
    return context
