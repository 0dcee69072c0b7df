"""What OpenSSH's own client would do for a host: its configuration, as it understands it itself."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from rollout.errors import ConfigError, EngineError

CONNECT_SECONDS = 10
MOST_JUMPS = 8


@dataclass(frozen=True, slots=True)
class SshSettings:
    """Where a host is and how to get in; ``jumps`` are the hosts on the way, the first one first.

    ``known_as`` is the name under which the host's key is known.
    """

    name: str
    hostname: str
    user: str
    port: int
    known_as: str
    known_hosts: tuple[Path, ...]
    identities: tuple[Path, ...]
    agent: str | None
    timeout: int
    proxy_command: str | None
    jumps: tuple[SshSettings, ...] = ()


def read_settings(name: str, config: Path | None, *, depth: int = 0) -> SshSettings:
    """Ask ``ssh -G``, so that Include, Match and every token mean what they mean on the command line.

    Raises:
        EngineError: there is no ssh, or it does not understand the configuration.
        ConfigError: the jump hosts lead in a circle.
    """
    if depth > MOST_JUMPS:
        raise ConfigError(f"{name}: its ProxyJump leads in a circle; look at: ssh -G {name}")
    found = _ask(name, config)

    def last(key: str, default: str = "") -> str:
        return found.get(key, [default])[-1]

    hostname, port = last("hostname", name), int(last("port", "22"))
    alias = last("hostkeyalias")
    files = [*found.get("userknownhostsfile", ()), *found.get("globalknownhostsfile", ())]
    agent, proxy = last("identityagent"), last("proxycommand")
    return SshSettings(
        name=name,
        hostname=hostname,
        user=last("user"),
        port=port,
        known_as=alias or (hostname if port == 22 else f"[{hostname}]:{port}"),
        known_hosts=tuple(path for line in files for path in _files(line)),
        identities=tuple(
            path for text in found.get("identityfile", ()) if (path := Path(text).expanduser()).exists()
        ),
        agent=None if agent in ("", "SSH_AUTH_SOCK") else str(Path(agent).expanduser()),
        timeout=_seconds(last("connecttimeout")),
        proxy_command=None if proxy in ("", "none") else proxy,
        jumps=_jumps(last("proxyjump"), config, depth),
    )


def _jumps(text: str, config: Path | None, depth: int) -> tuple[SshSettings, ...]:
    if text in ("", "none"):
        return ()
    hops = [read_settings(hop.removeprefix("ssh://"), config, depth=depth + 1) for hop in text.split(",")]
    # The first one may have a way of its own; the others are reached from the one before.
    return (*hops[0].jumps, *hops)


def _ask(name: str, config: Path | None) -> dict[str, list[str]]:
    words = ["ssh", "-G", *(("-F", str(config)) if config else ()), "--", *_with_scheme(name)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise EngineError(
            "there is no ssh program here; install one: apt-get install openssh-client"
        ) from None
    if done.returncode != 0:
        raise EngineError(f"{name}: ssh does not understand its configuration: {done.stderr.strip()}")
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        key, _, value = line.partition(" ")
        found.setdefault(key, []).append(value)
    return found


def _with_scheme(name: str) -> list[str]:
    """``user@host:port`` is understood as a URL only."""
    return [f"ssh://{name}" if ":" in name and "[" not in name and name.count(":") == 1 else name]


def _seconds(text: str) -> int:
    return int(text) if text.isdigit() and int(text) > 0 else CONNECT_SECONDS


def _files(line: str) -> list[Path]:
    """The files named on a line: ssh separates them with blanks, and leaves blanks within a name bare."""
    words, found = line.split(" "), []
    while words:
        for count in range(len(words), 0, -1):
            path = Path(" ".join(words[:count])).expanduser()
            if path.exists():
                found.append(path)
                break
        else:
            count = 1
        words = words[count:]
    return found
