"""Certificates to try TLS with."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509

from kit.errors import SettingsError
from playhead.dev_certificates import make_dev_certificate

pytestmark = pytest.mark.may_block


def test_every_file_is_its_owners_alone(tmp_path: Path) -> None:
    make_dev_certificate(tmp_path / "tls")
    files = [path for path in (tmp_path / "tls").iterdir() if path.suffix]
    assert {path.name for path in files} == {"ca.pem", "ca.key", "server.pem", "server.key"}
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_the_authority_stays_and_the_certificate_is_new(tmp_path: Path) -> None:
    first = make_dev_certificate(tmp_path)
    authority, certificate = first.authority.read_bytes(), first.certificate.read_bytes()
    second = make_dev_certificate(tmp_path, ("edge.example",))
    assert second.authority.read_bytes() == authority
    assert second.certificate.read_bytes() != certificate


def test_the_certificate_is_for_the_hosts_named_and_signed_by_the_authority(
    tmp_path: Path,
) -> None:
    made = make_dev_certificate(tmp_path, ("edge.example", "10.1.2.3"))
    leaf, authority = x509.load_pem_x509_certificates(made.certificate.read_bytes())
    leaf.verify_directly_issued_by(authority)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["edge.example"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["10.1.2.3"]


def test_the_authority_may_not_make_further_authorities(tmp_path: Path) -> None:
    made = make_dev_certificate(tmp_path)
    authority = x509.load_pem_x509_certificate(made.authority.read_bytes())
    limits = authority.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (limits.ca, limits.path_length) == (True, 0)


def test_a_damaged_authority_is_named(tmp_path: Path) -> None:
    made = make_dev_certificate(tmp_path)
    made.authority.write_text("hello")
    with pytest.raises(SettingsError, match="the authority is damaged"):
        make_dev_certificate(tmp_path)


def test_a_host_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no host name"):
        make_dev_certificate(tmp_path, ("tïtle.example",))
