"""The files of the provider that people sign in by."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

from rollout.config import Environment
from rollout.doctor.finding import Finding, open_to_others
from rollout.errors import why_unread


def examine_oidc(environment: Environment) -> Iterator[Finding]:
    """Look at the files that an environment's ``oidc`` names; a secret is nobody else's."""
    oidc = environment.oidc
    if oidc is None:
        return
    where = f"{environment.name} oidc"
    if oidc.client_secret_file is not None:
        yield _secret(where, oidc.client_secret_file)
    if oidc.ca is not None:
        yield _certificates(where, oidc.ca)


def _secret(where: str, path: Path) -> Finding:
    subject = f"{where}.client_secret_file"
    try:
        text, bad = path.read_text(), open_to_others(subject, path)
    except (OSError, ValueError) as error:
        return Finding(
            "wrong", "", subject, f"{path}: {why_unread(error)}", "put the client's secret there, mode 0600"
        )
    if bad:
        return bad
    if not text.strip():
        return Finding("wrong", "", subject, f"{path} is empty", "put the client's secret there")
    return Finding("ok", "", subject, f"{path} is not open to others")


def _certificates(where: str, path: Path) -> Finding:
    try:
        ssl.create_default_context(cafile=str(path))
    except OSError as error:
        text = f"{path}: {error.strerror or error}"
        return Finding("wrong", "", f"{where}.ca", text, "put certificates in PEM form there")
    return Finding("ok", "", f"{where}.ca", f"{path} has certificates")
