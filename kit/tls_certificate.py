"""A server's certificate from its files: checked whole before it is used."""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509

from kit.errors import SettingsError
from kit.http_settings import TlsSettings
from kit.secret_files import read_secret
from kit.tls import PROTOCOLS

CHAIN_SIZE_MAX = 1 << 20

Stamp = tuple[tuple[int, int, int], tuple[int, int, int]]
"""Which files were read: inode, size and time of the certificate and of the key."""


@dataclass(frozen=True, slots=True)
class ServerTls:
    """A certificate, its key and the chain, ready to be served."""

    context: ssl.SSLContext
    names: tuple[str, ...]
    """The hosts and addresses it is for."""
    not_after: datetime
    stamp: Stamp


def load_server_tls(settings: TlsSettings, setting: str) -> ServerTls:
    """Read and check the files of ``settings``. Blocks on the disk.

    Args:
        settings: Where they are.
        setting: What errors call them, as ``edge.listen.tls``.

    Raises:
        SettingsError: A file is missing or damaged, the key is not the certificate's, or others
            may read it; the message names the setting.
    """
    stamp = stamp_of(settings, setting)
    chain = _chain(settings.certificate, setting)
    try:
        key = read_secret(settings.key)
    except SettingsError as error:
        raise SettingsError(f"{setting}.key: {error}") from error
    try:
        first = x509.load_pem_x509_certificate(chain)
    except ValueError as error:
        raise SettingsError(
            f"{setting}.certificate: {settings.certificate} begins with no PEM certificate"
        ) from error
    return ServerTls(_context(chain, key, settings, setting), *_told(first), stamp)


def stamp_of(settings: TlsSettings, setting: str) -> Stamp:
    """Return what tells whether the files were replaced. Blocks on the disk.

    Raises:
        SettingsError: One is missing.
    """
    return (
        _stamp(settings.certificate, f"{setting}.certificate"),
        _stamp(settings.key, f"{setting}.key"),
    )


def _chain(path: Path, setting: str) -> bytes:
    with path.open("rb") as file:
        chain = file.read(CHAIN_SIZE_MAX + 1)
    if len(chain) > CHAIN_SIZE_MAX:
        raise SettingsError(f"{setting}.certificate: {path} is larger than any chain is")
    return chain


def _context(chain: bytes, key: bytes, settings: TlsSettings, setting: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(PROTOCOLS)
    try:
        # Both from one copy: the files may be replaced between two looks at them.
        with _as_file(chain + b"\n" + key) as path:
            context.load_cert_chain(path, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise SettingsError(
            f"{setting}: {settings.key} is not the key of {settings.certificate}, or one of both "
            f"is damaged or locked by a password: {error}"
        ) from error
    return context


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """Give ``content`` a path: in memory where the system can, else for its owner alone."""
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("tls", os.MFD_CLOEXEC)
        path = f"/proc/self/fd/{handle}"
    else:
        handle, path = tempfile.mkstemp()  # mode 600
    with os.fdopen(handle, "wb") as file:
        try:
            file.write(content)
            file.flush()
            yield path
        finally:
            if not path.startswith("/proc/"):
                with suppress(OSError):
                    Path(path).unlink()


def _no_password() -> str:
    raise ValueError("the key is locked by a password; store it without one, mode 600")


def _told(certificate: x509.Certificate) -> tuple[tuple[str, ...], datetime]:
    names: list[str] = []
    with suppress(x509.ExtensionNotFound):
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names += extension.value.get_values_for_type(x509.DNSName)
        names += map(str, extension.value.get_values_for_type(x509.IPAddress))
    return tuple(names), certificate.not_valid_after_utc


def _stamp(path: Path, setting: str) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise SettingsError(
            f"{setting}: {path}: {error.strerror}; `playhead tls dev` makes one for this machine"
        ) from error
    return found.st_ino, found.st_size, found.st_mtime_ns
