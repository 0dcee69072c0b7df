"""The authority by whose certificates the hosts of an environment know each other.

Its key stays with those who run rollouts. A host's certificate is for its tag, which it has for life, and not
for an address: see :func:`terminals.cluster.news.name_of`.
"""

from __future__ import annotations

import datetime
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rollout.config.model import Authority
from rollout.errors import ConfigError
from rollout.files import read_pair

AUTHORITY_DAYS: Final = 3650
HOST_DAYS: Final = 365
DAY: Final = 86400
"""Seconds."""
RENEWED_DAYS: Final = 90
"""A certificate that is older is made anew by whatever brings one to its host."""
WAY_OUT: Final = "make the authority with rollout certify, or bring both files from where it was made"
_BEFORE: Final = datetime.timedelta(hours=1)
"""Clocks of hosts differ."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A host's certificate and private key, and the certificate of their authority, as texts in PEM form."""

    authority: str
    certificate: str
    key: str = field(repr=False)
    ends: float
    """Of the host's; Unix seconds."""


def make_authority(files: Authority, name: str) -> None:
    """Make an authority, ``name`` in its certificate, whose key nobody else may read.

    Raises:
        ConfigError: there is one, or a file cannot be written.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    certificate = (
        _builder(subject, subject, key.public_key(), AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    # The key first: without its certificate it is no authority yet.
    _write_new(files.key, _key_text(key))
    _write_new(files.certificate, _text(certificate))


def check_authority(files: Authority) -> float:
    """See that both files are there, and belong together; until when, Unix seconds.

    Raises:
        ConfigError: what is wrong with them.
    """
    return float(read_pair("authority", files, WAY_OUT).certificate.not_valid_after_utc.timestamp())


def host_certificate(files: Authority, tag: str, folder: Path) -> Issued:
    """The certificate of a host: the one that this machine has in ``folder``, unless it is old or another
    authority's; else a new one, which is kept there.

    Raises:
        ConfigError: the authority's files cannot be read, or are none; ``folder`` cannot be written.
    """
    own = read_pair("authority", files, WAY_OUT)
    certificate, key = _kept(own.certificate, tag, folder) or _issue(own.certificate, own.key, tag, folder)
    return Issued(
        own.certificate_text, _text(certificate), _key_text(key), certificate.not_valid_after_utc.timestamp()
    )


def _kept(authority: Any, tag: str, folder: Path) -> tuple[Any, Any] | None:
    """A host's certificate and private key, where those that are kept are good."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import serialization

    try:
        text, key_text = (folder / f"{tag}.pem").read_text(), (folder / f"{tag}.key").read_text()
        certificate = x509.load_pem_x509_certificate(text.encode())
        certificate.verify_directly_issued_by(authority)
        key = serialization.load_pem_private_key(key_text.encode(), None)
    except (OSError, ValueError, TypeError, InvalidSignature):
        return None  # there is none yet, or it is no good
    age = time.time() - certificate.not_valid_before_utc.timestamp()
    if key.public_key() != certificate.public_key() or not 0 <= age < RENEWED_DAYS * DAY:
        return None
    return certificate, key


def _issue(authority: Any, signer: Any, tag: str, folder: Path) -> tuple[Any, Any]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID
    from terminals.cluster.news import name_of

    key = ec.generate_private_key(ec.SECP256R1())
    name = name_of(tag)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        _builder(subject, authority.subject, key.public_key(), HOST_DAYS, authority.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.ExtendedKeyUsage(both), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, hashes.SHA256())
    )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # What is read back is whole, or made anew: see host_certificate.
        for kept, text in ((f"{tag}.key", _key_text(key)), (f"{tag}.pem", _text(certificate))):
            (folder / kept).unlink(missing_ok=True)
            _write_new(folder / kept, text)
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror}") from None
    return certificate, key


def _builder(
    subject: Any, issuer: Any, public: Any, days: int, latest: datetime.datetime | None = None
) -> Any:
    from cryptography import x509

    now = datetime.datetime.now(datetime.UTC)
    end = now + datetime.timedelta(days=days)
    if latest is not None and latest < now:
        raise ConfigError(f"authority: its certificate has ended; {WAY_OUT}")
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BEFORE)
        .not_valid_after(min(end, latest) if latest else end)
    )


def _text(certificate: Any) -> str:
    from cryptography.hazmat.primitives import serialization

    return str(certificate.public_bytes(serialization.Encoding.PEM).decode())


def _key_text(key: Any) -> str:
    from cryptography.hazmat.primitives import serialization

    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return str(key.private_bytes(*form).decode())


def _write_new(path: Path, text: str) -> None:
    """Write a file that is not there, for nobody else to read."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123
            file.write(text)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
