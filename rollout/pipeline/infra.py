"""What the ledger and the configuration say of the hosts, and asking the hosts whether it is so."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from rollout.build import BuildStore
from rollout.build.store import read_image
from rollout.checks import CheckResult
from rollout.checks.infra import Declared, Expected, infra
from rollout.config import Config, Environment
from rollout.direct.compose import compose_variables
from rollout.engine import Engine
from rollout.engine.docker import EVERYWHERE, DockerEngine
from rollout.engine.playbooks import packaged
from rollout.errors import ConfigError, Refused
from rollout.ledger import Ledger, RolloutRecord, State
from rollout.swarm.words import network

USER = "10001:10001"
"""Who the image's processes run as; see services/Dockerfile."""


def verify(
    config: Config,
    environment: Environment,
    engine: Engine,
    ledger: Ledger,
    *,
    trial: RolloutRecord | None = None,
    on_progress: Callable[[str], None] = lambda text: None,
) -> list[CheckResult]:
    """Run the infra suite on every host of an environment, all at the same time.

    ``trial`` is the rollout that is being judged: its generation has to run beside the present one.

    Raises:
        ConfigError: the environment has no containers to look at, or a build is not there any more.
        Refused: nothing is deployed.
        EngineError: the tests could not be run.
    """
    if not isinstance(engine, DockerEngine):
        raise ConfigError(
            f"{environment.name} runs processes on this machine: infra looks at containers;"
            f" use: rollout smoke {environment.name}"
        )
    declared = declared_containers(config, environment, ledger, trial=trial, now=time.time())
    known = {record.generation for record in ledger.rollouts(environment.name)}
    ended = known - {container.split("-")[0] for container in declared}
    project = engine.project

    def one(name: str) -> list[CheckResult]:
        host, listen = environment.hosts[name], environment.listens(name)
        expected = Expected(
            environment=environment.name,
            host=name,
            project=project,
            root=str(host.root),
            user=USER,
            published=(
                *(f"{listen.host}:{port}" for port in (listen.system, listen.claude, listen.web)),
                *(f"{EVERYWHERE}:{port}" for port in (listen.peers,) if port is not None),
            ),
            containers={f"{project}-{container}": what for container, what in declared.items()},
            ended=tuple(f"{project}-{generation}-*" for generation in sorted(ended)),
            web_network=compose_variables(environment)["TERMINALS_WEB_NETWORK"],
            manager_network="none" if listen.peers is None else "bridge",
            swarm_network=network(project) if environment.engine == "swarm" else "",
        )
        return infra(
            expected,
            tests=packaged("infra"),
            ssh=host.ssh or name,
            options=engine.ssh_options,
            artifacts=config.state / "infra" / environment.name,
            on_progress=on_progress,
        )

    with ThreadPoolExecutor(len(environment.hosts)) as pool:
        return [result for results in pool.map(one, environment.hosts) for result in results]


def declared_containers(
    config: Config,
    environment: Environment,
    ledger: Ledger,
    *,
    trial: RolloutRecord | None,
    now: float,
) -> dict[str, Declared]:
    """The containers that run on each host of an environment, by name or name pattern, without the project.

    Those of the present generation, and of the one on ``trial``, have to; those of earlier ones may as
    long as they are kept warm. Holder and session manager are from any build that was here: nothing makes
    the one anew, and the other is replaced where its own code or settings differ.

    Raises:
        Refused: nothing is deployed.
        ConfigError: the build of a generation that may run is not there any more.
    """
    store = BuildStore(config.builds_dir)
    records = ledger.rollouts(environment.name)
    promoted = [record for record in records if record.state is State.PROMOTED]
    newest = trial or next(iter(promoted), None)
    if newest is None:
        raise Refused(f"nothing is deployed to {environment.name}; do it with: rollout deploy")
    images = _image(store, newest)
    limits = environment.limits
    lasting = Declared(images | _known(store, promoted), runs=True)
    containers = {"holder-1": replace(lasting, memory=limits.manager_memory or 0), "manager-1": lasting}
    if environment.monitor is not None:
        containers["monitor-1"] = lasting
    for record in _may_run(environment, ledger, records, promoted, now):
        name = record.generation
        must = bool(promoted) and record.generation == promoted[0].generation
        old = Declared(_image(store, record), runs=must)
        containers |= {f"{name}-web-1": old, f"{name}-worker-1": old}
        # It was started with the number of workers that was configured then.
        containers[f"{name}-worker-*"] = Declared(old.images, runs=False)
    for service, count in (("web", 1), ("worker", environment.workers)):
        for number in range(1, count + 1):
            containers[f"{newest.generation}-{service}-{number}"] = Declared(
                images, runs=True, memory=limits.process_memory
            )
    containers.pop(f"{newest.generation}-worker-*", None)
    return containers


def _may_run(
    environment: Environment,
    ledger: Ledger,
    records: list[RolloutRecord],
    promoted: list[RolloutRecord],
    now: float,
) -> Iterator[RolloutRecord]:
    """The rollouts whose generation may run: the present one's, one on trial, and those still warm."""
    yield from promoted[:1]
    if (unfinished := ledger.unfinished(environment.name)) is not None:
        yield unfinished
    # Where the glass was broken, or a host went back by itself, the bad one is left to be looked at; it may
    # have been on trial still.
    left = ((after, record) for after, record in pairwise(records) if after.adopted)
    for after, record in (*pairwise(promoted), *left):
        if after.kind == "rollback" and not after.adopted:
            continue  # which has stopped it
        warm = now < (after.ended or now) + environment.rollback_window
        if record.generation != promoted[0].generation and warm:
            yield record


def _known(store: BuildStore, records: list[RolloutRecord]) -> dict[str, str]:
    found: dict[str, str] = {}
    there = {build.id for build in store.all()}
    for record in records:
        if record.build in there:
            found |= _image(store, record)
    return found


def _image(store: BuildStore, record: RolloutRecord) -> dict[str, str]:
    """The image of a rollout's build, with the digest that the ledger has."""
    image = read_image(Path(store.find(record.build).path))
    if image is None:
        raise ConfigError(f"build {record.build} has no image; make it with: rollout build --image")
    return {image.id: record.digest}
