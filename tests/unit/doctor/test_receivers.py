"""Whether those can be told whom an environment tells."""

from __future__ import annotations

import json

import pytest

from rollout.config import load
from rollout.doctor import examine_receivers
from rollout.engine.base import PartRef
from rollout.engine.docker import DockerEngine
from rollout.pipeline.obstacles import lacking
from tests.unit.config.test_peers import written


@pytest.fixture
def told(tmp_path):
    """Of environments that tell by an address in a file, as changed."""

    def told(**changes: object):
        path = written(
            tmp_path, notify=["ops"], authority=None, listen={"system": 1, "claude": 2, "web": 3}, **changes
        )
        text = json.loads(path.read_text()) | {"notify": {"ops": {"url_file": "ops.url"}}}
        path.write_text(json.dumps(text))
        return load(path)

    return told


def verdicts(config) -> list[str]:
    return [found.verdict for found in examine_receivers(config, config.environment("e"))]


def test_a_monitor_s_address_that_is_not_there_is_in_the_way_and_of_no_way_back(told, tmp_path):
    config = told(monitor={"every": "1s"})
    environment = config.environment("e")
    assert verdicts(config) == ["wrong"]
    assert "notify.ops.url_file" in lacking(config, environment, [])[0].text
    engine, wanted = DockerEngine(config, environment), PartRef("0.1.0-000000000000", "code")
    assert engine._part("monitor", "eu-1", wanted)["secrets"] == {}
    (tmp_path / "ops.url").write_bytes(b"\xff")
    assert "it is no text" in lacking(config, environment, [])[0].text
    assert engine._part("monitor", "eu-1", wanted)["secrets"] == {}
    (tmp_path / "ops.url").write_text("json://example.org\n")
    assert verdicts(config) == []
    assert lacking(config, environment, []) == []
    assert engine._part("monitor", "eu-1", wanted)["secrets"] == {"ops": "json://example.org"}


def test_where_only_rollouts_tell_it_is_a_warning(told):
    config = told()
    assert verdicts(config) == ["warning"]
    assert lacking(config, config.environment("e"), []) == []
