from pathlib import Path

import pytest
import yaml

from rollout.engine import ShiftResult
from rollout.engine.playbooks import folder, run_playbook
from rollout.errors import EngineError

ROLE = folder() / "roles" / "terminals_process"


def test_every_playbook_has_its_tasks_and_its_argument_spec():
    specs = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    playbooks = {path.stem for path in folder().glob("*.yml")}
    assert playbooks == set(specs)
    assert all((ROLE / "tasks" / f"{name}.yml").is_file() for name in playbooks)


def test_missing_variable_is_one_line_before_anything_is_done(tmp_path):
    hosts = {"local": {"ansible_connection": "local"}}
    with pytest.raises(EngineError, match="terminals_process_root") as error:
        run_playbook("install", hosts=hosts, variables={}, artifacts=tmp_path, on_event=lambda event: None)
    assert "\n" not in error.value.message


def test_results_of_several_hosts_add_up_and_the_slowest_counts():
    total = ShiftResult(3, 1, 0, 0, 2.0, 1.0) + ShiftResult(4, 0, 1, 2, 1.0, 0.5)
    assert total == ShiftResult(7, 1, 1, 2, 2.0, 1.0)


def test_unreachable_host_is_said(tmp_path: Path):
    hosts = {"gone": {"ansible_host": "127.0.0.1", "ansible_port": 1, "terminals_process_root": "/nowhere"}}
    with pytest.raises(EngineError, match="gone"):
        run_playbook("teardown", hosts=hosts, variables={}, artifacts=tmp_path, on_event=lambda event: None)
