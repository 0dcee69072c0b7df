"""The infra suite: pytest-testinfra asks hosts over SSH whether they are as declared.

The tests themselves are in ``tests/infra``, which comes along with the package. What they compare with,
:class:`Expected`, is written as JSON; what they found is read from pytest's JUnit report.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rollout.checks.runner import CheckResult
from rollout.errors import EngineError

SUITE = "infra"
ENDED = re.compile(r"::test_(\w+).* (?:PASSED|FAILED|ERROR)")

BEFORE = re.compile(r'^(failed on \w+ with ")?(AssertionError: |Failed: )?')
"""What pytest puts before the words of a test."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A container, or those of a name pattern, that may run on a host.

    ``images`` are the ids of the images it may run, each with the digest of its build's content;
    ``runs``: it has to run. ``memory``: bytes that it may take; 0 where any limit will do, or none was
    declared.
    """

    images: dict[str, str]
    runs: bool
    memory: int = 0


@dataclass(frozen=True, slots=True)
class Expected:
    """What one host is to be like.

    ``user`` is ``uid:gid`` in the containers; ``published`` are ports of the host, as ``address:port``.
    """

    environment: str
    host: str
    project: str
    root: str
    user: str
    published: tuple[str, ...]
    containers: dict[str, Declared]
    ended: tuple[str, ...]
    """Name patterns of containers whose time is up: one that still runs is waited for, and then is extra."""
    web_network: str = "none"
    """What web processes may be in; or none, where they were started before that was declared."""
    manager_network: str = "none"
    """The same of the session manager."""
    swarm_network: str = ""
    """What the containers of generations are in, where a Swarm runs them; "": none does."""


def infra(
    expected: Expected,
    *,
    tests: Path,
    ssh: str,
    options: Sequence[str],
    artifacts: Path,
    on_progress: Callable[[str], None] = lambda text: None,
) -> list[CheckResult]:
    """Run the tests in ``tests`` against the host that ``ssh`` with ``options`` reaches by that name.

    ``artifacts`` keeps what was expected and what was found.

    Raises:
        EngineError: the tests could not be run at all.
    """
    artifacts.mkdir(parents=True, exist_ok=True)
    wanted, found = artifacts / f"{expected.host}.json", artifacts / f"{expected.host}.xml"
    wanted.write_text(json.dumps(asdict(expected), indent=2) + "\n")
    found.unlink(missing_ok=True)
    config = artifacts / f"{expected.host}.ssh"
    config.write_text(_ssh_config(options))
    command = [
        *(sys.executable, "-m", "pytest", str(tests), "--verbose", "--import-mode=importlib"),
        # Nobody else's settings and plugins: the folder may lie anywhere.
        *("-c", os.devnull, "--rootdir", str(tests), "--confcutdir", str(tests)),
        *("-p", "testinfra.plugin", "-p", "no:cacheprovider"),
        *("--hosts", f"ssh://{ssh}", "--ssh-config", str(config)),
        *("--expected", str(wanted), "--junitxml", str(found)),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"}
    started = time.time()
    said = []
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if match := ENDED.search(line):
                on_progress(f"{expected.host}: {_words(match[1])}")
    (artifacts / f"{expected.host}.log").write_text("".join(said))
    # 0: all passed; 1: some did not. Whatever else pytest ends with, the tests have not all been run.
    if process.returncode not in (0, 1) or not found.is_file():
        last = " ".join("".join(said).split())[-300:]
        raise EngineError(f"{expected.host}: the infra tests did not run: {last or process.returncode}")
    return _results(found, expected.host, started)


def _ssh_config(options: Sequence[str]) -> str:
    """Options of ssh's command line as a file: the one thing that testinfra hands on to it.

    What comes first counts, so the user's own file is read last.
    """
    lines, files = ["BatchMode yes", "ServerAliveInterval 10"], ["~/.ssh/config", "/etc/ssh/ssh_config"]
    for flag, value in zip(options[::2], options[1::2], strict=True):
        if flag == "-F":
            files = [value]
        else:
            lines.append(" ".join(value.split("=", 1)))
    return "\n".join([*lines, *(f'Include "{file}"' for file in files), ""])


def _results(report: Path, host: str, started: float) -> list[CheckResult]:
    results = []
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - our own pytest has just written it
        seconds = float(case.get("time", 0))
        bad = [child for child in case if child.tag in ("failure", "error", "skipped")]
        saw = "; ".join(str(item.get("value")) for item in case.iter("property"))
        # The first line is what the test says; the others show its code.
        lines = ((bad[0].get("message") if bad else saw) or "").strip().splitlines() or [""]
        detail = BEFORE.sub("", " ".join(lines[0].split())).rstrip('"')
        name = _words(case.get("name", "").partition("[")[0].removeprefix("test_"))
        results.append(CheckResult(SUITE, host, name, not bad, started, seconds, detail))
        started += seconds
    return results


def _words(name: str) -> str:
    return name.replace("_", " ")
