"""The process engine on a real folder: idempotent, and gone without a trace."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import uv

from demo.source import copy_of_services
from rollout.build import BuildStore, build
from rollout.checks.load import LoadRun
from rollout.checks.smoke import smoke
from rollout.config import Host, Listen, Tls, load
from rollout.engine.playbooks import run_playbook
from rollout.engine.process import ProcessEngine
from rollout.errors import ConfigError, EngineError
from tests.support.authority import Authority
from tests.support.ports import free_ports
from tests.support.project import ROOT, TwoStages

pytestmark = [pytest.mark.rollout, pytest.mark.slow("environments by Ansible, a dozen times over")]

SERVICES = ROOT / "services"


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory(prefix="a rollout of ours-ä-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def config(folder):
    TwoStages(folder)
    return load(folder / "rollout.yaml")


@pytest.fixture(scope="module")
def made(config):
    return build(config.source, config.builds_dir, lock_root=ROOT)


@pytest.fixture(scope="module")
def changes():
    return []


@pytest.fixture(scope="module")
def fences() -> Iterator[int]:
    """Each operator's is higher than the one before."""
    return itertools.count(10)


@pytest.fixture(scope="module")
def engine(config, made, changes, fences):
    engine = ProcessEngine(
        config,
        config.environment("dev"),
        on_event=lambda event: changes.append(event.task) if event.status == "changed" else None,
    )
    engine.install(made, hosts=["local"])
    fence = next(fences)
    engine.start(made, "g1", fence=fence, hosts=["local"])
    engine.shift({"g1": 100}, to="g1", share=100, fence=fence, hosts=["local"])
    yield engine
    engine.teardown()


def processes(folder: Path) -> list[str]:
    """Command lines that speak of a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in found if str(folder) in line]


def test_same_source_gives_the_same_build(config, made, folder):
    copy = folder / "copy"
    copy_of_services(copy)
    again = build(copy, folder / "elsewhere", lock_root=ROOT)
    assert (again.id, again.digest) == (made.id, made.digest)
    (copy / "terminals" / "cli.py").open("a").write("# changed\n")
    assert build(copy, folder / "elsewhere", lock_root=ROOT).digest != made.digest


def test_tampered_build_is_refused(made, folder):
    copy = folder / "tampered" / made.id
    shutil.copytree(made.path, copy)
    next((copy / "wheels").glob("terminal_services*.whl")).open("ab").write(b"x")
    store = BuildStore(folder / "tampered")
    with pytest.raises(ConfigError, match="not those of build"):
        store.verify(store.find(None))


def test_second_run_changes_nothing(engine, made, changes, fences):
    changes.clear()
    engine.install(made, hosts=["local"])
    fence = next(fences)
    engine.start(made, "g1", fence=fence, hosts=["local"])
    result = engine.shift({"g1": 100}, to="g1", share=100, fence=fence, hosts=["local"])
    assert changes == []
    assert result.moved == 0


def test_a_build_leaves_nothing_beyond_its_root(config, made, folder, tmp_path, monkeypatch):
    """The account's cache, of which nobody thinks, would grow with each build that is installed."""
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    environment = config.environment("dev")
    hosts = {"local": Host(name="local", root=folder / "another")}
    listen = Listen(**dict(zip(("system", "claude", "web"), free_ports(3), strict=True)))
    engine = ProcessEngine(config, environment.model_copy(update={"hosts": hosts, "listen": listen}))
    try:
        engine.start(made, "g1", fence=1, hosts=["local"])
        assert not (tmp_path / "cache").exists()
        there = {path.name for path in (folder / "another" / "builds" / made.id).iterdir()}
        assert there == {"SHA256SUMS", "manifest.json", "venv", "wheels"}
    finally:
        engine.teardown()


def test_check_mode_runs_and_changes_nothing(engine, made, config, folder, tmp_path):
    root = folder / "checked"
    run_playbook(
        "install",
        hosts={
            "local": {
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
                "terminals_engine": "process",
                "terminals_process_root": str(root),
            }
        },
        variables={
            "terminals_process_build": made.id,
            "terminals_process_build_source": made.path,
            "terminals_process_uv": uv.find_uv_bin(),
            "terminals_process_python": sys.executable,
        },
        artifacts=tmp_path,
        on_event=lambda event: None,
        check=True,
    )
    assert not root.exists()


def test_secrets_are_for_their_owner_only(engine, folder):
    assert (folder / "dev" / "run" / "token").stat().st_mode & 0o777 == 0o600
    for private in ("run", "state", "log", "conf"):
        assert (folder / "dev" / private).stat().st_mode & 0o077 == 0


def test_what_arrives_damaged_is_not_started(engine, made, config, folder):
    copy = folder / "damaged" / made.id
    shutil.copytree(made.path, copy)
    (copy / "SHA256SUMS").write_text("0" * 64 + "  wheels/none.whl\n")
    with tarfile.open(copy / "build.tar", "w") as archive:
        archive.add(copy / "SHA256SUMS", "SHA256SUMS")
    with pytest.raises(EngineError, match="what arrived is not what was built"):
        engine.start(replace(made, id="0-damaged", path=str(copy)), "g3", fence=9, hosts=["local"])


def test_stale_operator_is_refused(engine, made, fences):
    engine.shift({"g1": 100}, to="g1", share=100, fence=next(fences), hosts=["local"])
    with pytest.raises(EngineError, match="stale fence 8"):
        engine.shift({"g1": 100}, to="g1", share=100, fence=8, hosts=["local"])
    with pytest.raises(EngineError, match="stale fence 8"):
        engine.manage({"local": {"monitor": None}}, fence=8)
    with pytest.raises(EngineError, match="stale fence 8"):
        engine.start(made, "g9", fence=8, hosts=["local"])


def test_with_a_certificate_everything_is_reached_over_tls(config, made, folder):
    (folder / "certificates").mkdir()
    authority = Authority(folder / "certificates")
    ports = dict(zip(("system", "claude", "web"), free_ports(3), strict=True))
    environment = config.environment("dev").model_copy(
        update={
            "hosts": {"local": Host(name="local", root=folder / "tls")},
            "listen": Listen(**ports, tls=Tls(**authority.files, name="localhost", ca=authority.ca)),
        }
    )
    engine = ProcessEngine(config, environment)
    try:
        engine.install(made, hosts=["local"])
        engine.start(made, "g1", fence=1, hosts=["local"])
        engine.shift({"g1": 100}, to="g1", share=100, fence=1, hosts=["local"])
        target = engine.targets()[0]
        assert target.terminals["system"] == f"wss://localhost:{ports['system']}/"
        assert [f"{r.name}: {r.detail}" for r in smoke(target) if not r.ok] == []
        run = LoadRun([target], users=2, spawn_rate=2, cut_every=0, directory=folder / "load", run_seconds=5)
        run.start()
        summary = run.wait(60)
        assert (summary.lost, summary.doubled, summary.twice, summary.errors) == (0, 0, 0, [])
        assert summary.verified > 100
        authority.issue(only="key")
        with pytest.raises(EngineError, match=r"listen.tls of dev: .*not the private key of"):
            engine.start(made, "g2", fence=1, hosts=["local"])
    finally:
        engine.teardown()


def test_teardown_leaves_nothing(config, made, folder):
    engine = ProcessEngine(config, config.environment("staging"))
    engine.install(made, hosts=["local"])
    engine.start(made, "g1", fence=1, hosts=["local"])
    assert any("terminals manager" in line for line in processes(folder / "staging"))
    engine.teardown()
    assert processes(folder / "staging") == []
    assert not (folder / "staging").exists()
