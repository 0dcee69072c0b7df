"""A sign-in that is under way: one process begins it, another goes on."""

from __future__ import annotations

import re

import jwt
import pytest
from terminals import tickets
from terminals.tickets import Ticket
from terminals.web.oidc import flow as flows

TOKEN, PAGE = b"the environment's token", "https://tools.example.com/terminals/"


def test_whoever_has_the_token_goes_on_with_it():
    begun = flows.begin(TOKEN, PAGE)
    assert flows.resume(TOKEN, begun.cookie) == begun
    assert re.fullmatch(r"[A-Za-z0-9_-]{43,128}", begun.verifier)  # RFC 7636


def test_nobody_reads_in_the_browser_or_at_the_provider_what_only_we_may_know():
    begun = flows.begin(TOKEN, PAGE)
    assert len({begun.state, begun.nonce, begun.verifier}) == 3
    claims = jwt.decode(begun.cookie, options={"verify_signature": False})
    assert claims.keys() == {"aud", "sub", "page", "exp"}
    assert begun.verifier not in begun.cookie
    assert begun.verifier not in repr(begun) and begun.cookie not in repr(begun)
    assert flows.begin(TOKEN, PAGE).state != begun.state


def changed(**changes: object) -> str:
    begun = flows.begin(TOKEN, PAGE)
    claims = jwt.decode(begun.cookie, options={"verify_signature": False}) | changes
    key = flows._key(TOKEN)
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, key, "HS256")


@pytest.mark.parametrize(
    "cookie",
    [
        "",
        "x",
        flows.begin(b"another token", PAGE).cookie,
        flows.begin(TOKEN, PAGE).cookie[:-3],
        changed(exp=1),
        changed(exp=None),
        changed(page=None),
        changed(sub=None),
        changed(aud="terminals-cookie"),
        tickets.issue(TOKEN, Ticket("ada")),
        tickets.issue(TOKEN, Ticket("ada"), audience=tickets.COOKIE),
    ],
    ids=range(11),
)
def test_what_we_have_not_begun_or_too_long_ago_is_nothing(cookie):
    with pytest.raises(flows.BadFlow):
        flows.resume(TOKEN, cookie)


def test_a_sign_in_under_way_is_no_ticket_and_no_cookie_of_who_is_in():
    begun = flows.begin(TOKEN, PAGE)
    for audience in (tickets.TICKET, tickets.COOKIE):
        with pytest.raises(tickets.BadTicket):
            tickets.read(TOKEN, begun.cookie, audience=audience)
