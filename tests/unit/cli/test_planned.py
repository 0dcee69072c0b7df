"""``--plan`` shows the plan and everything in its way, always; a real run is refused with that very list."""

from __future__ import annotations

import json
import os
import shutil
import socket
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rollout.build.store import MANIFEST, WHEELS
from rollout.cli import main
from rollout.config import Config, load
from rollout.config.starting import USUAL_PORTS, text
from rollout.errors import ExitCode
from rollout.ledger import Lease, Ledger, State
from rollout.model import GateResult, Verdict
from rollout.pipeline.obstacles import Obstacle
from rollout.pipeline.promotion import _ways
from tests.support.ports import free_ports
from tests.support.rollouts import begun

ROOT = Path(__file__).parents[3]
BUILD = "1-abc"


@pytest.fixture
def project(short_path: Path) -> Iterator[Path]:
    """Nothing runs, and there is one build."""
    # Of this process' own ports: the usual ones are what others look for, too, at the same time.
    ports = {name: tuple(free_ports(len(usual))) for name, usual in USUAL_PORTS.items()}
    (short_path / "rollout.yaml").write_text(text("installed", ports=ports))
    folder = load(short_path / "rollout.yaml").builds_dir / BUILD
    (folder / WHEELS).mkdir(parents=True)
    manifest = {"id": BUILD, "version": "1", "digest": "abc", "revision": "", "created": 1.0}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    services = ROOT / "services"
    with zipfile.ZipFile(folder / WHEELS / "terminal_services-1-py3-none-any.whl", "w") as wheel:
        for path in (services / "terminals").rglob("*.py"):
            wheel.write(path, path.relative_to(services))
    yield short_path


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


Rollout = Callable[..., Done]


@pytest.fixture
def rollout(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Rollout:
    """The command, in this process: starting a dozen takes longer than what they do."""
    monkeypatch.chdir(project)

    def run(*words: str) -> Done:
        monkeypatch.setattr("sys.argv", ["rollout", *words])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        return Done(code, said.out, said.err)

    return run


def config(project: Path) -> Config:
    return load(project / "rollout.yaml")


def on_dev(project: Path, *, ended: bool = True) -> None:
    """Dev was judged, and everything passed; but nobody has watched it yet."""
    with Ledger(config(project).ledger_url) as ledger:
        record = begun(ledger, build=BUILD, digest="abc", generation="g1")
        gates = [gate.name for gate in config(project).environment("dev").gates]
        results = [GateResult(name, Verdict.PASS, 1.0, None, 9, f"{name} is good") for name in gates]
        ledger.record_verdicts(record.id, "gate", results, [])
        if ended:
            ledger.transition(record.id, State.PROMOTED)


def reasons(stderr: str) -> list[str]:
    return [line.removeprefix("  - ") for line in stderr.splitlines() if line.startswith("  - ")]


def test_a_promotion_is_planned_in_spite_of_all_that_is_in_its_way(project: Path, rollout: Rollout) -> None:
    on_dev(project)
    done = rollout("promote", "staging", "--plan")
    assert done.returncode == ExitCode.REFUSED
    lines = done.stdout.splitlines()
    assert lines[0] == f"promote {BUILD} to staging as g1"
    assert any(line.split()[1:2] == ["install"] for line in lines)
    found = lines[lines.index("In its way:") + 1 :]
    assert any(f"{BUILD} was observed in dev for" in line for line in found)
    assert any("dev does not serve" in line for line in found)
    assert done.stderr == "rollout: staging: as it is now, this would be refused\n"


def test_what_is_shown_is_what_it_is_refused_with(project: Path, rollout: Rollout) -> None:
    on_dev(project)
    planned = rollout("promote", "staging", "--plan", "--output", "json")
    data: dict[str, Any] = json.loads(planned.stdout)
    assert planned.returncode == ExitCode.REFUSED
    assert data["build"] == BUILD and data["forward"] and data["backward"]
    refused = rollout("promote", "staging")
    assert refused.returncode == ExitCode.REFUSED and not refused.stdout
    said = [obstacle["text"] for obstacle in data["obstacles"]]
    # What was observed grows meanwhile.
    assert [text.split(" for ")[0] for text in said] == [
        text.split(" for ")[0] for text in reasons(refused.stderr)
    ]
    assert {"text", "retry_after", "overridable"} == data["obstacles"][0].keys()


def test_what_a_promotion_is_refused_for_is_explained(project: Path, rollout: Rollout) -> None:
    on_dev(project)
    refused = rollout("promote", "staging").stderr
    explained = rollout("gates", "explain", "dev").stdout
    for gate in config(project).environment("dev").soak_gates:
        assert gate.name in refused
        assert f"inconclusive: {gate.name}" in explained.splitlines()
    assert "not judged yet" not in explained
    assert "(dev #1, now)" in explained


def test_a_refusal_has_one_reason_a_line_and_the_ways_out_at_its_end(project: Path, rollout: Rollout) -> None:
    on_dev(project)
    lines = rollout("promote", "staging").stderr.splitlines()
    assert lines[0] == f"rollout: not done, for {len(lines) - 3} reasons:"
    assert lines[-2:] == [
        "ways out:",
        "  what each soak gate asks and measured: rollout gates explain dev",
    ]
    assert not any("also" in line or line.count("soak gate") > 1 for line in lines[1:-2])


def test_one_reason_is_one_line(rollout: Rollout) -> None:
    done = rollout("promote", "staging")
    assert done.stderr.startswith("rollout: nothing has been promoted in dev yet")
    assert done.stderr.count("\n") == 1
    done = rollout("promote", "staging", "--plan", "--output", "json")
    assert done.returncode == ExitCode.REFUSED
    data = json.loads(done.stdout)
    assert (data["env"], data["kind"]) == ("staging", "promote")
    assert ["rollout deploy dev" in obstacle["text"] for obstacle in data["obstacles"]] == [True]


def test_a_build_that_is_gone_is_one_reason_more(project: Path, rollout: Rollout) -> None:
    on_dev(project)
    shutil.rmtree(config(project).builds_dir / BUILD)
    done = rollout("promote", "staging")
    assert done.returncode == ExitCode.REFUSED
    assert any("no build yet; make one with: rollout build" in reason for reason in reasons(done.stderr))
    assert rollout("promote", "staging", "--plan").returncode == ExitCode.REFUSED


def test_a_deployment_beside_what_is_unfinished(project: Path, rollout: Rollout) -> None:
    on_dev(project, ended=False)
    done = rollout("deploy", "dev", "--plan")
    assert done.returncode == ExitCode.REFUSED
    assert done.stdout.startswith(f"deploy {BUILD} to dev as g2")
    assert "- dev has an unfinished rollout (#1, running); finish it with: rollout resume dev" in done.stdout
    assert "rollout resume dev" in rollout("deploy", "dev").stderr


def test_one_that_somebody_is_at_work_on(project: Path, rollout: Rollout) -> None:
    with Ledger(config(project).ledger_url) as ledger, Lease(ledger, "dev"):
        done = rollout("deploy", "dev", "--plan")
        assert done.returncode == ExitCode.LOCKED
        assert "- dev is held by" in done.stdout
        assert rollout("deploy", "dev").returncode == ExitCode.LOCKED
    assert rollout("deploy", "dev", "--plan").returncode == ExitCode.DONE


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("rollback", "dev has no earlier build to go back to"),
        ("apply", "nothing runs in dev; deploy to it first"),
        ("rehearse", "dev has no build to rehearse with"),
    ],
)
def test_the_other_commands_do_the_same(rollout: Rollout, command: str, said: str) -> None:
    for words in ((command, "dev", "--plan"), (command, "dev", "--plan", "--output", "json")):
        done = rollout(*words)
        assert done.returncode == ExitCode.REFUSED
        assert said in done.stdout
    assert rollout(command, "dev").stderr.startswith(f"rollout: {said}")


def test_going_back_is_planned(project: Path, rollout: Rollout) -> None:
    on_dev(project)
    with Ledger(config(project).ledger_url) as ledger:
        before = ledger.current("dev")
        second = begun(ledger, build="2-xyz", digest="xyz", generation="g2", previous=before)
        ledger.transition(second.id, State.PROMOTED)
    done = rollout("rollback", "dev", "--plan")
    assert done.returncode == ExitCode.DONE, done.stderr
    assert done.stdout.startswith(f"rollback {BUILD} to dev as g1r2, from 2-xyz")
    with Ledger(config(project).ledger_url) as ledger:
        assert ledger.unfinished("dev") is None


def test_an_approval_that_nobody_asks_for_is_refused(project: Path, rollout: Rollout) -> None:
    on_dev(project)
    done = rollout("approve", "staging")
    assert done.returncode == ExitCode.REFUSED
    assert done.stderr == (
        "rollout: staging asks for no approval; approvals: 1 in its part of rollout.yaml would\n"
    )
    path = project / "rollout.yaml"
    path.write_text(path.read_text().replace("    after: dev\n", "    after: dev\n    approvals: 1\n"))
    assert rollout("approve", "staging").stdout.endswith(f"approves {BUILD} for staging: 1 of 1\n")


def test_waiting_and_overriding_are_offered_where_they_help(project: Path) -> None:
    staging = config(project).environment("staging")
    soaking = Obstacle("soaks", retry_after=5.0, overridable=True)
    assert [way.partition(": ")[2] for way in _ways(staging, [soaking])] == [
        "rollout promote staging --wait",
        "rollout promote staging --override REASON --name NAME",
    ]
    assert _ways(staging, [soaking, Obstacle("does not serve")]) == ()


def test_a_port_that_is_taken_is_told_before_anything_is_started(project: Path, rollout: Rollout) -> None:
    port = config(project).environment("dev").listen.claude
    with socket.create_server(("127.0.0.1", port)):
        done = rollout("deploy", "dev")
        assert done.returncode == ExitCode.REFUSED
        assert done.stderr.startswith(f"rollout: dev/local: port {port}: taken by ")
        assert f"(process {os.getpid()}); end it, or set listen.claude in rollout.yaml" in done.stderr
        assert f"port {port}: taken by" in rollout("deploy", "dev", "--plan").stdout
        found = rollout("doctor", "dev")
        assert found.returncode == ExitCode.CHECKS_FAILED
        assert f"WRONG    dev/local: port {port}: taken by" in found.stdout
    assert not (project / ".rollout" / "env").exists()
    with Ledger(config(project).ledger_url) as ledger:
        assert ledger.rollouts() == []


def test_the_doctor_says_what_cannot_be_built(project: Path, rollout: Rollout) -> None:
    assert "ok       source: terminal-services" in rollout("doctor", "dev").stdout
    path = project / "rollout.yaml"
    path.write_text(path.read_text().replace("source: installed", "source: services "))
    done = rollout("doctor", "dev")
    assert done.returncode == ExitCode.CHECKS_FAILED
    assert "services/pyproject.toml: No such file" in done.stdout
    assert "-> let source: be the folder of the services, or source: installed" in done.stdout
