"""How OpenSSH's client is called: as its user set it up, never asking, and never waiting for the dead."""

from __future__ import annotations

import atexit
import contextlib
import functools
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

CONNECT_SECONDS = 10
ALIVE_SECONDS = 5
ALIVE_TIMES = 3
"""A host that says nothing for ``ALIVE_SECONDS`` times this is gone."""


def ssh_options(config: Path | None) -> tuple[str, ...]:
    """Options for ``ssh`` and for Ansible's: one connection a host, kept while this process runs.

    Each command by a connection of its own would cost more than what it does. Which keys are known is up to
    ``config``, or else to the user's own configuration; that an unknown one is refused is not.
    """
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "ConnectTimeout": str(CONNECT_SECONDS),
        "ServerAliveInterval": str(ALIVE_SECONDS),
        "ServerAliveCountMax": str(ALIVE_TIMES),
        "ControlMaster": "auto",
        "ControlPath": f"{control_folder()}/%C",
        "ControlPersist": "600",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return (*(("-F", str(config)) if config else ()), *words)


def reached_by(ssh: str, options: Sequence[str]) -> dict[str, str]:
    """How Ansible reaches a host that ``ssh`` knows by this name."""
    return {
        "ansible_host": ssh,
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_ssh_common_args": shlex.join(options),
    }


@functools.cache
def control_folder() -> Path:
    """Where the connections are kept: of this process alone, so that none outlives its host.

    A name that is short: it ends in a socket's, which the kernel bounds to 107 characters.
    """
    folder = Path(tempfile.mkdtemp(prefix="rollout-ssh-"))
    atexit.register(_end, folder)
    return folder


def _end(folder: Path) -> None:
    for path in folder.iterdir():
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            command = ["ssh", "-o", f"ControlPath={path}", "-O", "exit", "-"]
            subprocess.run(command, capture_output=True, check=False, timeout=3)
    shutil.rmtree(folder, ignore_errors=True)
