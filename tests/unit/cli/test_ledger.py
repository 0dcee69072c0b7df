"""``rollout ledger`` as its user meets it: in a subprocess."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout.errors import ExitCode
from rollout.ledger import Ledger
from tests.unit.ledger.filled import attacker, fill


@pytest.fixture
def project() -> Iterator[Path]:
    """A project whose ledger has something of everything."""
    # pytest's own folders are too long for the unix sockets below them.
    with tempfile.TemporaryDirectory(prefix="rollout-") as folder:
        assert rollout(Path(folder), "init").returncode == 0
        with Ledger(url(Path(folder))) as ledger:
            fill(ledger)
        yield Path(folder)


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/.rollout/ledger.db"


def rollout(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rollout", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def edit(folder: Path) -> None:
    with attacker(url(folder)) as connection:
        connection.exec_driver_sql("UPDATE verdicts SET verdict = 'pass' WHERE key = 2")


def test_a_whole_ledger_says_so_with_its_head(project):
    done = rollout(project, "ledger", "verify")
    assert (done.returncode, done.stderr) == (0, "")
    with Ledger(url(project)) as ledger:
        seq, head = ledger.head()
    assert done.stdout.splitlines()[1] == f"head {seq} {head}"
    assert f"whole: {seq} entries" in done.stdout


def test_head_can_be_written_down_and_verified_later(project):
    seq, head = rollout(project, "ledger", "head").stdout.split()
    assert json.loads(rollout(project, "ledger", "head", "--output", "json").stdout) == {
        "seq": int(seq),
        "hash": head,
    }
    assert rollout(project, "ledger", "verify", "--head", head).returncode == 0
    done = rollout(project, "ledger", "verify", "--head", "0" * 63 + "1")
    assert done.returncode == ExitCode.CHECKS_FAILED
    assert "cut off" in done.stderr


def test_an_edit_is_placed_in_one_line_with_exit_code_9(project):
    edit(project)
    done = rollout(project, "ledger", "verify")
    assert done.returncode == ExitCode.CHECKS_FAILED
    assert done.stdout.strip().startswith("verdicts row 2 (staging #1), chain entry ")
    assert done.stderr.count("\n") == 1
    assert "ledger: 1 not as it was written, the first: verdicts row 2 (staging #1), chain" in done.stderr


def test_an_edit_is_placed_as_json(project):
    edit(project)
    done = rollout(project, "ledger", "verify", "--output", "json")
    assert done.returncode == ExitCode.CHECKS_FAILED
    (flaw,) = json.loads(done.stdout)["flaws"]
    assert (flaw["table"], flaw["key"], flaw["env"], flaw["number"]) == ("verdicts", 2, "staging", 1)
    assert flaw["entry"] > 0


def test_a_head_that_is_none_is_a_usage_error(project):
    done = rollout(project, "ledger", "verify", "--head", "abc")
    assert done.returncode == ExitCode.USAGE
    assert "64 hexadecimal" in done.stderr


def test_a_ledger_with_rows_that_make_no_sense_is_one_line_for_other_commands(project):
    with attacker(url(project)) as connection:
        connection.exec_driver_sql("UPDATE rollouts SET state = 'promotee' WHERE id = 1")
    done = rollout(project, "history")
    assert done.returncode == ExitCode.ENGINE
    assert "rollout ledger verify" in done.stderr and done.stderr.count("\n") == 1


def test_a_database_that_cannot_be_reached_is_one_line(project):
    text = (project / "rollout.yaml").read_text()
    assert "\nledger: null" in text
    line = "\nledger: postgresql://team:hidden-word@127.0.0.1:1/ledger"
    (project / "rollout.yaml").write_text(text.replace("\nledger: null", line, 1))
    done = rollout(project, "ledger", "verify")
    assert done.returncode == ExitCode.USAGE
    assert done.stderr.count("\n") == 1 and "hidden-word" not in done.stderr


def test_a_url_that_stands_twice_in_the_configuration_is_not_repeated(project):
    text = (project / "rollout.yaml").read_text()
    line = "ledger: postgresql://team:hidden-word@127.0.0.1:1/ledger\n"
    (project / "rollout.yaml").write_text(text + line)
    done = rollout(project, "ledger", "head")
    assert done.returncode == ExitCode.USAGE
    assert 'duplicate key "ledger"; remove one' in done.stderr and "hidden-word" not in done.stderr


@pytest.mark.parametrize("name", ["verify", "head"])
def test_each_has_help_with_an_example(tmp_path, name):
    done = rollout(tmp_path, "ledger", name, "--help")
    assert f"rollout ledger {name}" in done.stdout.split("Example:")[1]
