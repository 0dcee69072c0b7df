"""The hosts' image: Debian with sshd and Docker, made once on this machine; no registry is asked."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from lab.engine import compose_program, docker
from lab.model import USER, LabError

FILES = Path(__file__).resolve().parent.parent / "compose" / "lab" / "image"
REPOSITORY = "rollout-lab-host"
SUITE = "bookworm"
PACKAGES = (
    "ca-certificates",
    "docker.io",
    "e2fsprogs",         # the file system of the host's disk
    "iproute2",
    "iptables",          # the engine's bridges and published ports
    "mount",
    "openssh-server",
    "procps",            # `service docker restart` asks ps
    "python3",           # Ansible's modules run in it
    "python3-apt",       # so does its apt module, which finds everything installed already
    "sudo",
    "tini",
)  # fmt: skip
PLUGINS = "/usr/local/lib/docker/cli-plugins"
MMDEBSTRAP = (
    "--variant=apt",
    f"--include={','.join(PACKAGES)}",
    '--aptopt=APT::Install-Recommends "false"',
    '--aptopt=Acquire::Languages "none"',
    "--dpkgopt=force-unsafe-io",  # the image is whole or thrown away: no package needs a sync of its own
    # After the packages are in: dpkg's own exclusions take mmdebstrap twice the time.
    '--customize-hook=rm -rf "$1"/usr/share/doc "$1"/usr/share/locale "$1"/usr/share/man',
    # Host keys are each host's own, made by the lab.
    '--customize-hook=rm -f "$1"/etc/ssh/ssh_host_*',
    "--customize-hook=copy-in lab-host /usr/local/sbin",
    "--customize-hook=copy-in sshd_config /etc/ssh",
    f'--customize-hook=mkdir -p "$1{PLUGINS}"',
    f"--customize-hook=copy-in docker-compose {PLUGINS}",
    # Debian's init script ends where the limit of open files may not be raised: go on with the one there is.
    """--customize-hook=sed -i -E 's/^(\\s+ulimit .*)$/\\1 || true/' "$1/etc/init.d/docker" """.strip(),
    f'--customize-hook=chroot "$1" useradd -m -s /bin/bash -G docker -p "*" {USER}',
    # Setting a host up (packages, users, the engine's own configuration) is root's work, and there is no
    # password to ask for. Who may use Docker is as good as root anyway.
    f'--customize-hook=echo "{USER} ALL=(ALL) NOPASSWD: ALL" >"$1/etc/sudoers.d/{USER}"',
)


def tag() -> str:
    """The name that an image of exactly this recipe has."""
    recipe = hashlib.sha256("\n".join((SUITE, platform.machine(), *PACKAGES, *MMDEBSTRAP)).encode())
    for path in _files():
        recipe.update(path.read_bytes())
    return f"{REPOSITORY}:{recipe.hexdigest()[:12]}"


def present() -> bool:
    """Whether the image is made already."""
    return bool(docker("image", "ls", "--quiet", tag()))


def make() -> None:
    """Make the image: about half a minute, most of it unpacking.

    Raises:
        LabError: mmdebstrap is missing or failed; the message has its last line.
    """
    if shutil.which("mmdebstrap") is None:
        raise LabError("mmdebstrap is not installed, it makes the hosts' image: apt-get install mmdebstrap")
    with tempfile.TemporaryDirectory(prefix="rollout-lab-") as temporary:
        for path in _files():
            shutil.copy(path, temporary)
        tar = Path(temporary, "host.tar")
        command = ["mmdebstrap", "--quiet", *MMDEBSTRAP, SUITE, str(tar)]
        code, errors = _run(command, Path(temporary))
        if code:
            said = [line for line in errors.splitlines() if line.startswith("E:")] or [errors[-400:]]
            raise LabError(f"mmdebstrap: {said[0]}")
        entrypoint = 'ENTRYPOINT ["/usr/bin/tini", "--", "/usr/local/sbin/lab-host"]'
        docker("import", "--change", entrypoint, str(tar), tag())
    remove(all_but=tag())


def remove(*, all_but: str | None = None) -> None:
    """Remove the images of every recipe, or those of other recipes; an image in use stays."""
    for name in docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", REPOSITORY).split():
        if name != all_but:
            with contextlib.suppress(LabError):
                docker("image", "rm", name)


def _run(command: list[str], folder: Path) -> tuple[int, str]:
    """Exit code and errors of a program that gets the time to clean up when it is interrupted."""
    with subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            _, errors = process.communicate()
        except BaseException:
            os.killpg(process.pid, signal.SIGINT)
            process.communicate()
            raise
    return process.returncode, errors


def _files() -> list[Path]:
    return [*sorted(FILES.iterdir()), compose_program()]
