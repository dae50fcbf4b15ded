"""Certificates for tests, as ``playhead tls dev`` makes them."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from kit.http_settings import TlsSettings
from playhead.dev_certificates import DevCertificate, make_dev_certificate


async def some_certificate(folder: Path, *hosts: str) -> tuple[DevCertificate, TlsSettings]:
    """Make one for this machine and ``hosts``; the authority of ``folder`` stays the same."""
    hosts = ("localhost", "127.0.0.1", *hosts)
    made = await asyncio.to_thread(make_dev_certificate, folder, hosts)
    return made, TlsSettings(certificate=made.certificate, key=made.key)


def believing(made: DevCertificate) -> ssl.SSLContext:
    """Return a client's context of the standard library's defaults, but for its authorities."""
    return ssl.create_default_context(cafile=made.authority)
