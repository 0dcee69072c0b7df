"""Fixtures: few and real. Which tests belong together, and what a failure shows."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support import docker, logs, tiers, wheels
from tests.support.lab import TheLab
from tests.support.stack import Stack, running

# Started in the background by a shell without jobs, this process ignores Ctrl-C, and so would all that it
# starts, of which tests want to see what Ctrl-C does.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Hundreds of processes are started: each would compile again all that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# How fast examples are made and run is the machine's affair: it has other things to do beside.
settings.register_profile("loaded", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("loaded")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        os.environ[docker.RUN] = tempfile.mkdtemp(prefix="rollout-images-")
        os.environ[wheels.FOLDER] = tempfile.mkdtemp(prefix="rollout-wheels-")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Images that processes of this run shared go with the last of them."""
    if not hasattr(config, "workerinput"):
        folder = Path(os.environ.pop(docker.RUN))
        docker.remove_what_the_run_has_made(folder)
        shutil.rmtree(folder)
        shutil.rmtree(os.environ.pop(wheels.FOLDER))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    tiers.assign(items)  # before xdist reads the groups
    result = yield
    tiers.long_first(items)  # after the shuffling
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if report.failed:
        report.sections.extend(logs.of_the_living())
    return report


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder with a short path: names of unix sockets below pytest's own can be too long."""
    with tempfile.TemporaryDirectory(prefix="rollout-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def the_lab() -> Iterator[TheLab]:
    """The lab of this run: ``the_lab.fresh(dev=1)`` gives new hosts; skipped where there can be none."""
    lab = TheLab()
    yield lab
    lab.close()


@pytest.fixture
def stack() -> Iterator[Stack]:
    """A session manager with one generation, g1, at full weight."""
    with running() as stack:
        yield stack


@pytest.fixture
def calm_stack() -> Iterator[Stack]:
    """A stack that never takes a quick series of cuts for a reconnection loop."""
    with running(stable_seconds=0) as stack:
        yield stack


@pytest.fixture
def forgetful_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """A calm stack that remembers the input positions of only four clients of a session."""
    (tmp_path / "sitecustomize.py").write_text(
        "import terminals.manager.inputs\nterminals.manager.inputs.REMEMBERED_CLIENTS = 4\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with running(stable_seconds=0) as stack:
        yield stack
