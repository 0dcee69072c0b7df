"""The commands that make a generation's services."""

from __future__ import annotations

from collections.abc import Iterator

from rollout.config import Environment
from rollout.swarm.cluster import AWAY, GENERATION, PROJECT, Labels

PROCESSES = 64
STOP_SECONDS = 15
NOWHERE = "192.0.2.1"
"""Of a network for documentation (RFC 5737)."""


def network(project: str) -> str:
    """The network of processes that are to reach nothing: a Swarm has none that is none at all."""
    return f"{project}-alone"


def network_here(project: str) -> str:
    """What :func:`network` is made from on each node."""
    return f"{project}-alone-here"


def service_words(
    environment: Environment, project: str, generation: str, image: str, build: str
) -> Iterator[tuple[str, list[str]]]:
    """Name and command of each service of a generation: one a worker, since a service has one container a
    node, and one for the web process. ``image``: its id, which no Swarm asks a registry for.
    """
    for command, number in (("worker", environment.workers), ("web", 1)):
        for index in range(1, number + 1):
            name = f"{project}-{generation}-{command}-{index}"
            yield name, [
                "docker", "service", "create", "--detach", "--quiet", "--no-resolve-image",
                "--mode", "global", "--name", name,
                *_where(environment, project, generation, command),
                *_limited(environment),
                "--env", "TERMINALS_TOKEN_FILE=/run/terminals/token",
                "--env", f"TERMINALS_LOG_FORMAT={environment.logs.format}",
                # One that was told to stop for good is started again: it then only waits to be taken away.
                "--env", "TERMINALS_LINGER=1",
                "--restart-condition", "any", "--restart-delay", "1s",
                "--stop-grace-period", f"{STOP_SECONDS}s",
                # Connecting to a socket needs no writing.
                "--mount", _run_volume(project),
                "--mount", "type=tmpfs,destination=/tmp,tmpfs-size=16777216,tmpfs-mode=1777",
                image, command, "--generation", generation, "--build", build,
            ]  # fmt: skip


def _run_volume(project: str) -> str:
    # Where the Swarm is the first to need it, it is a part of the Compose project all the same.
    labels = {"project": project, "volume": "run"}
    made = "".join(f",volume-label=com.docker.compose.{key}={value}" for key, value in labels.items())
    return f"type=volume,source={project}_run,destination=/run/terminals,readonly{made}"


def _where(environment: Environment, project: str, generation: str, command: str) -> list[str]:
    labels = Labels(project)
    # Where a host's resolver is on the host itself, names are looked up from the host's own network
    # (CVE-2024-29018), which would be a way out. This resolver is nowhere.
    alone = ["--network", network(project), "--dns", NOWHERE]
    return [
        "--label", f"{PROJECT}={project}", "--label", f"{GENERATION}={generation}",
        # By what whoever looks at a host's containers knows those of a generation.
        "--container-label", f"com.docker.compose.project={project}-{generation}",
        "--container-label", f"com.docker.compose.service={command}",
        "--constraint", f"node.labels.{labels.here}==yes",
        "--constraint", f"node.labels.{labels.generation(generation)}!={AWAY}",
        # Where people sign in by a provider, the web process has to reach it.
        *(() if command == "web" and environment.oidc else alone),
    ]  # fmt: skip


def _limited(environment: Environment) -> list[str]:
    limits = environment.limits
    return [
        "--read-only", "--cap-drop", "ALL", "--limit-pids", str(PROCESSES),
        "--limit-memory", str(limits.process_memory),
        *(("--limit-cpu", f"{limits.process_cpus:g}") if limits.process_cpus else ()),
        "--log-driver", "json-file", "--log-opt", f"max-size={environment.logs.size}",
        "--log-opt", "max-file=3",
    ]  # fmt: skip
