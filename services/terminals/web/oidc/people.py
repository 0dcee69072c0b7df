"""Who somebody is here, and what they may do, by what their provider says of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from terminals.control.answers import Oidc
from terminals.tickets import check_person
from terminals.web.oidc.trouble import NotSignedIn, quoted

Role = Literal["operator", "user", "viewer"]
_MOST_FIRST: Final[tuple[Role, ...]] = ("operator", "user", "viewer")


def name_of(oidc: Oidc, claims: Mapping[str, Any]) -> str:
    """The user's name: never one of ours, nor, with a prefix, of anybody's who has a ticket.

    Raises:
        NotSignedIn: the provider says none that could be one, or does not vouch for it.
    """
    value = claims.get(oidc.user_claim)
    if not isinstance(value, str) or not value or value != value.strip():
        raise NotSignedIn("name", f"the claim {oidc.user_claim} is no name: {quoted(value)}")
    if oidc.user_claim == "email" and claims.get("email_verified") not in (True, "true"):
        raise NotSignedIn("name", f"the provider has not verified the address {quoted(value)}")
    name = oidc.user_prefix + value
    try:
        check_person(name)
    except ValueError as error:
        raise NotSignedIn("name", f"the claim {oidc.user_claim} is {quoted(value)}: {error}") from None
    return name


def role_of(oidc: Oidc, claims: Mapping[str, Any]) -> Role:
    """The role: of several that somebody has, the one that may do most.

    Raises:
        NotSignedIn: they have none.
    """
    said = claims.get(oidc.roles_claim)
    values = {said} if isinstance(said, str) else set()
    if isinstance(said, list):
        values = {value for value in said if isinstance(value, str)}
    for role in _MOST_FIRST:
        if values & set(oidc.roles.get(role, ())):
            return role
    if oidc.default_role is None:
        raise NotSignedIn("stranger", f"no role has, by the claim {oidc.roles_claim}, {quoted(said)}")
    return oidc.default_role
