"""Images and Compose projects on the real Docker engine of this machine."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import docker
import pytest
from docker.errors import DockerException, ImageNotFound
from docker.models.containers import Container

from rollout.build import build
from rollout.build.hosts import LocalHost
from rollout.build.image import build_image, forget_the_last
from rollout.model import BuildRef, ImageRef
from scripts import base_image
from tests.support import wheels
from tests.support.stack import until

ROOT = Path(__file__).parents[2]
SERVICES = ROOT / "services"
COMPOSE = ROOT / "compose"
PROJECT = "terminals-test"
RUN = "ROLLOUT_TESTS_IMAGES"
"""The variable that names a folder of the whole run."""


def client() -> docker.DockerClient:
    """The engine; the test is skipped where there is none."""
    try:
        found = docker.from_env(timeout=600)
        found.ping()
    except DockerException as error:
        pytest.skip(f"no Docker engine is reachable: {error}")
    return found


def base() -> str:
    """A base image, made where there is none; the test is skipped where that is not possible."""
    engine = client()
    try:
        engine.images.get(base_image.TAG)
    except ImageNotFound:
        if shutil.which("mmdebstrap") is None:
            pytest.skip("there is no base image, and mmdebstrap, which makes one, is not installed")
        base_image.make(engine, base_image.TAG)
    return base_image.TAG


def make_image(folder: Path, source: Path = SERVICES) -> tuple[BuildRef, ImageRef]:
    """A build with its image."""
    wheels.share(folder)
    made = build(source, folder / "builds", lock_root=ROOT)
    return made, build_image(made, source, project=PROJECT, base=base())


def remove(image: ImageRef) -> None:
    """Take an image out of the engine, if it is there."""
    with contextlib.suppress(ImageNotFound):
        client().images.remove(image.id, force=True)


def remove_after_the_run(image: ImageRef) -> None:
    """Have an image taken out of the engine when all processes of this run of tests have ended."""
    if folder := os.environ.get(RUN):
        Path(folder, image.id.replace(":", "-")).touch()


def remove_what_the_run_has_made(folder: Path) -> None:
    """Take away what :func:`remove_after_the_run` was told of, in this run's folder."""
    made = list(folder.iterdir())
    for name in made:
        with contextlib.suppress(ImageNotFound):
            client().images.remove(name.name.replace("-", ":", 1), force=True)
    if made:  # who has made none may be beside somebody who does so right now
        for project in (PROJECT, "terminals"):
            forget_the_last(client(), project)


class Project:
    """A Compose project of files in ``compose/``."""

    def __init__(self, name: str, *files: str, **variables: str) -> None:
        self.name = name
        self._command = [str(Path(sys.executable).with_name("docker-compose")), "--project-name", name]
        for file in files:
            self._command += ["--file", str(COMPOSE / file)]
        self._environment = {**os.environ, **variables}
        self._engine = client()

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._command, *arguments], env=self._environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def container(self, service: str, number: int = 1) -> Container:
        return self._engine.containers.get(f"{self.name}-{service}-{number}")

    def token(self) -> str:
        """What people present. Not by an exec: an engine loses what that printed, once in a long while
        (docker-py #2042)."""
        stream, _ = self.container("manager").get_archive("/run/terminals/token")
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
            file = archive.extractfile("token")
            assert file is not None
            return file.read().decode().strip()


class OtherEngine:
    """A second, empty engine of this machine whose disk has ``megabytes``: a host to bring images to."""

    def __init__(self, megabytes: int) -> None:
        if os.geteuid() != 0 or shutil.which("dockerd") is None:
            pytest.skip("a second engine needs root and dockerd")
        client()
        self.folder = Path(tempfile.mkdtemp(prefix="engine-"))
        self.address = f"unix://{self.folder}/s.sock"
        self.disk = self.folder / "disk"
        self.disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", self.disk], check=True)
        (self.folder / "daemon.json").write_text("{}")
        with (self.folder / "log").open("wb") as log:
            # In a network of its own: an engine tidies up the bridges and rules that it takes for its own.
            self._process = subprocess.Popen(
                ["unshare", "--net", "dockerd", "--host", self.address, "--data-root", self.disk,
                 "--exec-root", self.folder / "exec", "--pidfile", self.folder / "pid",
                 "--config-file", self.folder / "daemon.json", "--bridge", "none", "--iptables=false",
                 "--ip-forward=false"],
                stdout=log, stderr=log,
            )  # fmt: skip
        self.host = LocalHost("other", before=["env", f"DOCKER_HOST={self.address}"])
        until(lambda: self.host.run(["docker", "version"]).status == 0, "the second engine", 120)

    def forget_everything(self) -> None:
        self.host.run(["docker", "image", "prune", "--all", "--force"])

    def images(self) -> list[str]:
        return self.host.run(["docker", "image", "ls", "--all", "--quiet", "--no-trunc"]).output.split()

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(120)
        subprocess.run(["umount", "--lazy", self.disk], check=True)
        shutil.rmtree(self.folder, ignore_errors=True)
