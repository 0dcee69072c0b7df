"""ID tokens, signed with real keys: what is believed, and every way in which one is not."""

from __future__ import annotations

import base64
import hmac
import json
import time
from typing import Any

import pytest
from authlib.oidc.core.util import create_half_hash
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from terminals.web.oidc.idtoken import ALGORITHMS, LEEWAY_SECONDS, UnknownKey, keys_of, read
from terminals.web.oidc.trouble import NotSignedIn

NOW = int(time.time())
RSA = RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"})
EC = ECKey.generate_key("P-256", {"kid": "ec", "use": "sig"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed", "use": "sig"})
KEYS = keys_of({"keys": [key.as_dict(private=False) for key in (RSA, EC, ED)]})
ANY = JWSRegistry(algorithms=[*ALGORITHMS, "HS256", "none"])
GOOD: dict[str, Any] = {
    "iss": "https://id.example.com",
    "sub": "1234",
    "aud": "terminals",
    "exp": NOW + 300,
    "iat": NOW,
    "nonce": "of this sign-in",
}


def signed(
    changes: dict[str, Any] | None = None, *, key: Any = RSA, alg: str = "RS256", **header: Any
) -> str:
    claims = {name: value for name, value in (GOOD | (changes or {})).items() if value is not None}
    header = {"alg": alg, "kid": key.kid, **header}
    return jwt.encode({k: v for k, v in header.items() if v is not None}, claims, key, registry=ANY)


def believed(text: str, keys: KeySet = KEYS, *, now: float = NOW, access_token: str | None = None) -> dict:
    return read(
        text,
        keys,
        issuer="https://id.example.com",
        client_id="terminals",
        nonce="of this sign-in",
        access_token=access_token,
        now=now,
    )


def refused(text: str, **options: Any) -> str:
    with pytest.raises(NotSignedIn) as info:
        believed(text, **options)
    assert "\n" not in str(info.value) and len(str(info.value)) < 300
    return info.value.reason


@pytest.mark.parametrize(
    ("key", "alg"), [(RSA, "RS256"), (RSA, "PS256"), (RSA, "RS512"), (EC, "ES256"), (ED, "EdDSA")]
)
def test_what_the_provider_has_signed_is_believed(key, alg):
    assert believed(signed(key=key, alg=alg)) == GOOD


def test_a_signature_by_none_is_none():
    def part(value: dict) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    for alg in ("none", "None", "NONE", ""):
        for kid in ({}, {"kid": "rsa"}):
            head, body = part({"alg": alg, **kid}), part(GOOD)
            assert refused(f"{head}.{body}.") == "invalid"
            assert refused(f"{head}.{body}.{signed().rpartition('.')[2]}") == "invalid"


def test_the_public_key_is_no_secret_to_sign_with():
    public = RSA.as_pem(private=False)
    for secret in (public, public.strip(), RSA.as_der(private=False), b"terminals"):
        head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"rsa"}').rstrip(b"=")
        said = b".".join([head, signed().split(".")[1].encode()])
        mark = base64.urlsafe_b64encode(hmac.digest(secret, said, "sha256")).rstrip(b"=")
        assert refused(b".".join([said, mark]).decode()) == "invalid"


def test_a_shared_secret_among_the_keys_is_passed_over():
    shared = OctKey.generate_key(256, {"kid": "shared"})
    keys = keys_of({"keys": [shared.as_dict(private=True), RSA.as_dict(private=False)]})
    with pytest.raises((NotSignedIn, UnknownKey)):
        believed(signed(key=shared, alg="HS256"), keys)
    with pytest.raises(NotSignedIn):
        keys_of({"keys": [shared.as_dict(private=True)]})


def test_another_key_of_the_same_name_is_another():
    forger = RSAKey.generate_key(2048, {"kid": "rsa"})
    assert refused(signed(key=forger)) == "invalid"


def test_a_key_in_the_token_itself_counts_for_nothing():
    forger = RSAKey.generate_key(2048, {"kid": "rsa"})
    assert refused(signed(key=forger, jwk=forger.as_dict(private=False))) == "invalid"


def test_a_key_that_is_not_there_may_be_one_that_came_since():
    with pytest.raises(UnknownKey):
        believed(signed(key=RSAKey.generate_key(2048, {"kid": "next"})))
    with pytest.raises(UnknownKey):  # of several, none is named
        believed(signed(kid=None))
    only = keys_of({"keys": [RSA.as_dict(private=False)]})
    assert believed(signed(kid=None), only) == GOOD


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example.com"},
        {"iss": "https://id.example.com/"},
        {"iss": None},
        {"iss": ["https://id.example.com"]},
        {"aud": "another"},
        {"aud": ["another"]},
        {"aud": []},
        {"aud": None},
        {"aud": ["terminals", "another"]},  # and nobody says for whom it was made
        {"aud": ["terminals", "another"], "azp": "another"},
        {"azp": "another"},
        {"nonce": "of another sign-in"},
        {"nonce": None},
        {"nonce": ["of this sign-in"]},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": True},
        {"exp": float("nan")},
        {"exp": float("inf")},
        {"iat": None},
        {"iat": "now"},
        {"sub": None},
        {"sub": 7},
        {"sub": ""},
    ],
    ids=str,
)
def test_what_is_not_for_us_or_not_of_this_sign_in_is_not_believed(changes):
    assert refused(signed(changes)) == "invalid"


def test_several_audiences_are_fine_where_it_was_made_for_us():
    claims = {"aud": ["another", "terminals"], "azp": "terminals"}
    assert believed(signed(claims))["azp"] == "terminals"


def test_clocks_may_differ_a_little():
    for changes in ({"exp": NOW - LEEWAY_SECONDS + 2}, {"iat": NOW + LEEWAY_SECONDS - 2}):
        believed(signed(changes))
    late = {"exp": NOW - LEEWAY_SECONDS - 2, "iat": NOW - 999}
    early = ({"iat": NOW + LEEWAY_SECONDS + 2}, {"nbf": NOW + LEEWAY_SECONDS + 2})
    for changes in (late, *early):
        assert refused(signed(changes)) == "clock"


def test_an_access_token_is_the_one_it_was_made_with():
    half = create_half_hash("theirs", "RS256").decode()
    assert believed(signed({"at_hash": half}), access_token="theirs")["at_hash"] == half
    assert refused(signed({"at_hash": half}), access_token="another") == "invalid"


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a.b.c", "🙂.🙂.🙂", "x" * 9999, "e30.e30.e30", "bnVsbA.bnVsbA."]
)
def test_garbage_is_refused(text):
    assert refused(text) == "invalid"


def test_every_cut_and_every_flipped_letter_is_refused():
    text = signed()
    for end in range(0, len(text), 7):
        with pytest.raises((NotSignedIn, UnknownKey)):
            believed(text[:end])
    for place in range(0, text.rindex("."), 5):
        other = "A" if text[place] != "A" else "B"
        with pytest.raises((NotSignedIn, UnknownKey)):
            believed(f"{text[:place]}{other}{text[place + 1 :]}")


@pytest.mark.parametrize(
    "document", [{}, {"keys": None}, {"keys": {}}, {"keys": [7, None, {}, {"kty": "RSA"}, {"kty": "new"}]}]
)
def test_a_provider_without_keys_is_refused(document):
    with pytest.raises(NotSignedIn):
        keys_of(document)


def test_keys_of_other_kinds_and_uses_do_no_harm():
    other = RSAKey.generate_key(2048, {"kid": "rsa", "use": "enc"})
    strange = [{"kty": "ML-DSA", "kid": "x"}, {"kty": "RSA", "n": "!"}, other.as_dict(private=False)]
    keys = keys_of({"keys": [*strange, RSA.as_dict(private=False)]})
    assert believed(signed(), keys) == GOOD
