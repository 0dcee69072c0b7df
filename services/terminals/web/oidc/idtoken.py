"""ID tokens: what a provider says of somebody, and whether it is the provider that says it, to us, now."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, InvalidClaimError, InvalidKeyIdError, JoseError
from joserfc.jwk import JWKRegistry, Key, KeySet
from joserfc.jws import JWSRegistry

from terminals.web.oidc.trouble import NotSignedIn, Reason, quoted

ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"),
)
"""Signatures that a public key checks, and nothing else: no ``none``, and no HS256, with which whoever knows
that public key could sign."""
LEEWAY_SECONDS: Final = 60
"""So far the provider's clock may be from ours."""


class UnknownKey(Exception):
    """Signed by a key that is not among these: the provider may have another since."""


def keys_of(document: Mapping[str, Any]) -> KeySet:
    """The keys of a provider that may have signed an ID token; others that it has, it may have.

    Raises:
        NotSignedIn: it has none.
    """
    found = document.get("keys")
    keys = [key for entry in (found if isinstance(found, list) else ()) for key in _key(entry)]
    if not keys:
        raise NotSignedIn("invalid", "the provider has no key that an ID token could be signed by")
    return KeySet(keys)


def _key(entry: object) -> Iterator[Key]:
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return
    if entry.get("kty") in ("RSA", "EC", "OKP"):
        with contextlib.suppress(JoseError, ValueError, TypeError):
            yield JWKRegistry.import_key(entry)


def read(
    text: str, keys: KeySet, *, issuer: str, client_id: str, nonce: str, access_token: str | None, now: float
) -> dict[str, Any]:
    """The claims of an ID token; ``now`` in Unix seconds.

    Raises:
        UnknownKey: signed by none of these.
        NotSignedIn: not for us, not of this sign-in, not any more or not yet, or not signed as it has to be.
    """
    try:
        token = jwt.decode(text, keys, registry=JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False))
        claims = CodeIDToken(
            token.claims,
            token.header,
            {
                "iss": {"essential": True, "value": issuer},
                "aud": {"essential": True, "value": client_id},
                "sub": {"essential": True},  # and not empty
            },
            {"nonce": nonce, "client_id": client_id, "access_token": access_token},
        )
        claims.validate(now=int(now), leeway=LEEWAY_SECONDS)
    except InvalidKeyIdError as error:
        raise UnknownKey(str(error)) from None
    except ExpiredTokenError:
        raise NotSignedIn("clock", "the ID token has expired: is this host's clock right?") from None
    except InvalidClaimError as error:
        early = error.claim in ("iat", "nbf") and isinstance(claims[error.claim], int | float)
        reason: Reason = "clock" if early else "invalid"
        raise NotSignedIn(reason, f"the ID token is not for this sign-in: {quoted(str(error))}") from None
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise NotSignedIn("invalid", f"the ID token is not valid: {quoted(str(error))}") from None
    return dict(claims)
