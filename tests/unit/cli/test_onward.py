"""What is ready to paste after a rollout, and the way into the page."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminals import tickets

from rollout.cli.onward import onward
from rollout.config import Config
from rollout.ledger import Ledger, State
from tests.support import summaries
from tests.support.rollouts import begun
from tests.support.stack import until

TOKEN = "a+token/of=the environment"


@pytest.fixture
def config() -> Iterator[Config]:
    with tempfile.TemporaryDirectory(prefix="rollout-") as folder:
        yield summaries.project(Path(folder))


@pytest.mark.parametrize(
    ("env", "kind", "following"),
    [
        ("dev", "deploy", "rollout promote staging --plan"),
        ("staging", "promote", "rollout status staging"),
        ("dev", "rollback", "rollout report dev"),
    ],
)
def test_a_rollout_ends_with_the_page_and_the_next_command(
    config: Config, env: str, kind: str, following: str
) -> None:
    with Ledger(config.ledger_url) as ledger:
        record = ledger.transition(begun(ledger, env=env, kind=kind).id, State.PROMOTED)
    port = {"dev": 4110, "staging": 4210}[env]
    assert list(onward(config, record)) == [
        f"page: http://127.0.0.1:{port}/ (get in with: rollout open {env})",
        f"next: {following}",
    ]


@pytest.fixture
def opened(config: Config, tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """Where a browser writes down what it was called with, and the variables of a desktop with it."""
    run = config.environment("dev").hosts["local"].root / "run"
    run.mkdir(parents=True)
    (run / "token").write_text(TOKEN)
    called, browser = tmp_path / "called", tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$@" > {called}.new && mv {called}.new {called}\n')
    browser.chmod(0o755)
    return called, {**os.environ, "DISPLAY": ":0", "BROWSER": str(browser)}


def rollout_open(config: Config, env: dict[str, str], *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rollout", "open", "dev", *more]
    folder = config.path.parent
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60)


def let_in(link: str) -> bool:
    """Whether it is the page's, with a ticket to come in with for a while."""
    page, _, ticket = link.partition("#ticket=")
    granted = tickets.read(TOKEN.encode(), ticket)
    assert page == "http://127.0.0.1:4110/"
    assert 0 < granted.ends - time.time() <= 300
    return (granted.user, granted.role) == ("", "operator")


def test_the_browser_gets_a_ticket_by_a_file_that_is_nobody_elses(
    config: Config, opened: tuple[Path, dict[str, str]]
) -> None:
    called, env = opened
    done = rollout_open(config, env)
    assert done.returncode == 0, done.stderr
    link = done.stdout.rstrip("\n")
    assert let_in(link)
    until(called.exists, "the browser")
    said = called.read_text().strip()
    assert said.startswith("file://") and "ticket" not in said
    path = Path(said.removeprefix("file://"))
    assert link in path.read_text()
    assert TOKEN not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_without_a_desktop_or_when_told_so_the_link_is_only_printed(
    config: Config, opened: tuple[Path, dict[str, str]]
) -> None:
    called, env = opened
    assert let_in(rollout_open(config, env, "--no-browser").stdout.strip())
    plain = {name: value for name, value in env.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    assert let_in(rollout_open(config, plain).stdout.strip())
    assert not called.exists()


def test_where_nothing_is_deployed_it_is_one_line(config: Config) -> None:
    done = rollout_open(config, dict(os.environ))
    assert done.returncode == 8
    assert "is anything deployed to dev?" in done.stderr and done.stderr.count("\n") == 1
