"""The seed's suites against a running environment, and against a broken one."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from rollout.checks import Target
from rollout.checks.load import LoadRun
from rollout.checks.smoke import smoke
from rollout.checks.validate import validate
from tests.support.stack import TOKEN, Stack, until


@pytest.fixture
def target(stack: Stack) -> Target:
    stack.start_web("g1")
    return front_door(stack)


def front_door(stack: Stack) -> Target:
    return Target(
        environment="test",
        host="local",
        terminals={profile: stack.url(profile) for profile in ("system", "claude")},
        web=stack.url("web"),
        token=TOKEN,
        ca=stack.ca,
    )


def test_validation_suite_passes_15_of_15(target):
    results = validate(target)
    assert [f"{r.name}: {r.detail}" for r in results if not r.ok] == []
    assert Counter(r.group for r in results) == {
        "Session ID Validation": 8,
        "Circuit Breaker": 2,
        "Performance": 1,
        "Integration": 3,
        "Session Reuse": 1,
    }
    assert len({r.name for r in results}) == 15


def test_smoke_test_passes_8_of_8(target):
    results = smoke(target)
    assert [f"{r.name}: {r.detail}" for r in results if not r.ok] == []
    assert len({r.name for r in results}) == 8


def test_checks_leave_no_session_and_no_loop_behind(target, stack):
    validate(target)
    smoke(target)
    until(lambda: stack.status()["sessions"]["live"] == 0, "all shells ending")
    assert stack.generation("g1")["loops"] == 0


def test_every_check_fails_where_nothing_answers(stack):
    target = front_door(stack)
    for name in ("holder", "worker-g1", "manager"):
        stack.kill(name)
    dead = dataclasses.replace(target, patience=0.5)
    assert [result.name for result in smoke(dead) if result.ok] == []


def test_wrong_token_fails_every_terminal_check(target):
    wrong = Target(target.environment, target.host, target.terminals, target.web, "wrong")
    assert not any(result.ok for result in smoke(wrong) if result.name != "API health")


@pytest.mark.parametrize(
    "processes",
    [
        pytest.param(1, id="alone"),
        pytest.param(2, id="master and workers", marks=pytest.mark.slow("three processes of Locust's")),
    ],
)
def test_load_run_verifies_live_shells_through_cuts(target, tmp_path, processes):
    run = LoadRun([target], users=5, spawn_rate=5, cut_every=3, directory=tmp_path, processes=processes)
    run.start()
    try:
        run.wait_ready(60)
        until(lambda: run.summary().reconnections >= 3, "reconnections", 60)
    finally:
        summary = run.stop()
    assert (summary.lost, summary.doubled, summary.twice, summary.loops) == (0, 0, 0, 0)
    assert summary.verified > 500
    assert summary.users == 5
    assert summary.shells_kept == 5
    assert summary.kept == summary.reconnections >= 3
    assert summary.errors == []
    assert min(summary.connect_ms) > 0
    assert len(summary.finished) == 5, "each user is one, whichever worker has it"
    assert not run.running


def test_a_worker_of_the_load_that_dies_is_the_end_of_the_load(target, tmp_path):
    run = LoadRun([target], users=4, spawn_rate=4, cut_every=0, directory=tmp_path, processes=2)
    run.start()
    try:
        run.wait_ready(60)
        run._processes[1].kill()
        until(lambda: not run.running, "its end being seen")
    finally:
        summary = run.stop()
    assert len(summary.finished) >= 2, "the users of the other worker have verified all they saw"
    assert all(process.poll() is not None for process in run._processes)
