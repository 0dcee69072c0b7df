"""The command line as its user meets it: in a subprocess."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from benchmarks import help_speed, looking_speed
from rollout.errors import ExitCode

ROOT = Path(__file__).parents[3]


def rollout(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rollout", *arguments], cwd=cwd, capture_output=True, text=True, timeout=60
    )


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.fixture
def project():
    # pytest's own folders are too long for the unix sockets below them.
    with tempfile.TemporaryDirectory(prefix="rollout-") as folder:
        assert rollout("init", cwd=Path(folder)).returncode == 0
        yield Path(folder)


def edit(project: Path, old: str, new: str) -> None:
    path = project / "rollout.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_what_init_and_build_say_to_do_next_can_be_pasted(tmp_path):
    done = rollout("--config", "my own.yaml", "init", "--quick", cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "next: rollout --config 'my own.yaml' build"
    assert "quick" in (tmp_path / "my own.yaml").read_text()


def test_init_overwrites_nothing(project):
    done = rollout("init", cwd=project)
    assert done.returncode == ExitCode.USAGE
    assert "exists already" in one_line(done)


def test_status_of_a_new_project_works_as_table_and_as_json(project):
    assert "staging" in rollout("status", cwd=project).stdout
    entries = json.loads(rollout("status", "--output", "json", cwd=project).stdout)
    assert [entry["environment"] for entry in entries] == ["dev", "staging", "production"]


@pytest.mark.parametrize(
    ("old", "new", "place", "remedy"),
    [
        ("    workers: 1\n", "    wrokers: 1\n", "rollout.yaml:", "workers"),
        ("    workers: 1\n", "    workers: many\n", "rollout.yaml:", "many"),
        ("    max_hold: 60s", "    max_hold: soon", "rollout.yaml:", "soon"),
        ("    after: dev\n", "    after: nowhere\n", "rollout.yaml:", "nowhere"),
        ("version: 1\n", "version: [1\n", "rollout.yaml:", ""),
    ],
)
def test_a_mistake_in_the_configuration_is_one_line_with_its_place(project, old, new, place, remedy):
    edit(project, old, new)
    done = rollout("status", cwd=project)
    assert done.returncode == ExitCode.USAGE
    line = one_line(done)
    assert place in line and remedy in line
    assert line.split("rollout.yaml:")[1].split(":")[0].isdigit()


def test_unknown_environment_is_one_line_with_those_there_are(project):
    done = rollout("promote", "stagign", cwd=project)
    assert done.returncode == ExitCode.USAGE
    assert "staging" in one_line(done)


def test_missing_configuration_says_what_to_do(tmp_path):
    done = rollout("status", cwd=tmp_path)
    assert done.returncode == ExitCode.USAGE
    assert "rollout init" in one_line(done)


def test_promotion_without_evidence_is_refused_and_touches_nothing(project):
    done = rollout("promote", "staging", cwd=project)
    assert done.returncode == ExitCode.REFUSED
    assert "rollout deploy dev" in one_line(done)
    assert not (project / ".rollout" / "env").exists()


def test_deploy_without_a_build_says_how_to_make_one(project):
    done = rollout("deploy", "dev", cwd=project)
    assert done.returncode == ExitCode.USAGE
    assert "rollout build" in one_line(done)


def test_misspelt_command_is_one_line_with_the_right_one(tmp_path):
    done = rollout("promoet", cwd=tmp_path)
    assert done.returncode == ExitCode.USAGE
    assert '"promote"' in one_line(done)


@pytest.mark.parametrize(("old", "new"), [("verify", "infra"), ("watch", "soak")])
def test_a_command_that_was_renamed_is_one_line_with_its_name(tmp_path, old, new):
    done = rollout(old, "staging", cwd=tmp_path)
    assert done.returncode == ExitCode.USAGE
    assert f'No command "{old}". It is called "{new}" now.' in one_line(done)


def test_every_command_has_help_with_an_example(tmp_path):
    from rollout.cli import _COMMANDS

    for name in _COMMANDS:
        done = rollout(name, "--help", cwd=tmp_path)
        assert done.returncode == 0
        assert f"rollout {name}" in done.stdout.split("Example:")[1]


def test_help_lists_the_exit_codes(tmp_path):
    text = rollout("--help", cwd=tmp_path).stdout
    for code in ExitCode:
        assert code.meaning in text


def test_a_shell_completes_commands_and_environments(project):
    """As the README says to switch it on, in a real bash."""
    command = next(line for line in (ROOT / "README.md").read_text().splitlines() if "bash_source" in line)
    edit(project, "  production:\n", "  stage-two:\n")

    def completed(*words: str) -> list[str]:
        script = f"""
            PATH={Path(sys.executable).parent}:$PATH
            {command}
            COMP_WORDS=({" ".join(words)}) COMP_CWORD={len(words) - 1}
            _rollout_completion rollout && printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        return subprocess.check_output(["bash", "-c", script], cwd=project, text=True).split()

    assert completed("rollout", "pro") == ["provision", "promote"]
    assert completed("rollout", "promote", "st") == ["staging", "stage-two"]
    assert completed("rollout", "gates", "explain", "d") == ["dev"]
    (project / "rollout.yaml").write_text("environments: [")
    assert completed("rollout", "promote", "st") == []


def test_help_imports_nothing_heavy(tmp_path):
    script = (
        "import sys\n"
        "sys.argv = ['rollout', '--help']\n"
        "from rollout.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'ansible', 'ansible_runner', 'locust', 'scipy', 'sqlalchemy', 'pydantic', 'rich'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_help_answers_within_one_and_a_half_imports_of_click_plus_100_ms():
    figures = help_speed.measure(rounds=15)
    assert figures.help_ms <= 1.5 * figures.click_ms + 100, figures


@pytest.mark.slow("thirty commands, one after the other")
def test_what_only_looks_takes_few_imports_of_what_it_reads_with(short_path):
    looking_speed.project(short_path)
    taken = looking_speed.measure(short_path, rounds=3)
    yardstick = taken.pop("yardstick")
    # The last judges, too, for which it needs a part of scipy.
    limits = {"status": 3.0, "history": 3.0, "gates explain dev": 4.75}
    times = {name: seconds / yardstick for name, seconds in taken.items()}
    assert times.keys() == limits.keys()
    assert [name for name in limits if times[name] > limits[name]] == [], times
