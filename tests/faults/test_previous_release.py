"""The release before this one and this one work together, in each role, both ways, and follow one another."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from terminals import tickets
from terminals.control.starting import program
from terminals.parts import own_code
from terminals.tickets import Ticket

from tests.support.stack import PATIENCE, TOKEN, Stack, runs, until
from tests.support.typist import TALKER, Typist
from tests.support.visitor import Visitor

ARCHIVES = Path(__file__).parents[1] / "previous"
ROLES = ("holder", "manager", "worker", "web")


@pytest.fixture(scope="module")
def previous(tmp_path_factory) -> Path:
    """The folder of the previous release's package."""
    (archive,) = ARCHIVES.glob("*.tar.xz")
    folder = tmp_path_factory.mktemp("previous")
    subprocess.run(["tar", "-xJf", str(archive), "-C", str(folder)], check=True)
    assert (folder / "terminals" / "holder").is_dir()
    assert own_code("holder") not in str(folder)
    return folder


@pytest.fixture
def mixed(previous) -> Iterator[Callable[..., Stack]]:
    """Makes stacks in which these roles are of the previous release."""
    made: list[Stack] = []

    def make(*old: str) -> Stack:
        talk = {"command": [sys.executable, "-c", TALKER]}
        stack = Stack(
            code=dict.fromkeys(old, previous), profiles={"system": talk, "claude": talk}, stable_seconds=0
        )
        made.append(stack)
        stack.start_generation("g1", weight=100)
        stack.start("web", "g1")
        return stack

    yield make
    for stack in made:
        stack.close()


@pytest.fixture
def people(request) -> Iterator[Callable[[Stack], list[Typist]]]:
    """Some who type all the while, and check each byte."""
    there: list[Typist] = []

    def come(stack: Stack) -> list[Typist]:
        there.extend(Typist(stack.url("claude"), f"user-{number}") for number in range(3))
        until(lambda: all(one.is_on(1, 20) for one in there), "everybody at work")
        return there

    yield come
    for one in there:
        one.leave()


def at_work_again(people: list[Typist]) -> None:
    more = max(one.typed for one in people) + 30
    until(lambda: all(one.is_on(1, more) for one in people), "everybody at work again", PATIENCE)


def shells(stack: Stack) -> dict[str, int]:
    return {entry["id"]: entry["pid"] for entry in stack.admin("sessions")["items"] if entry["live"]}


def test_a_page_of_this_release_reaches_its_terminals_beside_the_one_before(mixed, previous):
    """In a canary most workers know neither cookies nor connections whose request somebody else has read."""
    stack = mixed()
    stack.code["worker"] = previous
    stack.start_generation("g0")
    stack.admin("weights", weights={"g0": 99, "g1": 1})
    until(lambda: stack.generation("g1").get("web"), "the web process")
    someone = Visitor(stack.url("web"))
    someone.sign_in(TOKEN)
    assert {someone.terminal("claude").attached["generation"] for _ in range(5)} == {"g1"}
    # A session that is there stays with the release that it belongs to.
    with stack.terminal("claude") as older:
        assert older.attached.generation == "g0"
        older.cut()
        wire = someone.terminal("claude", session=older.session)
        assert (wire.attached["status"], wire.attached["generation"]) == ("resumed", "g0")
        # ... and to those whom that knows no role of, with this one.
        for user, role in (("olga", "operator"), ("vera", "viewer")):
            other = Visitor(stack.url("web"))
            other.sign_in(tickets.issue(TOKEN.encode(), Ticket(user, role=role)))
            attached = other.terminal("claude", session=older.session).attached
            assert (attached["status"], attached["generation"]) == ("resumed", "g1")


@pytest.mark.parametrize(
    "old", [("holder",), ("manager",), ("worker", "web"), ("holder", "manager")], ids="+".join
)
def test_roles_of_two_releases_serve_together_and_survive_each_other(mixed, people, old):
    stack = mixed(*old)
    typists = people(stack)
    before = shells(stack)
    stack.kill("manager")
    stack.start_manager()
    at_work_again(typists)
    stack.kill("worker-g1")
    stack.start("worker", "g1")
    at_work_again(typists)
    assert shells(stack) == before
    assert all(runs(pid) for pid in before.values())


@pytest.mark.slow("a rollout of two releases; their roles beside each other are in the first tier")
def test_the_next_release_follows_the_one_before_and_back(mixed, people, previous):
    """As a rollout does it: first the session manager, then the holder, then the workers; and back."""
    stack = mixed(*ROLES)
    typists = people(stack)
    before, holder = shells(stack), stack.status()["holder"]["pid"]
    del stack.code["manager"]
    assert stack.replace_manager() == 0
    at_work_again(typists)
    renewed = stack.renew_holder("this")
    assert (renewed["pid"], renewed["code"]) == (holder, own_code("holder"))
    at_work_again(typists)
    stack.code.clear()
    stack.start_generation("g2", weight=100)
    stack.admin("move", to="g2", share=100, batch=3, interval=0.05, deadline=20)
    at_work_again(typists)
    stack.admin("move", to="g1", share=100, batch=3, interval=0.05, deadline=20)
    stack.code["manager"] = previous
    assert stack.replace_manager() == 0
    at_work_again(typists)
    assert shells(stack) == before
    assert all(runs(pid) for pid in before.values())


def test_the_holder_of_the_release_before_is_another_program(previous):
    """Or all of this would show nothing."""
    assert (previous / "terminals" / "holder" / "main.py").read_bytes() != (
        program() / "main.py"
    ).read_bytes()
