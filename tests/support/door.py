"""A real HAProxy with the configuration that the role ``terminals_door`` writes."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import jinja2
import psutil
import pytest

from rollout.engine.playbooks import folder as playbooks
from tests.support import logs
from tests.support.authority import Authority
from tests.support.ports import free_ports
from tests.support.stack import until

NAME: Final = "door.test"
PATH: Final = "/usr/local/bin:/usr/sbin:/usr/bin:/bin"
TEMPLATE: Final = (
    playbooks() / "ansible_collections/terminals/rollout/roles/terminals_door/templates/haproxy.cfg.j2"
)


def rendered(name: str, hosts: Iterable[dict[str, str]]) -> str:
    """The configuration for hosts: ``name``, ``tag`` and ``address`` (host and port) of each."""
    made = jinja2.Environment(trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined)
    template = made.from_string(TEMPLATE.read_text())
    return template.render(
        terminals_door_name=name, terminals_door_hosts=list(hosts), terminals_door_silence=60
    )


def program() -> str:
    """HAProxy's; the test is skipped where there is none."""
    found = shutil.which("haproxy", path=PATH)
    if found is None:
        pytest.skip("Debian's haproxy is not installed")
    return found


def image() -> bytes:
    """What `docker import` makes an image of: this machine's HAProxy with its libraries."""
    haproxy = program()
    said = subprocess.run(["ldd", haproxy], capture_output=True, text=True, check=True).stdout
    files = {"usr/sbin/haproxy": haproxy}
    files |= {path.lstrip("/"): path for path in re.findall(r"(/\S+) \(0x", said)}
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, path in files.items():
            archive.add(os.path.realpath(path), name)
    return made.getvalue()


def authority(folder: Path) -> Authority:
    """With a certificate for the door and for the names below it."""
    return Authority(folder, NAME, f"*.{NAME}")


class Door:
    """On a port of its own, for ``NAME`` and all names below it; ``resolve`` finds them in this process."""

    def __init__(self, parent: Path) -> None:
        self.program = program()
        self.folder = parent / "door"
        self.folder.mkdir()
        self.authority = authority(self.folder)
        self.renew()
        (self.port,) = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None
        logs.show_when_failing(self)

    def renew(self) -> None:
        """Another certificate, for whoever connects after the next reload."""
        self.authority.issue()
        parts = ("cert.pem", "key.pem")
        (self.folder / "door.pem").write_text("".join((self.folder / part).read_text() for part in parts))

    def url(self, tag: str = "", scheme: str = "wss") -> str:
        return f"{scheme}://{f'h-{tag}.' if tag else ''}{NAME}:{self.port}"

    def lead_to(self, hosts: Iterable[dict[str, str]]) -> None:
        """Write the configuration; in force from the next start or reload on."""
        text = rendered(NAME, hosts).replace("/etc/door", str(self.folder))
        text, found = re.subn(r"bind \*:8443", f"bind 127.0.0.1:{self.port}", text)
        assert found == 1
        (self.folder / "haproxy.cfg").write_text(text)

    def start(self) -> None:
        with (self.folder / "haproxy.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.program, "-W", "-db", "-f", str(self.folder / "haproxy.cfg")], stdout=log, stderr=log
            )
        until(self._listens, "the door being open")

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def reload(self) -> None:
        """Returns when the process from before takes no connections any more: for a moment both do."""
        signs = ("New worker", "Proxy door stopped")
        before = self.log()
        self.signal(signal.SIGUSR2)
        until(lambda: all(self.log().count(sign) > before.count(sign) for sign in signs), "another worker")
        assert self._listens()

    def workers(self) -> list[int]:
        assert self._process is not None
        return [child.pid for child in psutil.Process(self._process.pid).children()]

    def kill(self) -> None:
        """All of it at once, as a machine that dies does."""
        assert self._process is not None
        pids = self.workers()
        self._process.kill()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def log(self) -> str:
        path = self.folder / "haproxy.log"
        return path.read_text() if path.exists() else ""

    def logs(self) -> dict[str, str]:
        return {"haproxy": self.log()}

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def _listens(self) -> bool:
        assert self._process is None or self._process.poll() is None, self.log()
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0


def resolve(monkeypatch: pytest.MonkeyPatch, address: str = "127.0.0.1") -> None:
    """Have the door's names found at an address, in this process."""
    find = socket.getaddrinfo

    def found(host, *rest, **more):  # type: ignore[no-untyped-def]
        return find(address if str(host).endswith(NAME) else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", found)
