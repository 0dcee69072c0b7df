"""The web service: what is open, what is not, and what an answer gives away."""

from __future__ import annotations

import pytest

from rollout.checks import Target
from tests.integration.test_checks import front_door
from tests.support.stack import TOKEN, Stack, until


@pytest.fixture
def target(stack: Stack) -> Target:
    stack.start_web("g1")
    return front_door(stack)


def test_health_is_open_and_says_nothing_but_its_status(target):
    for path in ("/health/live", "/health/ready"):
        assert target.http(path) == (200, {"status": "ok"})


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "x", TOKEN[:-1]])
def test_everything_else_needs_the_token(target, token):
    refused = (401, {"error": "unauthorized", "sign_in": "api/sign-in"})
    paths = ("/api/status", "/api/sessions", "/api/info", "/api/nothing", "/nothing")
    assert {path: target.http(path, token=token) for path in paths} == dict.fromkeys(paths, refused)


def test_with_the_token_the_api_answers(target, stack):
    with stack.terminal() as terminal, target.terminal() as programs:
        sessions = target.http("/api/sessions", token=TOKEN)[1]["sessions"]
        assert [entry["id"] for entry in sessions] == [terminal.session]
        sessions = target.http("/api/sessions?programs=1", token=TOKEN)[1]["sessions"]
        users = {entry["id"]: entry["user"] for entry in sessions}
        assert users == {terminal.session: "", programs.session: "~checks"}
    assert target.http("/api/info", token=TOKEN)[1]["generation"] == "g1"
    assert target.http("/api/status", token=TOKEN)[1]["generations"][0]["weight"] == 100
    assert target.http("/api/nothing", token=TOKEN)[0] == 404


def test_a_session_can_be_ended_with_the_token_only(target, stack):
    terminal = target.terminal()
    terminal.open()
    path = f"/api/sessions/{terminal.session}"
    assert target.http(path, method="DELETE")[0] == 401
    assert stack.status()["sessions"]["live"] == 1
    assert target.http(path, method="DELETE", token=TOKEN)[0] == 200
    until(lambda: stack.status()["sessions"]["live"] == 0, "the shell ending")
    assert target.http("/api/sessions/garbage", method="DELETE", token=TOKEN)[0] == 400
