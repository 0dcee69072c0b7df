"""Running docker and docker-compose: output, or one line that says what failed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from lab.model import LabError


def docker(*arguments: str) -> str:
    """What ``docker`` prints.

    Raises:
        LabError: it failed or is not there; the message has the last line it said.
    """
    try:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise LabError("there is no docker command; as root, scripts/docker-engine.sh installs it") from None
    if done.returncode:
        raise LabError(f"docker {' '.join(arguments[:2])}: {last_line(done.stderr) or done.returncode}")
    return done.stdout.strip()


def require_engine() -> None:
    """See to it that an engine answers.

    Raises:
        LabError: none does.
    """
    try:
        docker("version", "--format", "{{.Server.Version}}")
    except LabError as error:
        raise LabError(
            f"no Docker engine answers ({error.message}); as root, scripts/docker-engine.sh starts one"
        ) from None


def owned(kind: str, project: str) -> list[str]:
    """Ids of the containers, networks or volumes (``kind``, singular) that Compose made for a project."""
    arguments = ["--all"] if kind == "container" else []
    label = f"label=com.docker.compose.project={project}"
    return docker(kind, "ls", "--quiet", *arguments, "--filter", label).split()


def last_words(container: str) -> str:
    """The last lines that a container printed, on either stream."""
    command = ["docker", "logs", "--tail", "5", container]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout.strip()


def compose_program() -> Path:
    """The ``docker-compose`` of this environment.

    Raises:
        LabError: the environment has none.
    """
    found = Path(sys.executable).with_name("docker-compose")
    if found.exists():
        return found
    if elsewhere := shutil.which("docker-compose"):
        return Path(elsewhere)
    raise LabError(f"{found}: not there; `make setup` installs it")


def compose(file: Path, *arguments: str) -> None:
    """Run Compose; its progress goes to stderr.

    Raises:
        LabError: it failed.
    """
    command = [str(compose_program()), "--file", str(file), "--progress", "quiet", *arguments]
    done = subprocess.run(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, check=False)
    if done.returncode:
        raise LabError(f"docker-compose {arguments[0]}: {last_line(done.stderr) or done.returncode}")


def last_line(output: str) -> str:
    """The last line that says something; programs put the reason there."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else ""
