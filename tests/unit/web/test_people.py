"""Who a provider's user is here: names that are nobody else's, and roles."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from terminals.control.answers import Oidc
from terminals.tickets import NAMELESS, check_person, guest
from terminals.web.oidc.people import name_of, role_of
from terminals.web.oidc.trouble import NotSignedIn


def oidc(**changes: Any) -> Oidc:
    given = {
        "issuer": "https://id.example.com",
        "client_id": "terminals",
        "public_urls": ["https://t.example/"],
    }
    return msgspec.convert(given | changes, Oidc)


def refused(what: Any, *arguments: Any) -> str:
    with pytest.raises(NotSignedIn) as info:
        what(*arguments)
    assert "\n" not in str(info.value)
    return info.value.reason


def test_a_name_is_the_subject_behind_a_prefix():
    assert name_of(oidc(), {"sub": "1234", "preferred_username": "ada"}) == "oidc:1234"
    named = oidc(user_claim="preferred_username", user_prefix="")
    assert name_of(named, {"sub": "1234", "preferred_username": "ada"}) == "ada"


@pytest.mark.parametrize("name", [NAMELESS, "~load", "~checks", "~monitor", "~", guest("a" * 16)])
def test_no_user_of_a_provider_is_one_of_ours(name):
    assert refused(name_of, oidc(user_prefix=""), {"sub": name}) == "name"
    assert name_of(oidc(), {"sub": name}) == f"oidc:{name}"


@pytest.mark.parametrize(
    "value", [None, "", " ", " ada", "ada\n", "a\tb", "a\x1b[2Jb", "a\u202eb", "x" * 65, 7, True, ["ada"], {}]
)
@pytest.mark.parametrize("prefix", ["", "oidc:"])
def test_what_is_no_name_lets_nobody_in(value, prefix):
    assert refused(name_of, oidc(user_prefix=prefix), {"sub": value}) == "name"
    assert refused(name_of, oidc(user_prefix=prefix), {}) == "name"


@given(st.text())
def test_whatever_a_provider_calls_them_it_is_a_person_s_name_or_none(name):
    try:
        found = name_of(oidc(user_prefix=""), {"sub": name})
    except NotSignedIn:
        return
    check_person(found)
    assert found == name


def test_an_address_that_the_provider_has_not_verified_is_anybody_s():
    by_mail = oidc(user_claim="email")
    assert name_of(by_mail, {"email": "a@example.com", "email_verified": True}) == "oidc:a@example.com"
    for unsure in ({}, {"email_verified": False}, {"email_verified": "yes"}, {"email_verified": None}):
        assert refused(name_of, by_mail, {"email": "a@example.com", **unsure}) == "name"


ROLES = {"operator": ["admins"], "user": ["staff", "dev"], "viewer": ["audit"]}


@pytest.mark.parametrize(
    ("groups", "role"),
    [
        (["staff"], "user"),
        (["audit", "dev"], "user"),
        (["audit", "admins", "staff"], "operator"),
        ("audit", "viewer"),
        (["audit", 7, None, ["admins"]], "viewer"),
    ],
)
def test_of_several_roles_it_is_the_one_that_may_do_most(groups, role):
    assert role_of(oidc(roles=ROLES), {"groups": groups}) == role


@pytest.mark.parametrize("groups", [None, [], "", "admins,staff", ["Admins"], ["admins "], {"admins": 1}, 7])
def test_who_is_in_none_of_the_groups_has_the_default_or_is_not_let_in(groups):
    assert refused(role_of, oidc(roles=ROLES), {"groups": groups}) == "stranger"
    assert role_of(oidc(roles=ROLES, default_role="viewer"), {"groups": groups}) == "viewer"


def test_another_claim_may_tell_the_role():
    google = oidc(roles_claim="hd", roles={"user": ["example.com"]})
    assert role_of(google, {"hd": "example.com"}) == "user"
    assert refused(role_of, google, {"groups": ["example.com"]}) == "stranger"
