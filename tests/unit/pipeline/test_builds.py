"""Which files a build is started from again, and what is refused where nobody has them any more."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from rollout.config import load
from rollout.errors import Refused
from rollout.ledger import Ledger, State
from rollout.observer import NullObserver
from rollout.pipeline.builds import build_at_hand
from rollout.pipeline.commands import rollback
from rollout.pipeline.rehearsal import rehearse
from tests.support.rollouts import begun

OLD, NEW = "0.1.0-aaaaaaaaaaaa", "0.2.0-bbbbbbbbbbbb"


@pytest.fixture
def config(tmp_path: Path):
    """An environment of two hosts, on which nothing runs."""
    environment = {
        "hosts": {"one": {"root": "one"}, "two": {"root": "two", "listen": listen(17000)}},
        "listen": listen(16000),
        "checks": ["smoke"],
        "gates": [{"metric": "smoke.pass_ratio", "op": ">=", "threshold": 1}],
    }
    path = tmp_path / "rollout.yaml"
    whole = {"version": 1, "project": "t", "source": ".", "state": "state"}
    path.write_text(json.dumps({**whole, "environments": {"dev": environment}}))
    return load(path)


def listen(first: int) -> dict[str, int]:
    return {"system": first, "claude": first + 1, "web": first + 2}


def put(folder: Path, build: str) -> Path:
    """A build in a store, or, with ``venv``, as a host has it."""
    path = folder / build
    path.mkdir(parents=True)
    version, _, digest = build.partition("-")
    manifest = {"id": build, "version": version, "digest": digest, "revision": "", "created": time.time()}
    (path / "manifest.json").write_text(json.dumps(manifest))
    return path


def install(config, host: str, build: str) -> Path:
    """The same, as a host has it that has installed it."""
    path = put(config.environment("dev").hosts[host].root / "builds", build)
    (path / "venv").mkdir()
    (path / "venv" / ".complete").touch()
    return path


def test_the_store_comes_first(config):
    stored = put(config.builds_dir, OLD)
    for host in ("one", "two"):
        install(config, host, OLD)
    assert build_at_hand(config, config.environment("dev"), OLD).path == str(stored)


def test_what_all_hosts_have_needs_no_store(config):
    put(config.builds_dir, NEW)
    copies = [install(config, host, OLD) for host in ("one", "two")]
    assert build_at_hand(config, config.environment("dev"), OLD).path == str(copies[0])


def test_a_host_that_lacks_it_is_named(config):
    install(config, "one", OLD)
    with pytest.raises(Refused, match=rf"{OLD} is neither in .*builds nor installed on two; put it back"):
        build_at_hand(config, config.environment("dev"), OLD)


def test_half_an_installation_is_none(config):
    for host in ("one", "two"):
        install(config, host, OLD)
    (config.environment("dev").hosts["two"].root / "builds" / OLD / "venv" / ".complete").unlink()
    with pytest.raises(Refused, match="nor installed on two"):
        build_at_hand(config, config.environment("dev"), OLD)


def test_an_image_on_the_hosts_is_no_build(config):
    for host in ("one", "two"):
        install(config, host, OLD)
    dev = config.environment("dev").model_copy(update={"engine": "docker"})
    with pytest.raises(Refused, match=f"{OLD} is not in .*builds any more; put it back there"):
        build_at_hand(config, dev, OLD)


@pytest.mark.parametrize("command", [rollback, rehearse])
def test_what_nobody_can_start_is_refused_before_anything_is_recorded(config, command):
    with Ledger(config.ledger_url) as ledger:
        before = begun(ledger, build=OLD, digest="a", generation="g1")
        before = ledger.transition(before.id, State.PROMOTED)
        now = begun(ledger, build=NEW, digest="b", generation="g2", previous=before)
        ledger.transition(now.id, State.PROMOTED)
    with pytest.raises(Refused, match=r"is neither in .* nor installed on one, two; put it back there"):
        command(config, "dev", observer=NullObserver())
    with Ledger(config.ledger_url) as ledger:
        assert [record.number for record in ledger.rollouts("dev")] == [2, 1]
