"""What keeps tests together and apart does so: seen in a run of a small suite of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow("runs of tests in themselves, of rules that hardly ever change")
ROOT = Path(__file__).parents[2]
CONFTEST = """
import pytest
from tests.support import logs, tiers

def pytest_configure(config):
    for mark in ("docker", "in_order", "rollout", "slow"):
        config.addinivalue_line("markers", mark)

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items):
    tiers.assign(items)
    result = yield
    tiers.long_first(items)
    return result

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    report = yield
    if report.failed:
        report.sections.extend(logs.of_the_living())
    return report
"""
SHARED = """
import os, pathlib, pytest

@pytest.fixture(scope="module")
def dear():
    with open("made-{name}", "a") as file:
        print(os.getpid(), file=file)

@pytest.mark.parametrize("number", range(6))
def test_shares(dear, number):
    pass
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "conftest.py").write_text(CONFTEST)
    for name in "abc":
        (tmp_path / "tests" / f"test_{name}.py").write_text(SHARED.replace("{name}", name))
    return tmp_path


def run(suite: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Pytest with the settings of this project, in that folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", ".", "-c", os.devnull,
         "--dist=loadgroup", "--no-loadscope-reorder", *words, "tests"],
        cwd=suite, env={**environment, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_what_a_module_shares_is_made_once_on_however_many_processes(suite):
    done = run(suite, "-n", "3")
    assert done.returncode == 0, done.stdout
    assert "18 passed" in done.stdout
    for name in "abc":
        assert len((suite / f"made-{name}").read_text().split()) == 1, done.stdout


@pytest.mark.parametrize("mark", ["docker", "docker('lab')"])
def test_what_uses_the_engine_is_never_beside_each_other(suite, mark):
    for name in "ab":
        (suite / "tests" / f"test_{name}.py").write_text(
            f"import os, pytest\npytestmark = pytest.mark.{mark}\n"
            "@pytest.mark.parametrize('number', range(4))\n"
            "def test_it(number):\n    print(os.getpid(), file=open('engine', 'a'))\n"
        )
    assert run(suite, "-n", "3").returncode == 0
    assert len(set((suite / "engine").read_text().split())) == 1


def test_long_ones_come_first_in_any_order(suite):
    (suite / "tests" / "test_z.py").write_text(
        "import pytest\n"
        "@pytest.mark.docker\ndef test_engine(): pass\n"
        "@pytest.mark.rollout\ndef test_long(): pass\n"
    )
    for seed in "123":
        done = run(suite, "-v", f"--randomly-seed={seed}")
        names = [line.partition("::")[2].split()[0] for line in done.stdout.splitlines() if " PASSED" in line]
        assert names[:2] == ["test_engine", "test_long"], done.stdout


def test_stages_come_in_the_order_of_their_file(suite):
    (suite / "tests" / "test_z.py").write_text(
        "import pytest\npytestmark = pytest.mark.in_order\n"
        + "".join(f"def test_stage_{number}(): pass\n" for number in range(5))
    )
    for seed in "123":
        done = run(suite, "-v", f"--randomly-seed={seed}")
        names = [line.partition("::")[2].split()[0] for line in done.stdout.splitlines() if " PASSED" in line]
        assert [name for name in names if "stage" in name] == [f"test_stage_{number}" for number in range(5)]


@pytest.mark.parametrize("mark", ["slow", "slow()", "slow('')", "slow(7)"])
def test_slow_without_a_reason_is_refused(suite, mark):
    (suite / "tests" / "test_z.py").write_text(f"import pytest\n@pytest.mark.{mark}\ndef test_it(): pass\n")
    done = run(suite)
    assert done.returncode != 0
    assert "slow needs its reason" in done.stdout + done.stderr


FAILING = """
import pytest
from tests.support import logs

class Environment:
    def __init__(self, said):
        self.said = said
        logs.show_when_failing(self)
    def logs(self):
        if self.said is None:
            raise OSError("its folder is gone")
        return {"the manager": self.said}

@pytest.fixture
def living():
    environment = Environment("once upon a time " + "x" * 5000 + " the disk is full")
    yield environment
    logs.forget(environment)

def test_fails(living):
    assert False

def test_fails_without_logs():
    Environment(None)
    kept = Environment(None)
    assert False, "the failure itself"
"""


def test_a_failure_shows_the_ends_of_the_logs_of_what_is_up(suite):
    (suite / "tests" / "test_z.py").write_text(FAILING)
    done = run(suite, "-p", "no:randomly")
    first, _, second = done.stdout.partition("test_fails_without_logs")
    assert "log of the manager" in first
    assert "the disk is full" in first
    assert "once upon a time" not in first.partition("log of the manager")[2]
    assert "the disk is full" not in second
    assert "the failure itself" in second
    assert "no logs: OSError('its folder is gone')" in second
