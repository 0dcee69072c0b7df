"""What a rollout needs of this machine: the doctor shows it, and a rollout looks for it before it begins."""

from __future__ import annotations

import errno
import locale
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from rollout.config import Config, Listen
from rollout.doctor.finding import Finding
from rollout.ports import Process, listening, refusal

LITTLE_BYTES = 1_000_000_000
"""A build with its image, and the records of some rollouts."""
LOCALE = "C.UTF-8"


def examine_machine(config: Config) -> list[Finding]:
    """Look whether Ansible can speak here, and whether there is room for what is recorded."""
    return [_locale(), examine_disk(config.state, "", f"old builds are in {config.builds_dir}")]


def examine_host(name: str, root: Path, listen: Listen, ours: Collection[int] = ()) -> list[Finding]:
    """Look at a host whose processes run on this machine.

    ``ours``: ports that its session manager says that it has.
    """
    found = list(_ports(name, root, listen, ours))
    return [*found, examine_disk(root, name, "old builds and logs are there")]


def examine_disk(folder: Path, where: str, what: str) -> Finding:
    """How much room there is for a folder; ``what`` could go."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    text = f"{free / 1e9:.1f} GB free at {there}"
    if free >= LITTLE_BYTES:
        return Finding("ok", where, "disk", text)
    return Finding(
        "wrong" if free < LITTLE_BYTES / 10 else "warning", where, "disk", text, f"make room; {what}"
    )


def _locale() -> Finding:
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, LOCALE)
    except locale.Error:
        remedy = "install it (Debian: apt-get install libc-bin): Ansible does not run in another"
        return Finding("wrong", "", "locale", f"this machine has no {LOCALE}", remedy)
    finally:
        locale.setlocale(locale.LC_CTYPE, before)
    return Finding("ok", "", "locale", LOCALE)


def _ports(name: str, root: Path, listen: Listen, ours: Collection[int]) -> Iterator[Finding]:
    for key in ("system", "claude", "web"):
        port: int = getattr(listen, key)
        subject = f"port {port}"
        why = refusal(listen.host, port)
        if not why:
            yield Finding("ok", name, subject, "free")
            continue
        if why != os.strerror(errno.EADDRINUSE):
            remedy = f"set listen.host or listen.{key} in rollout.yaml"
            yield Finding("wrong", name, subject, f"nobody can listen at {listen.host}:{port}: {why}", remedy)
            continue
        there = [] if port in ours else listening(port)
        if port in ours or any(_below(root, process) for process in there):
            yield Finding("ok", name, subject, "ours")
            continue
        who = ", ".join(map(str, there)) or f"another user's process (as root: ss -ltnp 'sport = :{port}')"
        yield Finding(
            "wrong", name, subject, f"taken by {who}", f"end it, or set listen.{key} in rollout.yaml"
        )


def _below(root: Path, process: Process) -> bool:
    return Path(process.folder).is_relative_to(root) or f"{root}/" in process.command
