"""The collection as others get it: built, installed elsewhere, read and run by plain Ansible."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from rollout.engine.playbooks import COLLECTION, folder
from tests.support.project import ROOT

SOURCE = folder() / "ansible_collections" / Path(*COLLECTION.split("."))
MODULES = sorted(path.stem for path in (SOURCE / "plugins" / "modules").glob("*.py"))


@pytest.fixture(scope="module")
def ansible(tmp_path_factory):
    """Calls a program of Ansible that finds nothing but the installed collection."""
    place = tmp_path_factory.mktemp("collections")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment |= {"ANSIBLE_COLLECTIONS_PATH": str(place), "ANSIBLE_NOCOLOR": "true"}

    def call(program: str, *words: str) -> str:
        command = [str(Path(sys.executable).with_name(program)), *words]
        done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    call("ansible-galaxy", "collection", "build", "--output-path", str(place), str(SOURCE))
    archive = next(place.glob("*.tar.gz"))
    call(
        "ansible-galaxy", "collection", "install", "--offline", "--collections-path", str(place), str(archive)
    )
    return call


def test_it_has_the_version_of_the_toolkit():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert yaml.safe_load((SOURCE / "galaxy.yml").read_text())["version"] == project["version"]


def test_every_module_is_documented_as_it_is(ansible):
    found = json.loads(ansible("ansible-doc", "--json", *(f"{COLLECTION}.{name}" for name in MODULES)))
    assert sorted(found) == [f"{COLLECTION}.{name}" for name in MODULES]
    for name in MODULES:
        module = found[f"{COLLECTION}.{name}"]
        plugin = importlib.import_module(f"ansible_collections.{COLLECTION}.plugins.modules.{name}")
        assert _taken(module["doc"]["options"], "suboptions") == _taken(plugin.SPEC, "options"), name
        assert module["doc"]["attributes"]["check_mode"]["support"] in ("full", "partial")
        assert module["examples"].strip()
        assert "did" in module["return"]


def _taken(options, inner):
    """What is to be known of options; those that are in one are its ``inner``."""
    return {
        name: {
            **{key: option.get(key) for key in ("type", "default", "choices", "elements")},
            "required": option.get("required", False),
            "inner": _taken(option.get(inner, {}), inner),
        }
        for name, option in options.items()
    }


def test_every_module_is_told_of_in_the_readme():
    text = (SOURCE / "README.md").read_text()
    assert [name for name in MODULES if f"`{name}`" not in text] == []


def test_a_playbook_of_it_runs_with_nothing_of_ours_around_it(ansible, tmp_path):
    root = tmp_path / "never"
    inventory = tmp_path / "inventory.json"
    host = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "terminals_engine": "process",
        "terminals_process_root": str(root),
        "terminals_process_build": "0.1.0-000000000000",
        "terminals_process_build_source": "/nowhere",
        "terminals_process_uv": "uv",
        "terminals_process_python": sys.executable,
    }
    inventory.write_text(json.dumps({"all": {"hosts": {"local": host}}}))
    words = ("--inventory", str(inventory), "--check", "--diff", f"{COLLECTION}.install")
    assert "changed=1" in ansible("ansible-playbook", *words)
    assert not root.exists()
