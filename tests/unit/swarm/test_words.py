"""The services of a generation, as the command line has them."""

from __future__ import annotations

from itertools import pairwise

from rollout.config import load
from rollout.swarm.words import service_words
from tests.unit.config.test_peers import ALONE, written

HOSTS = {"a": {"root": "/srv/t", "address": "192.0.2.1"}}


def words(folder, **changes) -> dict[str, list[str]]:
    path = written(folder, engine="swarm", hosts=HOSTS, listen=ALONE, authority=None, **changes)
    environment = load(path).environment("e")
    return dict(service_words(environment, "p-e", "g7", "sha256:1", "1-a"))


def options(said: list[str], name: str) -> list[str]:
    return [value for option, value in pairwise(said) if option == name]


def test_there_is_one_for_each_worker_and_one_for_the_page(tmp_path):
    found = words(tmp_path, workers=2)
    assert list(found) == ["p-e-g7-worker-1", "p-e-g7-worker-2", "p-e-g7-web-1"]
    for name, said in found.items():
        kind = name.split("-")[3]
        assert said[-6:] == ["sha256:1", kind, "--generation", "g7", "--build", "1-a"]
        assert options(said, "--mode") == ["global"]
        assert options(said, "--constraint") == [
            "node.labels.terminals.p-e==yes",
            "node.labels.terminals.p-e.g7!=away",
        ]


def test_they_reach_nothing_and_may_do_nothing(tmp_path):
    limits = {"process_memory": "128MiB", "process_cpus": 0.5}
    for said in words(tmp_path, limits=limits, logs={"format": "json"}).values():
        assert options(said, "--network") == ["p-e-alone"]
        assert "--read-only" in said
        assert options(said, "--cap-drop") == ["ALL"]
        assert options(said, "--limit-memory") == [str(128 << 20)]
        assert options(said, "--limit-cpu") == ["0.5"]
        assert options(said, "--limit-pids") == ["64"]
        assert "TERMINALS_LOG_FORMAT=json" in options(said, "--env")
        assert not any("publish" in word for word in said)
        volumes = [mount for mount in options(said, "--mount") if "volume" in mount]
        of_compose = "volume-label=com.docker.compose.project=p-e,volume-label=com.docker.compose.volume=run"
        assert volumes == [f"type=volume,source=p-e_run,destination=/run/terminals,readonly,{of_compose}"]
        assert options(said, "--dns") == ["192.0.2.1"]


def test_where_people_sign_in_by_a_provider_the_page_s_process_reaches_it(tmp_path):
    oidc = {
        "issuer": "https://id.example.org",
        "client_id": "terminals",
        "public_urls": ["https://t.example.org/"],
        "default_role": "user",
        "roles": {"user": ["people"]},
    }
    found = words(tmp_path, oidc=oidc)
    assert options(found["p-e-g7-web-1"], "--network") == []
    assert options(found["p-e-g7-worker-1"], "--network") == ["p-e-alone"]
