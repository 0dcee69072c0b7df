"""Keys made on the spot, and what ssh and Ansible need to use them. They stay in the lab's folder."""

from __future__ import annotations

import hashlib
import os
import secrets
import shlex
import subprocess
from pathlib import Path

from lab.model import ENVIRONMENTS, USER, Host, Lab, LabError

HOST_KEY = "ssh_host_ed25519_key"
CLIENT_KEY = "id_ed25519"


def mounted(lab: Lab, host: Host) -> Path:
    """The folder that the host gets as ``/etc/lab``: its own key, and whom it lets in."""
    return lab.state / "hosts" / host.name


def identity(lab: Lab) -> str:
    """A word for the key that the lab's hosts let in; empty where there is none yet."""
    try:
        return hashlib.sha256((lab.state / f"{CLIENT_KEY}.pub").read_bytes()).hexdigest()[:16]
    except FileNotFoundError:
        return ""


def write(lab: Lab) -> None:
    """Make the keys that are missing; write ``ssh_config``, ``known_hosts`` and the inventory.

    Raises:
        LabError: ssh-keygen is missing or failed.
    """
    lab.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    public = _keypair(lab.state / CLIENT_KEY, f"{lab.name} client")
    known = []
    for host in lab.hosts:
        folder = mounted(lab, host)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        known.append(f"{host.name},{host.address} {_keypair(folder / HOST_KEY, f'{lab.name} {host.name}')}")
        _write(folder / "authorized_keys", public + "\n")
    _write(lab.state / "known_hosts", "\n".join(known) + "\n")
    _write(lab.ssh_config, ssh_config(lab))
    _write(lab.inventory, inventory(lab, secrets.token_hex(4)))


def ssh_config(lab: Lab) -> str:
    """The text of the file: only the lab's key is offered, only the lab's host keys are believed."""
    lines = []
    for host in lab.hosts:
        lines += [f"Host {host.name}", f"    HostName {host.address}"]
    return "\n".join(
        [
            *lines,
            "Host *",
            f"    User {USER}",
            f'    IdentityFile "{lab.state / CLIENT_KEY}"',
            "    IdentitiesOnly yes",
            f'    UserKnownHostsFile "{lab.state / "known_hosts"}"',
            "    GlobalKnownHostsFile /dev/null",
            "    StrictHostKeyChecking yes",
            "    PasswordAuthentication no",
            "    ConnectTimeout 10",
            "    ServerAliveInterval 5",
            "",
        ]
    )


def inventory(lab: Lab, time: str) -> str:
    """The text of the Ansible inventory: groups are the environments, the rest is left to ``ssh_config``.

    Ansible keeps connections open for a minute and finds them by the host's name. ``time`` is a word that no
    other lab and no other time of this one has: else it would wait on a connection to a host that is gone,
    until keep-alives (in ``ssh_config``, 15 s) end it.
    """
    lines = [
        "all:",
        "  vars:",
        f"    ansible_ssh_common_args: {_quoted('-F ' + shlex.quote(str(lab.ssh_config)))}",
        f"    ansible_control_path: '%(directory)s/{time}-%%h'",
        "    ansible_python_interpreter: /usr/bin/python3",
        "  children:",
    ]
    for environment in ENVIRONMENTS:
        hosts = [host for host in lab.hosts if host.environment == environment]
        if hosts:
            lines += [f"    {environment}:", "      hosts:", *(f"        {host.name}:" for host in hosts)]
    return "\n".join([*lines, ""])


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _keypair(path: Path, comment: str) -> str:
    """The public key beside ``path``; both are made if either is missing."""
    public = path.with_name(path.name + ".pub")
    if not (path.exists() and public.exists()):
        path.unlink(missing_ok=True)
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise LabError("ssh-keygen is not installed: apt-get install openssh-client") from None
        if done.returncode:
            raise LabError(f"ssh-keygen {path}: {done.stdout or done.stderr}")
    return public.read_text().strip()


def _write(path: Path, text: str) -> None:
    """Whole or not at all, and for nobody else to read."""
    new = path.with_name(path.name + ".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    new.replace(path)
