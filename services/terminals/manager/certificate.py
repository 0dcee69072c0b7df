"""The certificate and key of the listeners: checked in words that name the file, and when they end."""

from __future__ import annotations

import hashlib
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

_INTEGER, _SEQUENCE, _UTC_TIME, _EXPLICIT_0 = 0x02, 0x30, 0x17, 0xA0
"""Tags of DER (X.690) that a certificate begins with."""
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class CertificateError(ValueError):
    """The certificate or its key cannot be used. The text names the file and the way out."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where the certificate (followed by its intermediates) and its private key are, in PEM form."""

    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """A server's context with what the files hold now: TLS 1.2 or later.

        Raises:
            CertificateError: a file cannot be read or used, the key is encrypted or another certificate's.
        """
        if not _CERTIFICATE.search(_read(self.certificate)):
            raise CertificateError(f"{self.certificate}: no certificate in PEM form in this file")
        if "PRIVATE KEY-----" not in _read(self.key):
            raise CertificateError(f"{self.key}: no private key in PEM form in this file")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION  # with OpenSSL 1.1 a client could ask for it without end
        context.set_alpn_protocols(["http/1.1"])  # WebSocket is spoken over that alone
        try:
            context.load_cert_chain(self.certificate, self.key, password=self._encrypted)
        except OSError as error:
            if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
                raise CertificateError(
                    f"{self.key}: not the private key of {self.certificate}; put there what belongs together"
                ) from None
            reason = getattr(error, "reason", None) or error.strerror or error
            raise CertificateError(f"{self.certificate}, {self.key}: cannot be used: {reason}") from None
        return context

    def valid(self) -> tuple[datetime, datetime]:
        """From when until when the certificate is valid.

        Raises:
            CertificateError: the file cannot be read, or holds no certificate.
        """
        found = _CERTIFICATE.search(_read(self.certificate))
        try:
            if found is None:
                raise ValueError("no certificate in PEM form in this file")
            return _validity(ssl.PEM_cert_to_DER_cert(found[0]))
        except (ValueError, IndexError, StopIteration) as error:
            raise CertificateError(f"{self.certificate}: {error or 'not a certificate'}") from None

    def digest(self) -> bytes:
        """Of what is in both files now; empty where one of them cannot be read."""
        try:
            return hashlib.sha256(_read(self.certificate).encode() + _read(self.key).encode()).digest()
        except CertificateError:
            return b""

    def _encrypted(self) -> NoReturn:
        raise CertificateError(
            f"{self.key}: the private key is encrypted, and nobody is there to type its password;"
            f" write it without: openssl pkey -in {self.key} -out FILE"
        )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise CertificateError(f"{path}: {error.strerror}") from None


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each element of DER."""
    at = 0
    while at < len(der):
        tag, size, at = der[at], der[at + 1], at + 2
        if size & 0x80:
            count = size & 0x7F
            size, at = int.from_bytes(der[at : at + count], "big"), at + count
        yield tag, der[at : at + size]
        at += size


def _validity(der: bytes) -> tuple[datetime, datetime]:
    """The times of a certificate (RFC 5280, 4.1): after version, serial, algorithm and issuer."""
    _, certificate = next(_elements(der))
    _, to_be_signed = next(_elements(certificate))
    fields = [entry for entry in _elements(to_be_signed) if entry[0] != _EXPLICIT_0]
    if [tag for tag, _ in fields[:4]] != [_INTEGER, _SEQUENCE, _SEQUENCE, _SEQUENCE]:
        raise ValueError("not a certificate")
    begin, end = (_time(tag, text.decode("ascii")) for tag, text in _elements(fields[3][1]))
    return begin, end


def _time(tag: int, text: str) -> datetime:
    if tag == _UTC_TIME:  # two digits of the year, 50 and more being the last century's
        text = ("19" if text[:2] >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
