"""What the Compose files of a host are told, by a promotion and by those who break the glass alike."""

from __future__ import annotations

from rollout.config import Environment


def compose_variables(environment: Environment) -> dict[str, str]:
    """The variables of ``compose/*.yaml`` that an environment's ``limits`` and ``logs`` are; 0: no limit.

    Where people sign in by a provider, the web process has to reach it.
    """
    limits, logs = environment.limits, environment.logs
    return {
        "TERMINALS_MANAGER_MEMORY": str(limits.manager_memory or 0),
        "TERMINALS_WEB_NETWORK": "bridge" if environment.oidc else "none",
        "TERMINALS_PROCESS_MEMORY": str(limits.process_memory),
        "TERMINALS_PROCESS_CPUS": str(limits.process_cpus or 0),
        "TERMINALS_LOG_FORMAT": logs.format,
        "TERMINALS_LOG_SIZE": str(logs.size),
    }


def start_words(project: str, generation: str, image: str, build: str, environment: Environment) -> list[str]:
    """The command that starts a generation of a build, in the folder of a host's Compose files.

    ``project`` is that of the session manager; a generation's is this, a dash and its name.
    """
    workers = str(environment.workers)
    variables = {
        "TERMINALS_PROJECT": project,
        "TERMINALS_IMAGE": image,
        "TERMINALS_BUILD": build,
        "TERMINALS_GENERATION": generation,
        "TERMINALS_WORKERS": workers,
        **compose_variables(environment),
    }
    return [
        "env", *(f"{key}={value}" for key, value in variables.items()),
        "docker", "compose", "--ansi", "never", "--progress", "quiet", "-p", f"{project}-{generation}",
        "-f", "generation.yaml", "up", "--detach", "--no-recreate", "--scale", f"worker={workers}",
        "worker", "web",
    ]  # fmt: skip
