"""A release is all of it: session manager and settings change under live shells, and are taken back."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from terminals.client import Terminal
from terminals.client.errors import AttachError

from rollout.errors import ExitCode
from tests.support.project import PROFILES, Project, source_of
from tests.support.stack import runs, until

pytestmark = [pytest.mark.rollout, pytest.mark.in_order]

AGAIN = pytest.mark.slow("as its neighbours, in another way")
REGISTRY = "terminals/manager/registry.py"


class Dev(Project):
    """One environment, which judges by smoke alone."""

    may_break = True  # some of its builds are made to

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.configure()
        self.builds: dict[str, str] = {}
        self.before: dict[str, dict[str, Any]] = {}

    def configure(self, *, source: Path | None = None, **dev: object) -> None:
        smoke = {"metric": "smoke.pass_ratio", "op": ">=", "threshold": 1}
        environment = {
            "hosts": {"local": {"root": "dev"}},
            "listen": self.listen("dev"),
            "profiles": PROFILES,
            "canary": [{"weight": 100, "hold": "100ms"}],
            "checks": ["smoke"],
            "gates": [smoke],
            "monitor": {"every": "2s", "timeout": "5s"},
            **dev,
        }
        more = {"source": str(source)} if source else {}
        self.write({"dev": environment}, **more)

    def changed(self, version: str, *edits: tuple[str, str, str]) -> str:
        """Make a build of the services with changes; gives its id."""
        source = source_of(version, self.folder)
        for name, old, new in edits:
            path = source / name
            text = path.read_text()
            assert text.count(old) == 1, old
            path.write_text(text.replace(old, new))
        self.configure(source=source)
        assert self.run("build") == 0, self.said
        return self.json("build")["id"]

    def made(self, version: str, *edits: tuple[str, str, str]) -> str:
        """The id of such a build, which is made unless there is one."""
        if version not in self.builds:
            self.builds[version] = self.changed(version, *edits)
        return self.builds[version]

    def in_force(self, version: str, *edits: tuple[str, str, str]) -> dict[str, Any]:
        """Such a build serves dev, by a deployment unless it has; gives what the manager said before."""
        build = self.made(version, *edits)
        if version not in self.before:
            self.before[version] = self.manager("dev")
            assert self.run("deploy", "dev", "--build", build) == 0, self.said
        return self.before[version]

    def terminal(self) -> Terminal:
        token = (self.folder / "dev" / "run" / "token").read_text().strip()
        return Terminal(f"ws://127.0.0.1:{self.listen('dev')['system']}/", token=token)


@pytest.fixture(scope="module")
def project() -> Iterator[Dev]:
    with Dev.deployed() as project:
        yield project


@pytest.fixture
def shell(project) -> Iterator[Terminal]:
    """Somebody who is at work all the while, comes back when told to, and of whose shell nothing is lost."""
    resident = project.resident("dev")
    yield resident.terminal
    resident.leave()


def process_of(project: Dev, shell: Terminal) -> int:
    return next(entry["pid"] for entry in project.sessions("dev") if entry["id"] == shell.session)


def step(plan: dict, name: str) -> dict:
    return next(step for step in plan["forward"] if step["name"] == name)


def test_one_that_does_not_answer_is_not_taken_for_as_declared_nor_its_shells_for_none(project, shell):
    pid = project.manager("dev")["manager"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        for words in (("apply", "dev"), ("apply", "dev", "--plan")):
            assert project.run(*words) == ExitCode.REFUSED, project.said
            assert "local: its session manager does not answer" in project.said
            assert "nothing runs" not in project.said
        assert project.run("teardown", "dev") == ExitCode.USAGE
        assert "0 live sessions (and any of local: no session manager answers there)" in project.said
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.slow("two rollouts more; what is compared is in the first tier")
def test_a_ledger_that_was_put_back_from_a_copy_goes_on_after_an_adoption(project, shell):
    ledger, copy = project.folder / "state" / "ledger.db", project.folder / "copy.db"

    def copied(source: Path, to: Path) -> None:
        with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(to)) as other:
            one.backup(other)

    copied(ledger, copy)
    for _ in range(2):
        assert project.run("deploy", "dev") == 0, project.said
    (served,) = [name for name, weight in project.weights("dev").items() if weight]
    for name in ("ledger.db-wal", "ledger.db-shm"):
        (ledger.parent / name).unlink(missing_ok=True)
    copy.replace(ledger)
    for command in ("deploy", "rollback", "apply"):
        assert project.run(command, "dev") == ExitCode.REFUSED, project.said
        assert "rollout adopt dev" in project.said
    assert project.weights("dev")[served] == 100
    assert project.run("adopt", "dev") == 0, project.said
    assert project.run("deploy", "dev") == 0, project.said
    (new,) = [name for name, weight in project.weights("dev").items() if weight]
    assert int(new[1:]) == int(served[1:]) + 1, "the names that hosts have seen are not given again"
    assert project.run("rollback", "dev") == 0, project.said
    assert project.weights("dev")[served] == 100
    assert shell.session in [item["id"] for item in project.sessions("dev") if item["live"]]


def test_changed_settings_are_in_force_after_an_apply(project, shell):
    before = project.manager("dev")["manager"]
    assert project.run("apply", "dev") == 0
    assert "what runs is what is declared" in project.said
    project.configure(profiles={**PROFILES, "claude": {"command": ["echo", "hello from a profile"]}})
    project.write_defaults(max_sessions=20)
    assert project.run("status", "dev") == 0
    assert "max_sessions default -> 20" in project.said
    plan = project.json("apply", "dev", "--plan")
    said = step(plan, "manager")["hosts"]["local"]
    assert "max_sessions default -> 20" in said
    assert "profiles.claude.command" in said
    assert "build" not in said
    assert project.manager("dev")["manager"] == before
    assert project.run("apply", "dev") == 0, project.said
    after = project.manager("dev")
    assert after["manager"]["pid"] != before["pid"]
    assert shell.session in [entry["id"] for entry in project.sessions("dev") if entry["live"]]
    assert project.json("history", "dev")[0]["state"] == "applied"
    with ExitStack() as others, pytest.raises(AttachError, match="20 sessions are running"):
        for _ in range(20):
            others.enter_context(project.terminal())
    assert project.run("status", "dev") == 0
    assert "declared otherwise" not in project.said


@pytest.mark.slow("a rollout more; a manager that does not pass is in the first tier")
def test_settings_with_which_it_does_not_pass_are_taken_back(project, shell):
    before = project.manager("dev")["manager"]
    project.configure(profiles={**PROFILES, "system": {"command": ["/bin/false"]}})
    assert project.run("apply", "dev") == ExitCode.ENGINE, project.said
    assert "the settings of before" in project.said
    assert project.manager("dev")["manager"]["settings"] == before["settings"]
    assert project.json("history", "dev")[0]["state"] == "rolled-back"
    project.configure()


ANOTHER_MANAGER = ("0.2.0", (REGISTRY, "MAX_TITLE = 80\n", "MAX_TITLE = 81\n"))


def test_a_build_with_another_manager_says_so_before(project):
    build = project.made(*ANOTHER_MANAGER)
    said = step(project.json("deploy", "dev", "--plan", "--build", build), "manager")["hosts"]["local"]
    assert said.startswith("session manager: build ")
    assert said.partition(";")[0].endswith(f" -> {build}")


def test_a_build_with_another_manager_replaces_it(project, shell):
    before = project.in_force(*ANOTHER_MANAGER)
    after = project.manager("dev")
    assert after["manager"]["build"] == project.made(*ANOTHER_MANAGER)
    assert after["holder"]["pid"] == before["holder"]["pid"]


def test_a_rollback_brings_the_former_manager_back(project, shell):
    before = project.in_force(*ANOTHER_MANAGER)
    assert project.run("rollback", "dev") == 0, project.said
    assert project.manager("dev")["manager"]["code"] == before["manager"]["code"]


HOLDER = "terminals/holder/main.py"
WATCH = "terminals/monitor/service.py"
SECONDS = "HANGUP_SECONDS = 3.0\n"


ANOTHER_HOLDER = ("0.2.1", (HOLDER, SECONDS, "HANGUP_SECONDS = 3.5\n"))


@pytest.mark.slow("a holder's exec under live shells is in the first tier without a rollout")
def test_a_build_with_another_holder_says_so_before(project):
    build = project.made(*ANOTHER_HOLDER)
    said = step(project.json("deploy", "dev", "--plan", "--build", build), "manager")["hosts"]["local"]
    assert said.startswith("holder: build ")
    assert said.endswith(f" -> {build}")


@pytest.mark.slow("a holder's exec under live shells is in the first tier without a rollout")
def test_a_build_with_another_holder_goes_on_as_that(project, shell):
    pid = process_of(project, shell)
    before, after = project.in_force(*ANOTHER_HOLDER), project.manager("dev")
    assert after["holder"]["build"] == project.made(*ANOTHER_HOLDER)
    assert after["holder"]["code"] != before["holder"]["code"]
    assert after["holder"]["pid"] == before["holder"]["pid"]
    assert after["manager"]["pid"] == before["manager"]["pid"]
    assert runs(pid)


@pytest.mark.slow("a holder's exec under live shells is in the first tier without a rollout")
def test_a_rollback_brings_the_former_holder_back(project, shell):
    before = project.in_force(*ANOTHER_HOLDER)
    pid = process_of(project, shell)
    assert project.run("rollback", "dev") == 0, project.said
    after = project.manager("dev")["holder"]
    assert (after["code"], after["pid"]) == (before["holder"]["code"], before["holder"]["pid"])
    assert runs(pid)


@pytest.mark.slow("a holder's exec under live shells is in the first tier without a rollout")
def test_a_holder_that_cannot_go_on_is_not_begun_with(project, shell):
    before = project.manager("dev")["holder"]
    project.changed("0.2.2", (HOLDER, SECONDS, SECONDS + "raise RuntimeError('broken')\n"))
    assert project.run("deploy", "dev") == ExitCode.ENGINE, project.said
    assert "cannot go on from here" in project.said
    assert project.manager("dev")["holder"] == before
    assert project.json("history", "dev")[0]["state"] == "rolled-back"


@pytest.mark.slow("a holder's exec under live shells is in the first tier without a rollout")
def test_a_holder_of_a_version_that_knows_nothing_of_this_one_is_refused(project, shell):
    project.changed("0.2.3", (HOLDER, "VERSION = 1\nRESUMES = [1]\n", "VERSION = 3\nRESUMES = [2, 3]\n"))
    assert project.run("deploy", "dev") == ExitCode.REFUSED
    assert "that takes the end of " in project.said


@AGAIN
def test_another_monitor_comes_with_its_settings_and_with_its_build(project, shell):
    before = project.manager("dev")
    project.configure(monitor={"every": "1s", "timeout": "5s"})
    said = step(project.json("apply", "dev", "--plan"), "manager")["hosts"]["local"]
    assert said == "monitor's settings: every 2.0 -> 1.0"
    assert project.run("apply", "dev") == 0, project.said
    after = project.manager("dev")
    assert after["monitor"]["configured"]["every"] == 1
    assert after["manager"] == before["manager"]
    project.configure()
    build = project.changed("0.2.4", (WATCH, "TICK: Final = 0.5", "TICK: Final = 0.4"))
    said = step(project.json("deploy", "dev", "--plan"), "manager")["hosts"]["local"]
    assert said.endswith(f" -> {build}; monitor's settings: every 1.0 -> 2.0")
    assert project.run("deploy", "dev") == 0, project.said
    assert project.manager("dev")["monitor"]["build"] == build
    assert project.run("rollback", "dev") == 0, project.said
    assert project.manager("dev")["monitor"]["code"] == before["monitor"]["code"]


@AGAIN
def test_a_faulty_monitor_is_taken_back(project, shell):
    before = project.manager("dev")
    project.changed("0.2.5", (WATCH, "TICK: Final = 0.5", "raise RuntimeError('broken')"))
    assert project.run("deploy", "dev") == ExitCode.ENGINE, project.said
    assert "no monitor of build" in project.said
    after = until(lambda: project.manager("dev"), "the manager")
    assert {**after["monitor"], "started": 0} == {**before["monitor"], "started": 0}
    assert after["manager"] == before["manager"]


@pytest.mark.slow("a promotion of the first tier shows the same manager before and after")
def test_a_build_with_the_same_manager_leaves_it_alone(project, shell):
    before = project.manager("dev")["manager"]["pid"]
    project.changed("0.3.0")
    assert "manager" not in [entry["name"] for entry in project.json("deploy", "dev", "--plan")["forward"]]
    assert project.run("deploy", "dev") == 0, project.said
    assert project.manager("dev")["manager"]["pid"] == before


@pytest.mark.parametrize(
    ("version", "old", "new", "reason"),
    [
        # It does not even start.
        ("0.4.0", "MAX_TITLE = 80\n", "MAX_TITLE = 80\nraise RuntimeError('broken')\n", "could not start"),
        # It starts, and ends again and again.
        pytest.param(
            "0.4.1",
            "        self.ready.fill()\n",
            "        raise RuntimeError('broken')\n",
            "no session manager",
            marks=AGAIN,
        ),
        # It starts, and knows nothing of a session that it should go on with.
        pytest.param(
            "0.4.2",
            "if self._go_on(session_id, item, rings[session_id]):",
            "if True:",
            r"it has lost \d+ sess",
            marks=pytest.mark.slow("a rollout more; one that does not start is in the first tier"),
        ),
        # It cannot go on with any.
        pytest.param(
            "0.4.3",
            '            record = _read_record(bytes(item.fields["session"]))\n',
            "            raise KeyError('x')\n",
            r"it has left \d+ sess",
            marks=AGAIN,
        ),
    ],
)
def test_a_faulty_manager_is_taken_back_with_all_shells_alive(project, shell, version, old, new, reason):
    before = project.manager("dev")
    pid = process_of(project, shell)
    project.changed(version, (REGISTRY, old, new))
    assert project.run("deploy", "dev") == ExitCode.ENGINE, project.said
    assert re.search(reason, project.said)  # the monitor has sessions, too
    after = project.manager("dev")
    assert after["manager"]["code"] == before["manager"]["code"]
    assert after["sessions"]["left"] == 0
    assert shell.session in [item["id"] for item in project.sessions("dev") if item["live"]]
    assert runs(pid)
    assert project.json("history", "dev")[0]["state"] == "rolled-back"
