"""What happens to hosts, made to happen in the middle of a promotion over SSH: each ends in a stated,
consistent state with a clear line, and nobody who was in a shell loses it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import faults
from rollout.build.archive import layer_path
from rollout.errors import ExitCode
from tests.support.lab import TOKEN, LabProject
from tests.support.resident import Resident

pytestmark = [
    pytest.mark.docker("lab"),
    pytest.mark.slow("three hosts with engines of their own, a promotion for every fault"),
]

HOSTS = ("staging-1", "staging-2")


@pytest.fixture(scope="module")
def project(the_lab) -> Iterator[LabProject]:
    project = LabProject(the_lab.fresh(dev=1, staging=2))
    try:
        assert project.run("build") == 0, project.said
        assert project.run("deploy", "dev") == 0, project.said
        assert project.run("promote", "staging") == 0, project.said
        project.build("0.2.0")
        assert project.run("deploy", "dev") == 0, project.said
        yield project
    finally:
        project.close()


@pytest.fixture
def residents(project: LabProject) -> Iterator[list[Resident]]:
    """Somebody on each host, who must still be there when it is over."""
    people = [Resident(project.target(host).terminal()) for host in HOSTS]
    yield people
    for person in people:
        person.leave()


def first(project: LabProject) -> str:
    """The host whose turn comes first: the one on which fewest people are at work by now."""
    ahead = project.json("promote", "staging", "--plan")["forward"]
    return next(name for step in ahead if step["name"] == "install-b1" for name in step["hosts"])


def newest(project: LabProject) -> dict:
    return project.json("history", "staging")[0]


def test_a_host_that_is_gone_before_its_turn_stops_everything_before_it_begins(project, residents):
    before = newest(project)["number"]
    faults.cut(project.lab, project.host("staging-2"))
    try:
        assert project.run("promote", "staging") == ExitCode.ENGINE
    finally:
        faults.mend(project.lab, project.host("staging-2"))
    assert "staging-2: not reachable over SSH" in project.said
    assert newest(project)["number"] == before
    assert len(project.serving("staging")) == 1


def test_without_a_host_that_is_stated_to_be_lost_the_others_are_taken_back(project, residents):
    before = project.serving("staging")
    name = first(project)
    (other,) = set(HOSTS) - {name}
    process = project.start("promote", "staging")
    project.reached("staging", "watch-50-b1", process)
    faults.cut(project.lab, project.host(name))
    try:
        assert project.finish(process) == ExitCode.ROLLBACK_FAILED, project.said
        project.configure(lost=name)
        assert project.run("resume", "staging") in (ExitCode.ENGINE, ExitCode.GATE_FAILED), project.said
        assert f"without {name}: stated to be lost" in project.said
        assert newest(project)["state"] == "rolled-back"
        assert {name for name, entry in project.generations(other).items() if entry["weight"]} == set(*before)
        assert project.run("status", "staging") == 0
        assert "stated to be lost" in project.said
    finally:
        faults.mend(project.lab, project.host(name))
        project.configure()
    # It still has half of its people on what was taken back elsewhere.
    assert project.run("promote", "staging", "--plan") == ExitCode.REFUSED, project.said
    assert f"{name}: " in project.said and "rollout apply staging" in project.said
    assert project.run("apply", "staging") == 0, project.said
    assert project.serving("staging") == before


def test_a_host_that_is_lost_after_its_turn_returns_with_the_others(project, residents):
    before = project.serving("staging")
    name = first(project)
    process = project.start("promote", "staging")
    project.reached("staging", "shift-50-b2", process)
    faults.cut(project.lab, project.host(name))
    try:
        code = project.finish(process)
    finally:
        faults.mend(project.lab, project.host(name))
    assert code == ExitCode.ROLLBACK_FAILED, project.said
    assert name in project.said
    assert "rollout resume staging" in project.said
    assert newest(project)["state"] == "rollback-failed"
    # The one that could be reached is back already.
    (other,) = set(HOSTS) - {name}
    assert {name for name, entry in project.generations(other).items() if entry["weight"]} == set(*before)
    # What stopped it: the playbook that could not reach the host, or the gate that saw its checks fail.
    assert project.run("resume", "staging") in (ExitCode.ENGINE, ExitCode.GATE_FAILED), project.said
    assert newest(project)["state"] == "rolled-back"
    assert project.serving("staging") == before


def test_an_engine_that_is_killed_in_the_middle_of_a_shift(project, residents):
    before = project.serving("staging")
    name = first(project)
    process = project.start("promote", "staging")
    project.reached("staging", "shift-50-b1", process)
    faults.kill_engine(project.lab, project.host(name))
    faults.start_engine(project.lab, project.host(name))
    code = project.finish(process)
    if code == ExitCode.ROLLBACK_FAILED:
        code = project.run("resume", "staging")
    assert code in (ExitCode.DONE, ExitCode.ENGINE, ExitCode.GATE_INCONCLUSIVE), project.said
    record = newest(project)
    assert record["state"] == ("promoted" if code == ExitCode.DONE else "rolled-back")
    assert project.serving("staging") == ({(record["generation"],)} if code == ExitCode.DONE else before)


def test_a_full_disk_while_the_image_travels(project, residents):
    project.build("0.3.0")
    assert project.run("deploy", "dev") == 0, project.said
    before = project.serving("staging")
    name = first(project)
    faults.fill_disk(project.lab, project.host(name))
    try:
        assert project.run("promote", "staging") == ExitCode.ENGINE, project.said
    finally:
        faults.free_disk(project.lab, project.host(name))
    assert "disk of its engine is full" in project.said
    assert newest(project)["state"] == "rolled-back"
    assert project.serving("staging") == before
    assert not any(step.startswith("start") for step in steps(project))


def another_id(folder: Path) -> tuple[Path, bytes]:
    """A manifest that names another image than that of the folder, and where it belongs."""
    manifest = folder / "manifest.json"
    data = json.loads(manifest.read_bytes())
    data["image"]["id"] = "sha256:" + "0" * 64
    return manifest, json.dumps(data).encode()


def another_layer(folder: Path) -> tuple[Path, bytes]:
    """A sound archive of one layer under the name of another one, which travels because it is new."""
    layers = json.loads((folder / "manifest.json").read_bytes())["image"]["layers"]
    *_, other, newest = (layer_path(folder / "image", layer) for layer in layers)
    assert other.read_bytes() != newest.read_bytes()
    return newest, other.read_bytes()


def test_an_image_that_is_not_the_one_that_was_built(project, residents):
    # One that no host has: what they have already is not sent.
    project.build(f"0.4.{newest(project)['number']}")
    assert project.run("deploy", "dev") == 0, project.said
    before = project.serving("staging")
    build = project.json("status", "dev")[0]["current"]["build"]
    # In this order: of the first nothing stays, which the second would find there.
    for forged, said in ((another_layer, "invalid diffID"), (another_id, "this is not image sha256:000")):
        path, content = forged(project.folder / "state" / "builds" / build)
        kept = path.read_bytes()
        # Builds share the files of layers by hard links: the name gets a file of its own.
        path.rename(aside := path.with_name("aside"))
        path.write_bytes(content)
        try:
            code = project.run("promote", "staging")
        finally:
            aside.replace(path)
        assert path.read_bytes() == kept
        assert code == ExitCode.ENGINE, project.said
        assert said in " ".join(project.said.split())
        assert newest(project)["state"] == "rolled-back"
        assert project.serving("staging") == before
        assert not any(step.startswith("start") for step in steps(project))


def test_two_operators_at_once(project, residents):
    process = project.start("promote", "staging")
    project.reached("staging", "install-b1", process)
    assert project.run("promote", "staging") == ExitCode.LOCKED, project.said
    assert project.finish(process) == 0, project.said
    record = newest(project)
    assert record["state"] == "promoted"
    assert project.serving("staging") == {(record["generation"],)}
    assert record["figures"]["bytes_lost"] == record["figures"]["sessions_severed"] == 0
    is_the_same_everywhere(project)


def test_the_token_comes_from_the_vault_and_stands_nowhere_else(project):
    assert project.target("dev-1").token == TOKEN
    written = [path for path in (project.folder / "state").rglob("*") if path.is_file()]
    assert written
    assert [path for path in written if TOKEN.encode() in path.read_bytes()] == []
    for name in ("holder", "manager"):
        asked = ["docker", "inspect", f"terminals-dev-{name}-1"]
        assert TOKEN not in project.engine("dev").host("dev-1").run(asked).output


def is_the_same_everywhere(project):
    """What was promoted is the same build, with the same content, on every host."""
    records = [project.json("status", env)[0]["current"] for env in ("dev", "staging")]
    assert len({(record["build"], record["digest"]) for record in records}) == 1
    manifest = json.loads(
        (Path(project.folder) / "state" / "builds" / records[0]["build"] / "manifest.json").read_text()
    )
    for env in ("dev", "staging"):
        engine = project.engine(env)
        for host in project.lab.hosts:
            if host.environment != env:
                continue
            asked = [
                "docker",
                "ps",
                "--no-trunc",
                "--quiet",
                "--filter",
                "label=com.docker.compose.service=worker",
            ]
            containers = engine.host(host.name).run(asked).output.split()
            form = '{{.Image}} {{index .Config.Labels "rollout.digest"}}'
            found = engine.host(host.name).run(["docker", "inspect", "--format", form, *containers]).output
            assert f"{manifest['image']['id']} sha256:{records[0]['digest']}" in found


def steps(project: LabProject) -> list[str]:
    report = project.json("report", "staging")
    return [entry["step"] for entry in report["timeline"] if entry["phase"] == "begin"]
