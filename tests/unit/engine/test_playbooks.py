from pathlib import Path

import pytest
import yaml

from rollout.engine import ShiftResult
from rollout.engine.playbooks import folder, run_playbook
from rollout.errors import EngineError

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
