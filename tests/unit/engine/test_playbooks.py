import json
import os
import signal
import sys
import threading
from pathlib import Path

import pytest
import yaml

from rollout.engine import ShiftResult, playbooks
from rollout.engine.playbooks import folder, run_playbook
from rollout.errors import EngineError
from tests.support.stack import until

ROLES = folder() / "roles"
ENGINES = ("terminals_process", "terminals_docker")


def specs(role: str) -> set[str]:
    return set(yaml.safe_load((ROLES / role / "meta" / "argument_specs.yml").read_text())["argument_specs"])


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_keeps_the_contract(engine):
    """What a playbook asks of the host's engine, each role has, with its arguments described."""
    asked = set()
    for path in folder().glob("*.yml"):
        for play in yaml.safe_load(path.read_text()):
            for task in play.get("tasks", []):
                role = task.get("ansible.builtin.include_role", {})
                if "terminals_engine" in role.get("name", ""):
                    asked.add(role["tasks_from"])
    assert asked >= {"install", "start", "stop", "teardown"}
    assert asked <= specs(engine)
    assert all((ROLES / engine / "tasks" / f"{name}.yml").is_file() for name in asked)


def test_what_is_said_to_a_manager_is_one_role_for_all_engines():
    assert specs("terminals_manager") == {path.stem for path in (ROLES / "terminals_manager/tasks").iterdir()}


def test_missing_variable_is_one_line_before_anything_is_done(tmp_path):
    hosts = {"local": {"ansible_connection": "local", "terminals_engine": "process"}}
    with pytest.raises(EngineError, match="terminals_process_root") as error:
        run_playbook("install", hosts=hosts, variables={}, artifacts=tmp_path, on_event=lambda event: None)
    assert "\n" not in error.value.message


def test_results_of_several_hosts_add_up_and_the_slowest_counts():
    total = ShiftResult(3, 1, 0, 0, 2.0, 1.0) + ShiftResult(4, 0, 1, 2, 1.0, 0.5)
    assert total == ShiftResult(7, 1, 1, 2, 2.0, 1.0)


def test_unreachable_host_is_said(tmp_path: Path):
    hosts = {
        "gone": {
            "ansible_host": "127.0.0.1",
            "ansible_port": 1,
            "terminals_engine": "process",
            "terminals_process_root": "/nowhere",
        }
    }
    with pytest.raises(EngineError, match="gone"):
        run_playbook("teardown", hosts=hosts, variables={}, artifacts=tmp_path, on_event=lambda event: None)


HERE = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}


@pytest.fixture
def playbook(tmp_path, monkeypatch):
    """Runs tasks on this machine, as the playbooks are run."""
    folder = tmp_path / "playbooks"
    folder.mkdir()
    monkeypatch.setattr(playbooks, "folder", lambda: folder)

    def run(tasks, *, hosts=("here",), variables=None, own=None):
        play = [{"hosts": "all", "gather_facts": False, "tasks": tasks}]
        (folder / "play.yml").write_text(yaml.safe_dump(play))
        inventory = {host: {**HERE, **(own or {})} for host in hosts}
        return run_playbook(
            "play",
            hosts=inventory,
            variables=variables or {},
            artifacts=tmp_path / "artifacts",
            on_event=lambda event: None,
        )

    return run


def test_no_value_is_a_template(playbook):
    """What stands in a rollout.yaml is text, and never runs on the machine of whoever reads it."""
    text = "{{ lookup('pipe', 'id -un') }} {% raw %} {# no #} {{ 7 * 7 }}"
    config = {"env": {"FORMAT": text, "LIST": [text, {"deep": text}]}, "plain": "a b", "number": 3}
    say = "import json, sys; print(json.dumps({name: sys.argv[i + 1] for i, name in enumerate('ab')}))"
    task = {
        "name": "Result: said",
        "ansible.builtin.command": {
            "argv": [sys.executable, "-c", say, "{{ mine | to_json }}", "{{ everybodys | to_json }}"]
        },
    }
    results = playbook([task], own={"mine": config}, variables={"everybodys": config})
    said = results["here"]["said"]
    assert json.loads(said["a"]) == json.loads(said["b"]) == config


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LC_ALL", "C"),
        ("LANG", "de_DE.UTF-8"),
        ("ANSIBLE_RUN_TAGS", "web"),
        ("ANSIBLE_SKIP_TAGS", "always"),
        ("ANSIBLE_STRATEGY", "nosuch"),
        ("ANSIBLE_BECOME_ASK_PASS", "true"),
        ("ANSIBLE_CHECK_MODE_MARKERS", "true"),
    ],
)
def test_nothing_of_the_operators_own_reaches_a_playbook(playbook, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    task = {"name": "Result: said", "ansible.builtin.command": {"argv": ["echo", '"grüße"']}}
    assert playbook([task]) == {"here": {"said": "grüße"}}
    assert os.environ[name] == value


@pytest.mark.parametrize("place", ["ansible.cfg", "home"])
def test_an_ansible_cfg_of_the_operator_is_not_read(playbook, monkeypatch, tmp_path, place):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(home))
    name = "ansible.cfg" if place == "ansible.cfg" else ".ansible.cfg"
    (home / name).write_text(
        "[privilege_escalation]\nbecome_ask_pass = True\n[defaults]\nstrategy = nosuch\n"
    )
    assert playbook([{"name": "Result: said", "ansible.builtin.command": {"argv": ["echo", "1"]}}]) == {
        "here": {"said": 1}
    }


def test_no_host_is_an_error_and_so_is_one_on_which_nothing_was_done(playbook):
    echo = {"name": "Say", "ansible.builtin.command": {"argv": ["true"]}}
    with pytest.raises(EngineError, match="no host"):
        playbook([echo], hosts=())
    once = {**echo, "run_once": True}
    with pytest.raises(EngineError, match="nothing was done on"):
        playbook([once], hosts=("one", "two"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_playbook_and_is_not_lost(playbook, tmp_path, number):
    """Ansible's runner would swallow it, keep its own handlers, and the next one would be swallowed, too."""
    pid = tmp_path / "pid"

    def stop(number, frame):
        raise KeyboardInterrupt(signal.Signals(number).name)

    def send():
        until(pid.is_file, "the task")
        os.kill(os.getpid(), number)

    before = signal.signal(number, stop)
    sender = threading.Thread(target=send)
    sender.start()
    sleep = {
        "name": "Sleep",
        "ansible.builtin.shell": {"cmd": f"echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 600"},
    }
    try:
        with pytest.raises(KeyboardInterrupt, match=number.name):
            playbook([sleep])
        assert signal.getsignal(number) is stop
        until(lambda: not Path("/proc", pid.read_text().strip()).exists(), "the end of the task")
    finally:
        signal.signal(number, before)
        sender.join()


def test_a_signal_that_is_let_pass_ends_nothing(playbook, tmp_path):
    heard = []
    there = tmp_path / "there"
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    sender = threading.Thread(
        target=lambda: (until(there.is_file, "the task"), os.kill(os.getpid(), signal.SIGTERM))
    )
    sender.start()
    wait = f"touch {there}; while [ ! -f {there}.go ]; do sleep 0.05; done; echo 1"
    threading.Thread(target=lambda: (until(lambda: heard, "the signal"), Path(f"{there}.go").touch())).start()
    try:
        assert playbook([{"name": "Result: said", "ansible.builtin.shell": {"cmd": wait}}])["here"] == {
            "said": 1
        }
    finally:
        signal.signal(signal.SIGTERM, before)
        sender.join()


def test_a_playbook_that_hangs_is_given_up(playbook, monkeypatch):
    monkeypatch.setattr(playbooks, "LIMIT_SECONDS", 4)
    with pytest.raises(EngineError, match="has not ended"):
        playbook([{"name": "Sleep", "ansible.builtin.command": {"argv": ["sleep", "600"]}}])


@pytest.fixture
def claim(playbook, tmp_path):
    """Takes a directory for an environment."""
    (tmp_path / "playbooks" / "roles").symlink_to(ROLES)

    def take(path, task="claim"):
        role = {"name": "terminals_root", "tasks_from": task}
        variables = {"terminals_root_path": str(path), "terminals_root_mode": "0750"}
        playbook([{"name": "Take", "ansible.builtin.include_role": role, "vars": variables}])

    return take


def test_a_directory_with_something_else_in_it_is_neither_taken_nor_removed(claim, tmp_path):
    precious = tmp_path / "precious things"
    precious.mkdir()
    (precious / "thesis.txt").write_text("of years")
    (precious / "conf").mkdir()
    with pytest.raises(EngineError, match="is not empty, and no environment of rollout"):
        claim(precious)
    with pytest.raises(EngineError, match=r"has no \.rollout-root"):
        claim(precious, "check")
    assert sorted(path.name for path in precious.iterdir()) == ["conf", "thesis.txt"]


@pytest.mark.parametrize(
    "there", [None, [], ["conf/programs"], ["lost+found"]], ids=["none", "empty", "of before", "a disk"]
)
def test_a_directory_of_ones_own_is_taken_and_given_back(claim, tmp_path, there):
    root = tmp_path / "root"
    for name in there or []:
        (root / name).mkdir(parents=True)
    if there == []:
        root.mkdir()
    claim(root)
    assert (root / ".rollout-root").is_file()
    claim(root)
    claim(root, "check")
    (root / "full of" / "things").mkdir(parents=True)
    (root / ".hidden").touch()
    claim(root, "remove")
    assert not root.exists()
    claim(root, "remove")


def test_an_environment_that_is_not_there_is_gone_already(claim, tmp_path):
    claim(tmp_path / "nowhere", "check")


def test_a_teardown_of_a_foreign_directory_removes_nothing(tmp_path):
    (tmp_path / "thesis.txt").write_text("of years")
    host = {**HERE, "terminals_engine": "process", "terminals_process_root": str(tmp_path)}
    with pytest.raises(EngineError, match=r"has no \.rollout-root"):
        run_playbook(
            "teardown",
            hosts={"here": host},
            variables={},
            artifacts=tmp_path / "artifacts",
            on_event=lambda event: None,
        )
    assert (tmp_path / "thesis.txt").read_text() == "of years"
