"""An image on its way to another real engine: only what is missing, and what may go wrong on the way."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.source import copy_of_services
from rollout.build.hosts import LocalHost, SshHost
from rollout.build.transport import pull_image, push_image, send_image
from rollout.errors import EngineError
from rollout.model import BuildRef, ImageRef
from tests.support.docker import OtherEngine, client, make_image, remove, remove_after_the_run
from tests.support.ports import free_ports
from tests.support.stack import until

pytestmark = [pytest.mark.docker, pytest.mark.slow("second Docker engines, and images that travel to them")]


@pytest.fixture(scope="module")
def engine() -> Iterator[OtherEngine]:
    engine = OtherEngine(600)
    yield engine
    engine.close()


@pytest.fixture
def empty(engine):
    engine.forget_everything()
    assert not engine.images()
    return engine


@pytest.fixture(scope="module")
def next_build(tmp_path_factory) -> tuple[BuildRef, ImageRef]:
    """The same services with one line changed."""
    folder = tmp_path_factory.mktemp("next")
    copy_of_services(folder / "services")
    with (folder / "services" / "terminals" / "cli.py").open("a") as file:
        file.write("# the next release\n")
    build, image = make_image(folder, folder / "services")
    remove_after_the_run(image)
    return build, image


def test_only_what_a_release_changes_travels(built, next_build, empty):
    (build, image), (other, other_image) = built, next_build
    seen: list[tuple[int, int]] = []
    first = send_image(empty.host, Path(build.path), image, on_progress=lambda *at: seen.append(at))
    assert first.layers == image.layers
    assert [sent for sent, _ in seen] == sorted(sent for sent, _ in seen)
    assert seen[-1] == (first.bytes, first.bytes)
    second = send_image(empty.host, Path(other.path), other_image)
    assert second.layers == other_image.layers[-1:]
    assert second.bytes < first.bytes / 50
    assert {image.id, other_image.id} <= set(empty.images())
    again = send_image(empty.host, Path(other.path), other_image)
    assert (again.bytes, again.layers) == (0, ())


def test_layers_removed_meanwhile_are_sent_after_all(built, next_build, empty):
    (build, image), (other, other_image) = built, next_build
    send_image(empty.host, Path(build.path), image)

    class Forgetful(LocalHost):
        def run(self, command, stdin=()):
            if command[1] == "load":
                super().run(["docker", "rmi", "--force", image.id])
            return super().run(command, stdin)

    host = Forgetful("other", before=["env", f"DOCKER_HOST={empty.address}"])
    assert send_image(host, Path(other.path), other_image).layers == other_image.layers
    assert empty.images() == [other_image.id]


def test_interrupted_on_the_way_and_done_again(built, empty):
    build, image = built

    class Cut(LocalHost):
        def run(self, command, stdin=()):
            limit = ["timeout", "-s", "KILL", "1"] if command[1] == "load" else []
            return super().run([*limit, *command], stdin)

    cut = Cut("other", before=["env", f"DOCKER_HOST={empty.address}"])
    with pytest.raises(
        EngineError, match=r"^other: loading .* of \d+ bytes sent: interrupted .* do it again"
    ):
        send_image(cut, Path(build.path), image, on_progress=lambda sent, total: time.sleep(0.1))
    assert not empty.images()
    assert send_image(empty.host, Path(build.path), image).layers == image.layers
    assert empty.images() == [image.id]


def test_stopped_by_the_operator_leaves_nothing_running(built, empty):
    build, image = built

    def stop(sent: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        send_image(empty.host, Path(build.path), image, on_progress=stop)
    assert not empty.images()


def test_full_disk_says_so_and_leaves_what_was_there(built):
    build, image = built
    engine = OtherEngine(90)
    try:
        with pytest.raises(EngineError, match=r"the disk of its engine is full .* make room"):
            send_image(engine.host, Path(build.path), image)
        assert not engine.images()
    finally:
        engine.close()


def test_what_did_not_arrive_is_noticed(built, empty):
    build, image = built

    class Swallowing(LocalHost):
        def run(self, command, stdin=()):
            return super().run(["cat"] if command[1] == "load" else command, stdin)

    host = Swallowing("other", before=["env", f"DOCKER_HOST={empty.address}"])
    with pytest.raises(EngineError, match=f"arrived as nothing, not as {image.id}"):
        send_image(host, Path(build.path), image)


def test_no_engine_and_no_docker(built):
    build, image = built
    with pytest.raises(EngineError, match=r"^other: docker image ls: .*daemon"):
        send_image(LocalHost("other", before=["env", "DOCKER_HOST=unix:///none"]), Path(build.path), image)
    with pytest.raises(EngineError, match="there is no docker program"):
        send_image(LocalHost("other", before=["env", "PATH=/none"]), Path(build.path), image)


@pytest.fixture
def sshd(empty) -> Iterator[list[str]]:
    """A real SSH server of this machine whose commands see the second engine; ssh's options to reach it."""
    server = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if server is None:
        pytest.skip("sshd is not installed")
    folder = Path(tempfile.mkdtemp(prefix="sshd-"))
    (port,) = free_ports(1)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
        f"PidFile {folder}/pid\nStrictModes no\nSetEnv DOCKER_HOST={empty.address}\nUsePAM no\n"
    )
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    # The name and the way to it are the user's own, as in ~/.ssh/config.
    (folder / "ssh_config").write_text(
        f"Host web-1\n HostName 127.0.0.1\n Port {port}\n IdentityFile {folder}/user\n IdentitiesOnly yes\n"
        f" UserKnownHostsFile {folder}/known_hosts\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    process = subprocess.Popen([server, "-D", "-e", "-f", folder / "sshd_config"], stderr=subprocess.DEVNULL)
    try:
        until(lambda: (folder / "pid").exists(), "sshd")
        yield ["-F", str(folder / "ssh_config")]
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder)


def test_over_ssh_by_the_users_own_configuration(built, empty, sshd):
    build, image = built
    sent = send_image(SshHost("web-1", options=sshd), Path(build.path), image)
    assert sent.layers == image.layers
    assert empty.images() == [image.id]


def test_unknown_host_key_is_refused(built, sshd):
    build, image = built
    host = SshHost("web-1", options=[*sshd, "-o", "UserKnownHostsFile=/dev/null"])
    with pytest.raises(EngineError, match=r"^web-1: .*Host key verification failed"):
        send_image(host, Path(build.path), image)


@pytest.fixture
def registry() -> Iterator[str]:
    if shutil.which("docker-registry") is None:
        pytest.skip("docker-registry is not installed")
    folder = Path(tempfile.mkdtemp(prefix="registry-"))
    (port,) = free_ports(1)
    (folder / "config.yml").write_text(
        "version: 0.1\nstorage:\n  filesystem:\n"
        f"    rootdirectory: {folder}/data\nhttp:\n  addr: 127.0.0.1:{port}\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", folder / "config.yml"], stdout=log, stderr=log
        )
    try:
        until(lambda: b"listening on" in (folder / "log").read_bytes(), "the registry")
        yield f"127.0.0.1:{port}/team"
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder)


def test_by_a_registry(built, next_build, registry):
    (build, image), (_, other_image) = built, next_build
    name = push_image(Path(build.path), image, registry)
    assert name.startswith(f"{registry}/terminals-test@sha256:")
    remove(image)
    here = LocalHost()
    with pytest.raises(EngineError, match="pulling"):
        pull_image(here, image, name[:-8] + "00000000")
    pull_image(here, image, name)
    assert client().images.get(image.tag).id == image.id
    with pytest.raises(EngineError, match=f"is not image {other_image.id}"):
        pull_image(here, other_image, name)
    for other in [*client().images.get(image.id).tags, name]:
        if other != image.tag:
            client().images.remove(other)
