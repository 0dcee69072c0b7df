"""The release before this one and this one work together, in each role, both ways, and follow one another."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from terminals.control.holder import program
from terminals.parts import own_code

from tests.support.stack import PATIENCE, Stack, runs, until
from tests.support.typist import TALKER, Typist

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
