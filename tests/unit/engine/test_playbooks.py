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

COLLECTION = Path("ansible_collections", *playbooks.COLLECTION.split("."))
HERE = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}


@pytest.mark.parametrize("engine", ["terminals_process", "terminals_docker"])
def test_every_engine_keeps_the_contract(engine):
    """What a playbook asks of the host's engine, each role has."""
    asked = set()
    for path in (folder() / COLLECTION / "playbooks").glob("*.yml"):
        for play in yaml.safe_load(path.read_text()):
            for task in play.get("tasks", []):
                role = task.get("ansible.builtin.include_role", {})
                if "terminals_engine" in role.get("name", ""):
                    asked.add(role["tasks_from"])
    assert asked >= {"install", "start", "stop", "teardown"}
    tasks = folder() / COLLECTION / "roles" / engine / "tasks"
    assert asked == {path.stem for path in tasks.iterdir()}


def test_missing_variable_is_one_line_before_anything_is_done(tmp_path):
    hosts = {"local": {"ansible_connection": "local", "terminals_engine": "process"}}
    with pytest.raises(EngineError, match=r"terminals_process_.*is undefined") as error:
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


@pytest.fixture
def playbook(tmp_path, monkeypatch):
    """Runs tasks on this machine, as the playbooks are run."""
    made = tmp_path / "made"
    (made / COLLECTION / "playbooks").mkdir(parents=True)
    monkeypatch.setattr(playbooks, "folder", lambda: made)

    def run(tasks, *, hosts=("here",), variables=None, own=None):
        play = [{"hosts": "all", "gather_facts": False, "tasks": tasks}]
        (made / COLLECTION / "playbooks" / "play.yml").write_text(yaml.safe_dump(play))
        inventory = {host: {**HERE, **(own or {})} for host in hosts}
        run_playbook(
            "play",
            hosts=inventory,
            variables=variables or {},
            artifacts=tmp_path / "artifacts",
            on_event=lambda event: None,
        )

    return run


def test_no_value_is_a_template(playbook, tmp_path):
    """What stands in a rollout.yaml is text, and never runs on the machine of whoever reads it."""
    text = "{{ lookup('pipe', 'id -un') }} {% raw %} {# no #} {{ 7 * 7 }}"
    config = {"env": {"FORMAT": text, "LIST": [text, {"deep": text}]}, "plain": "a b", "number": 3}
    said = tmp_path / "said"
    say = f"import json, sys; open('{said}', 'w').write(json.dumps(sys.argv[1:]))"
    argv = [sys.executable, "-c", say, "{{ mine | to_json }}", "{{ everybodys | to_json }}"]
    task = {"name": "Say", "ansible.builtin.command": {"argv": argv}}
    playbook([task], own={"mine": config}, variables={"everybodys": config})
    mine, everybodys = json.loads(said.read_text())
    assert json.loads(mine) == json.loads(everybodys) == config


@pytest.mark.parametrize(
    "theirs",
    [
        {"LC_ALL": "C"},
        {
            "LANG": "de_DE.UTF-8",
            "ANSIBLE_RUN_TAGS": "web",
            "ANSIBLE_SKIP_TAGS": "always",
            "ANSIBLE_STRATEGY": "nosuch",
            "ANSIBLE_BECOME_ASK_PASS": "true",
            "ANSIBLE_CHECK_MODE_MARKERS": "true",
        },
    ],
    ids=["locale", "ansible"],
)
def test_nothing_of_the_operators_own_reaches_a_playbook(playbook, monkeypatch, tmp_path, theirs):
    for name, value in theirs.items():
        monkeypatch.setenv(name, value)
    playbook([{"name": "Say", "ansible.builtin.shell": {"cmd": f"echo 'grüße' > {tmp_path}/said"}}])
    assert (tmp_path / "said").read_text() == "grüße\n"
    assert {name: os.environ[name] for name in theirs} == theirs


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
    playbook([{"name": "Say", "ansible.builtin.command": {"argv": ["touch", f"{tmp_path}/said"]}}])
    assert (tmp_path / "said").exists()


def test_ansible_does_not_ask_its_workers_a_thousand_times_a_second(playbook, tmp_path):
    asks = "{{ lookup('ansible.builtin.config', 'DEFAULT_INTERNAL_POLL_INTERVAL') }}"
    playbook([{"name": "Say", "ansible.builtin.shell": {"cmd": f"echo {asks} > {tmp_path}/said"}}])
    assert float((tmp_path / "said").read_text()) >= 0.01


def test_no_host_is_an_error_and_so_is_one_on_which_nothing_was_done(playbook):
    echo = {"name": "Say", "ansible.builtin.command": {"argv": ["true"]}}
    with pytest.raises(EngineError, match="no host"):
        playbook([echo], hosts=())
    once = {**echo, "run_once": True}
    with pytest.raises(EngineError, match="nothing was done on"):
        playbook([once], hosts=("one", "two"))


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        *(
            pytest.param(one, marks=pytest.mark.slow("as its neighbour"))
            for one in (signal.SIGTERM, signal.SIGHUP)
        ),
    ],
)
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
        log = next((tmp_path / "artifacts").glob("*.log"))
        assert "TASK [Sleep]" in log.read_text()
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
    wait = f"touch {there}; while [ ! -f {there}.go ]; do sleep 0.05; done; touch {there}.done"
    threading.Thread(target=lambda: (until(lambda: heard, "the signal"), Path(f"{there}.go").touch())).start()
    try:
        playbook([{"name": "Wait", "ansible.builtin.shell": {"cmd": wait}}])
        assert Path(f"{there}.done").exists()
    finally:
        signal.signal(signal.SIGTERM, before)
        sender.join()


def test_a_playbook_that_hangs_is_given_up(playbook, monkeypatch):
    monkeypatch.setattr(playbooks, "LIMIT_SECONDS", 4)
    with pytest.raises(EngineError, match="has not ended"):
        playbook([{"name": "Sleep", "ansible.builtin.command": {"argv": ["sleep", "600"]}}])


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
