"""What is configured of an OpenID Connect provider that people sign in by, looked at once."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import msgspec

from terminals.configfile import refuse_unknown
from terminals.control.answers import Oidc
from terminals.tickets import MAX_SECONDS, MAX_USER, PROGRAM

EVERYBODYS: Final = ("https://accounts.google.com",)
"""Providers where anybody on earth has an account, or gets one."""
LEAST_SECONDS: Final = 300


def read_oidc(raw: Mapping[str, Any] | None) -> Oidc | None:
    """The provider that a configuration names; ``None`` where it names none.

    Raises:
        ValueError: a key is missing, unknown or of the wrong type, or nobody could sign in, or everybody.
    """
    if raw is None:
        return None
    if not isinstance(raw, Mapping):
        raise ValueError('oidc: {"issuer": URL, "client_id": ..., "public_urls": [URL], ...}, or null')
    refuse_unknown("oidc: ", raw, Oidc.__struct_fields__)
    try:
        oidc = msgspec.convert(raw, Oidc)
    except msgspec.ValidationError as error:
        raise ValueError(f"oidc: {error}") from None
    for key, check in (
        ("issuer", check_issuer),
        ("client_id", check_client),
        ("public_urls", check_public_urls),
        ("scopes", check_scopes),
        ("user_prefix", check_prefix),
        ("session_seconds", check_session),
    ):
        try:
            check(getattr(oidc, key))
        except ValueError as error:
            raise ValueError(f"oidc.{key}: {error}") from None
    if why := nobody_or_everybody(oidc.issuer, oidc.roles, oidc.default_role):
        raise ValueError(f"oidc: {why}")
    return oidc


def check_issuer(value: str) -> str:
    """An issuer as its discovery document has it.

    Raises:
        ValueError: it is none, or could be read and changed on its way here.
    """
    parts = _split(value)
    if parts.query or parts.fragment:
        raise ValueError(f"expected a URL such as https://id.example.com/realms/tools, got {value!r}")
    return value


def check_client(value: str) -> str:
    """What the provider calls us.

    Raises:
        ValueError: nothing.
    """
    if not value:
        raise ValueError("as what is this known to the provider?")
    return value


def check_public_urls(values: Iterable[str]) -> tuple[str, ...]:
    """Addresses of the page as browsers show them.

    Raises:
        ValueError: there is none, or one is none.
    """
    values = tuple(values)
    if not values:
        raise ValueError("at least one address of the page, such as https://tools.example.com/terminals/")
    for value in values:
        parts = _split(value)
        usual = {"http": ":80", "https": ":443"}[parts.scheme]
        if not parts.path.endswith("/") or parts.query or parts.fragment:
            raise ValueError(f"{value!r} is no address of the page: it ends with a slash")
        if parts.netloc != parts.netloc.lower() or parts.netloc.endswith(usual):
            raise ValueError(f"write {value!r} as browsers show it: lower case, without {usual}")
    return values


def check_scopes(values: Iterable[str]) -> tuple[str, ...]:
    """What a provider is asked for.

    Raises:
        ValueError: not OpenID Connect, or no list of words.
    """
    values = tuple(values)
    if "openid" not in values or any(not value or set(value) & set(' "\\') for value in values):
        raise ValueError('a list of scopes with "openid" among them')
    return values


def check_prefix(value: str) -> str:
    """What the names of a provider's users begin with.

    Raises:
        ValueError: they would be programs, or could not be shown, or there would be no room for a name.
    """
    if value.startswith(PROGRAM) or value != value.strip() or not (value + "a").isprintable():
        raise ValueError(f"no {PROGRAM} and no space in front, and nothing that cannot be printed")
    if len(value) > MAX_USER // 2:
        raise ValueError(f"a user name has {MAX_USER} characters: leave room for it")
    return value


def check_session(value: float) -> float:
    """How long somebody is signed in, in seconds.

    Raises:
        ValueError: out of range.
    """
    if not LEAST_SECONDS <= value <= MAX_SECONDS:
        raise ValueError(f"{LEAST_SECONDS} seconds to {MAX_SECONDS // 86400} days")
    return value


def nobody_or_everybody(issuer: str, roles: Mapping[Any, Collection[str]], default_role: str | None) -> str:
    """Why nobody, or everybody on earth, would be let in by these; "" where neither is so."""
    if not any(roles.values()) and default_role is None:
        return "nobody could sign in; say in roles which values of roles_claim give which, or default_role"
    if default_role is not None and issuer.rstrip("/") in EVERYBODYS:
        return (
            f"everybody who has an account at {issuer} could sign in; leave default_role out, and let"
            ' roles name your own, e.g. with roles_claim: hd, roles: {"user": ["example.com"]}'
        )
    return ""


def protected(url: str) -> bool:
    """Whether nobody can read and change on its way what an address gives: TLS, or this very machine."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        return bool(parts.hostname)
    return parts.scheme == "http" and _is_loopback(parts.hostname or "")


def _split(value: str) -> SplitResult:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError(f"{value!r} is no https:// address")
    if not protected(value):
        raise ValueError(f"{value!r} has no TLS: only an address of this very machine may begin with http://")
    return parts


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
