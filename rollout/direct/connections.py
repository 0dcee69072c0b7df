"""Connections by Fabric that go where OpenSSH would go, and believe only host keys that are known.

Fabric alone accepts every key and reads no known_hosts file.
"""

from __future__ import annotations

import base64
import os
import socket
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import fabric
import paramiko

from rollout.direct.settings import SshSettings, read_settings
from rollout.errors import EngineError

ALIVE_SECONDS = 5
DEAD_SECONDS = 20
"""A host that has not answered for so long is not waited for any more."""
_KINDS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}
"""The signatures that a kind of key makes."""


def connect(name: str, ssh_config: Path | None) -> fabric.Connection:
    """An open connection to a host, by the name that ``ssh`` knows it by.

    Raises:
        EngineError: it is not reachable, its key is unknown or another one, or nobody lets us in.
    """
    settings = read_settings(name, ssh_config)
    if settings.agent is not None:
        os.environ["SSH_AUTH_SOCK"] = settings.agent  # paramiko knows an agent by nothing else
    connection: fabric.Connection | None = None
    for hop in (*settings.jumps, settings):
        connection = _open(hop, connection, name)
    assert connection is not None
    return connection


def _open(settings: SshSettings, through: fabric.Connection | None, goal: str) -> fabric.Connection:
    where = goal if settings.name == goal else f"{goal}: by {settings.name}"
    keys = known_keys(settings)
    connection = fabric.Connection(
        settings.hostname,
        user=settings.user,
        port=settings.port,
        # False, not None: None has Fabric look for one by itself.
        gateway=through or settings.proxy_command or False,
        forward_agent=False,
        connect_timeout=settings.timeout,
        connect_kwargs={
            "key_filename": [str(path) for path in settings.identities],
            "allow_agent": settings.agent != "none",
            "look_for_keys": False,
            "banner_timeout": settings.timeout,
            "auth_timeout": settings.timeout,
            "channel_timeout": settings.timeout,
            "transport_factory": partial(_transport, keys),
        },
        config=fabric.Config(lazy=True, overrides={"load_ssh_configs": False}),
    )
    # The client itself is given no keys, so that every connection is put to our policy.
    connection.client.set_missing_host_key_policy(_KnownKeys(where, settings, keys))
    try:
        connection.open()
    except (paramiko.SSHException, OSError, EOFError) as error:
        # With nothing to show, not even an agent, paramiko has no class for it.
        if isinstance(error, paramiko.AuthenticationException) or "authentication methods" in str(error):
            raise EngineError(
                f"{where}: {settings.user}@{settings.hostname} is not let in ({_words(error)}); load the key"
                f" into the agent (ssh-add), or name it in IdentityFile"
            ) from None
        raise EngineError(
            f"{where}: not reachable over SSH: {_words(error)}; look at: rollout doctor"
        ) from None
    _notice_death(connection)
    return connection


class _KnownKeys(paramiko.MissingHostKeyPolicy):
    """Lets a host pass whose key is among the known ones."""

    def __init__(self, where: str, settings: SshSettings, keys: Sequence[paramiko.PKey]) -> None:
        self._where = where
        self._settings = settings
        self._keys = keys

    def missing_host_key(self, client: object, hostname: str, key: paramiko.PKey) -> None:
        """Called with the key that the host has proven to have."""
        if key in self._keys:
            return
        shown, known_as = f"{key.get_name()} {key.fingerprint}", self._settings.known_as
        if self._keys:
            raise EngineError(
                f"{self._where}: its host key is not the one that is known ({shown}): either the host was set"
                f" up anew, or somebody is in between. When you are sure: ssh-keygen -R '{known_as}', then"
                f" log in once with: ssh {self._settings.name}"
            )
        raise EngineError(
            f"{self._where}: its host key is not known ({shown}); compare it with the host's own, then log in"
            f" once with: ssh {self._settings.name}"
        )


def _transport(keys: Sequence[paramiko.PKey], sock: Any, **options: Any) -> paramiko.Transport:
    """Ask the host for a key of a kind that we know of it, as it may have several."""
    transport = paramiko.Transport(sock, **options)
    names = {name for key in keys for name in _KINDS.get(key.get_name(), (key.get_name(),))}
    offered = transport.get_security_options()
    offered.key_types = sorted(offered.key_types, key=lambda kind: kind not in names)
    return transport


def _words(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _notice_death(connection: fabric.Connection) -> None:
    """Have a connection to a host that is gone break, instead of waiting for a quarter of an hour."""
    transport = connection.transport
    transport.set_keepalive(ALIVE_SECONDS)
    if isinstance(transport.sock, socket.socket):
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_SECONDS * 1000)


def known_keys(settings: SshSettings) -> list[paramiko.PKey]:
    """The keys that the host may have, as ``ssh-keygen`` finds them: with wildcards, hashes and markers."""
    good: list[paramiko.PKey] = []
    revoked: list[paramiko.PKey] = []
    for path in settings.known_hosts:
        words = ["ssh-keygen", "-F", settings.known_as, "-f", str(path)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        for line in done.stdout.splitlines():
            fields = line.split()
            marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
            if len(fields) < 3 or fields[0] == "#" or marker not in ("", "@revoked"):
                continue
            try:
                key = paramiko.PKey.from_type_string(fields[1], base64.b64decode(fields[2]))
            except (paramiko.SSHException, paramiko.UnknownKeyType, ValueError):
                continue  # damaged, or of a kind that could not be used anyway
            (revoked if marker else good).append(key)
    return [key for key in good if key not in revoked]
