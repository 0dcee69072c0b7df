"""The machine that ``rollout`` runs on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from rollout.build.source import find_source
from rollout.config import Config, Environment
from rollout.doctor.authority import examine_authority
from rollout.doctor.door import examine_door
from rollout.doctor.finding import Finding
from rollout.doctor.local import examine_machine
from rollout.doctor.oidc import examine_oidc
from rollout.doctor.receivers import examine_receivers
from rollout.errors import ConfigError, RolloutError


def examine_control(config: Config, environments: list[Environment]) -> list[Finding]:
    """Look at this machine, for what these environments need of it. Changes nothing."""
    docker = any(environment.containers for environment in environments)
    findings = [_python(), _uv(), *examine_machine(config), _source(config), _ledger(config)]
    for environment in environments:
        findings += [*examine_oidc(environment), *examine_authority(environment)]
        findings += [*examine_receivers(config, environment), *examine_door(environment)]
    if docker:
        findings += [_ssh(), _compose(), *_engine(config)]
    return findings


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("ok", "", "Python", version)


def _uv() -> Finding:
    import uv

    try:
        return Finding("ok", "", "uv", uv.find_uv_bin())
    except FileNotFoundError as error:
        return Finding("wrong", "", "uv", str(error), "install what the lock file names: make setup")


def _source(config: Config) -> Finding:
    try:
        return Finding("ok", "", "source", str(find_source(config.source, config.path.parent)))
    except ConfigError as error:
        text, _, remedy = error.message.partition("; ")
        return Finding("wrong", "", "source", text, remedy)


def _ledger(config: Config) -> Finding:
    from rollout.ledger import Ledger
    from rollout.ledger.schema import leases

    try:
        with Ledger(config.ledger_url) as ledger:
            count = len(ledger.rollouts())
            with ledger.database.writing() as connection:  # needs leave to write, and changes no row
                connection.execute(leases.update().where(leases.c.env == "").values(token=0))
    except Exception as error:  # whatever its driver raises for a damaged one
        text = " ".join(str(error).split())[:200]
        remedy = (
            "see that its server or file can be reached and written, or put back a copy;"
            " meanwhile, hosts are led back by: rollout rollback ENV --break-glass"
        )
        return Finding("wrong", "", "ledger", text, remedy)
    return Finding("ok", "", "ledger", f"can be read and written; {count} rollouts")


def _ssh() -> Finding:
    if shutil.which("ssh") is None or shutil.which("ssh-keygen") is None:
        return Finding("wrong", "", "SSH client", "there is no ssh", "apt-get install openssh-client")
    done = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=False)
    return Finding("ok", "", "SSH client", done.stderr.strip())


def _compose() -> Finding:
    from rollout.engine.playbooks import packaged

    try:
        folder = packaged("compose")
    except RolloutError as error:
        return Finding("wrong", "", "Compose files", str(error), "install rollout again")
    missing = [
        name for name in ("manager.yaml", "generation.yaml", "peers.yaml") if not Path(folder, name).is_file()
    ]
    if missing:
        return Finding("wrong", "", "Compose files", f"{folder} lacks {missing[0]}", "install rollout again")
    return Finding("ok", "", "Compose files", str(folder))


def _engine(config: Config) -> Iterator[Finding]:
    import docker
    from docker.errors import DockerException, ImageNotFound

    # Nothing but `rollout build` needs an engine here: hosts have their own.
    try:
        client = docker.from_env(timeout=5)
        version = client.version()["Version"]
    except DockerException as error:
        text = " ".join(str(error).split())[:150]
        remedy = "start one (as root on Debian: scripts/docker-engine.sh), or build elsewhere"
        yield Finding("warning", "", "Docker engine", f"cannot be reached: {text}", remedy)
        return
    yield Finding("ok", "", "Docker engine", version)
    base = config.image.base
    try:
        client.images.get(base)
    except ImageNotFound:
        remedy = "make base-image" if base.startswith("terminals-base") else f"docker pull {base}"
        yield Finding("warning", "", "base image", f"{base} is not there", remedy)
    else:
        yield Finding("ok", "", "base image", base)
