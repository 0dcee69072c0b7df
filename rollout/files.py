"""Files that the configuration names: read whole, and found wanting in the same words everywhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rollout.errors import ConfigError, why_unread


class PairFiles(Protocol):
    """Where a certificate and its private key are, in PEM form."""

    @property
    def certificate(self) -> Path: ...
    @property
    def key(self) -> Path: ...


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, as texts and as objects of :mod:`cryptography`. The text of the
    certificate may have others after it."""

    certificate_text: str
    key_text: str = field(repr=False)
    certificate: Any
    key: Any = field(repr=False)


def read_text(what: str, path: Path, remedy: str = "") -> str:
    """A file's text. ``what``: its key in the configuration.

    Raises:
        ConfigError: it cannot be read, or is no text; with the ``remedy``.
    """
    try:
        return path.read_text()
    except (OSError, ValueError) as error:
        way_out = f"; {remedy}" if remedy else ""
        raise ConfigError(f"{what}: {path}: {why_unread(error)}{way_out}") from None


def read_pair(what: str, files: PairFiles, remedy: str = "") -> Pair:
    """A certificate and its key. ``what``: the key in the configuration that has both.

    Raises:
        ConfigError: a file cannot be read (with the ``remedy``) or is none, or they do not belong together.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    text = read_text(f"{what}.certificate", files.certificate, remedy)
    key_text = read_text(f"{what}.key", files.key, remedy)
    try:
        certificate = x509.load_pem_x509_certificate(text.encode())
        key = serialization.load_pem_private_key(key_text.encode(), None)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{what}: {files.certificate}, {files.key}: {error}") from None
    if key.public_key() != certificate.public_key():
        raise ConfigError(f"{what}: {files.key} is not the private key of {files.certificate}")
    return Pair(text, key_text, certificate, key)
