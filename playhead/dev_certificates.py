"""A certificate for servers of this machine, and the authority that vouches for it: for trying out.

Whoever is told to believe the authority believes whatever its key signs, so the key never leaves
its folder, and nothing is added to what the system believes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kit.errors import NotFound, SettingsError
from kit.secret_files import folder_locked, read_secret, write_secret

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")

AUTHORITY_LASTS = timedelta(days=3650)
LASTS = timedelta(days=90)

EARLIER = timedelta(minutes=5)
"""Certificates begin so much before now: clocks of test machines differ."""


@dataclass(frozen=True, slots=True)
class DevCertificate:
    """Where the files are that settings name."""

    authority: Path
    """What clients are told to believe."""
    certificate: Path
    key: Path
    not_after: datetime


def make_dev_certificate(folder: Path, hosts: Sequence[str] = LOCAL_HOSTS) -> DevCertificate:
    """Make a new certificate for ``hosts``, by the authority of ``folder``, made if there is none.

    Every file is its owner's alone. Blocks on the disk.

    Raises:
        SettingsError: A host is no name and no address, or what is in the folder is damaged.
        Denied, OutOfSpace: It cannot be written.
    """
    names = [_name(host) for host in hosts]
    made = DevCertificate(
        folder / "ca.pem", folder / "server.pem", folder / "server.key", datetime.now(UTC) + LASTS
    )
    with folder_locked(folder, setting="data"):
        authority, authority_key = _authority(folder)
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _begun(_common_name(hosts[0]), authority.subject, key, made.not_after)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
                critical=False,
            )
            .sign(authority_key, hashes.SHA256())
        )
        write_secret(made.key, _key_pem(key), setting="data")
        chain = _pem(certificate) + _pem(authority)
        write_secret(made.certificate, chain, setting="data")
    return made


def _authority(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    try:
        certificate = x509.load_pem_x509_certificate(read_secret(folder / "ca.pem"))
        key = serialization.load_pem_private_key(read_secret(folder / "ca.key"), None)
    except NotFound:
        return _new_authority(folder)
    except ValueError as error:
        raise SettingsError(
            f"{folder}: the authority is damaged: {error}; delete the folder for a new one"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SettingsError(f"{folder}: ca.key is no key of ours; delete the folder for a new one")
    return certificate, key


def _new_authority(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _common_name("Playhead of this machine, for trying out")
    usage = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    certificate = (
        _begun(name, name, key, datetime.now(UTC) + AUTHORITY_LASTS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_secret(folder / "ca.key", _key_pem(key), setting="data")
    write_secret(folder / "ca.pem", _pem(certificate), setting="data")
    return certificate, key


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, not_after: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - EARLIER)
        .not_valid_after(not_after)
    )


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _name(host: str) -> x509.GeneralName:
    with suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(host))
    try:
        return x509.DNSName(host)
    except ValueError as error:
        raise SettingsError(f"{host!r} is no host name and no address: {error}") from error


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
