"""Private keys by URI: files here, or devices and services that never give theirs away.

``file:NAME`` is a PEM file in the key folder; ``hsm:…`` is a PKCS#11 token, ``awskms:…`` a key of
AWS KMS, both opened by securesystemslib. The public key is kept beside the URI, so that nothing is
asked of a device before something is to be signed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.exceptions import Error as SslibError
from securesystemslib.signer import AWSSigner, CryptoSigner, HSMSigner, Key, Signer, SSlibKey

from kit.errors import InvalidInput, SettingsError
from kit.secret_files import read_secret, write_secret

FILE_SCHEME = "file"
P256 = "ecdsa-sha2-nistp256"

Kind = Literal["online", "offline"]
"""Online keys are ECDSA P-256, which every HSM and KMS has; others Ed25519."""


class KeyEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key that this machine can sign with."""

    uri: str
    public: dict[str, Any]
    """The public key as TUF writes it, with its ``keyid``."""

    @property
    def key(self) -> Key:
        """The public key."""
        return public_key(self.public)

    @property
    def is_file(self) -> bool:
        """Whether it is a file in the key folder."""
        return self.uri.startswith(f"{FILE_SCHEME}:")


def public_key(fields: dict[str, Any]) -> Key:
    """Read a public key.

    Raises:
        InvalidInput: It is none.
    """
    try:
        rest = dict(fields)
        return Key.from_dict(rest.pop("keyid"), rest)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise InvalidInput(f"not a public key: {error!r}") from error


def public_fields(key: Key) -> dict[str, Any]:
    """Return a public key as it is written down."""
    return {"keyid": key.keyid, **key.to_dict()}


def make_key(folder: Path, name: str, kind: Kind) -> KeyEntry:
    """Make a key pair in the file ``NAME.pem``, for its owner alone."""
    make = CryptoSigner.generate_ecdsa if kind == "online" else CryptoSigner.generate_ed25519
    signer = make()
    file_name = f"{name}-{signer.public_key.keyid[:8]}.pem"
    write_secret(folder / file_name, signer.private_bytes)
    return KeyEntry(uri=f"{FILE_SCHEME}:{file_name}", public=public_fields(signer.public_key))


def import_key(uri: str, hsm_pin: str) -> KeyEntry:
    """Ask a device or service for the public key of the private key that it has.

    Raises:
        InvalidInput: The URI is of no kind that we know.
        SettingsError: The device did not give it.
    """
    scheme, _, rest = uri.partition(":")
    if scheme not in (AWSSigner.SCHEME, HSMSigner.SCHEME):
        raise InvalidInput(f"key {uri!r}: expected hsm:NUMBER or awskms:KEY")
    try:
        if scheme == AWSSigner.SCHEME:
            found, key = AWSSigner.import_(rest, P256)
        else:
            number = int(rest) if rest.isdigit() else None
            found, key = HSMSigner.import_(number, secrets_handler=lambda _: hsm_pin)
    # Drivers raise what they like; all of it says that the key was not to be had.
    except Exception as error:
        raise SettingsError(f"key {uri}: {error}") from error
    return KeyEntry(uri=found, public=public_fields(key))


def signer_of(entry: KeyEntry, folder: Path, hsm_pin: str) -> Signer:
    """Return what signs with a key. Reads files; devices are asked when it signs.

    Raises:
        SettingsError: The private key is missing, damaged, readable by others, or another one.
    """
    if entry.is_file:
        return _file_signer(folder / entry.uri.partition(":")[2], entry.key)
    try:
        return Signer.from_priv_key_uri(entry.uri, entry.key, lambda _: hsm_pin)
    except Exception as error:
        raise SettingsError(f"key {entry.uri}: {error}") from error


def _file_signer(path: Path, public: Key) -> Signer:
    pem = read_secret(path)
    try:
        private = load_pem_private_key(pem, None)
        return CryptoSigner(cast("Any", private), cast("SSlibKey", public))
    except (ValueError, TypeError, UnsupportedAlgorithm, SslibError) as error:
        raise SettingsError(f"{path} is not the private key it should be: {error}") from error
