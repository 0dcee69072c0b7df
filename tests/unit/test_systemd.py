"""The unit that is offered for the holder: systemd understands it, and it is of what is installed."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.terminals.rollout.plugins.module_utils.host import Host
from ansible_collections.terminals.rollout.plugins.module_utils.process import Environment
from click.testing import CliRunner
from terminals.cli import main

ROOT = Path(__file__).parents[2]
ROLES = ROOT / "playbooks" / "ansible_collections" / "terminals" / "rollout" / "roles"
UNIT = ROLES / "terminals_process" / "files" / "terminals-holder@.service"


@pytest.fixture
def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    return parser


def test_systemd_understands_it(tmp_path):
    program = tmp_path / "base" / "venv" / "bin" / "terminals"
    program.parent.mkdir(parents=True)
    program.symlink_to("/bin/true")
    # As of an instance: there is no template to be verified.
    text = UNIT.read_text().replace("%f", str(tmp_path))
    (tmp_path / "terminals-holder.service").write_text(text)
    verify = [shutil.which("systemd-analyze") or "", "verify", str(tmp_path / "terminals-holder.service")]
    done = subprocess.run(verify, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "terminals-holder.service").write_text(text.replace("OOMPolicy=continue", "OOMPolicy=never"))
    assert "OOM policy" in subprocess.run(verify, capture_output=True, text=True).stderr


def test_it_starts_the_holder_by_the_socket_that_managers_come_to(unit):
    command = unit["Service"]["ExecStart"].replace("%f", "/srv/terminals/dev")
    supervised = configparser.ConfigParser(interpolation=None)
    supervised.read_string(Environment(Host(), Path("/srv/terminals/dev")).supervised())
    assert supervised["program:holder"]["command"] == command
    _, command, *options = command.split()
    said = CliRunner().invoke(main, [command, "--help"])
    assert said.exit_code == 0
    assert options[0] in said.output


def test_nobody_s_shell_takes_the_others_with_it(unit):
    assert unit["Service"]["OOMPolicy"] == "continue"
    assert unit["Service"]["KillMode"] == "mixed"
