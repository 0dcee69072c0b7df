"""The services behind real reverse proxies, each set up as docs/how-to/proxy.md says."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import logs
from tests.support.authority import Authority
from tests.support.provider import Person, Provider
from tests.support.stack import TOKEN, Stack, until
from tests.support.visitor import Visitor

GUIDE = (Path(__file__).parents[2] / "docs" / "how-to" / "proxy.md").read_text()
PATH = "/usr/local/bin:/usr/sbin:/usr/bin:/bin"
PROXIES = ("nginx", "haproxy", "caddy")


def as_documented(name: str) -> str:
    found = re.search(rf"```{name}\n(.*?)```", GUIDE, re.DOTALL)
    assert found is not None
    return found[1]


class Proxy:
    """A proxy with the documented configuration, on a port of its own."""

    def __init__(self, name: str, folder: Path, authority: Authority, web: str) -> None:
        program = shutil.which(name, path=PATH)
        if program is None:
            pytest.skip(f"Debian's {name} is not installed")
        self.name, self.folder = name, folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        tls = authority.folder
        (tls / "both.pem").write_text((tls / "cert.pem").read_text() + (tls / "key.pem").read_text())
        text = as_documented(name).replace("/etc/ssl/tools", str(tls)).replace("127.0.0.1:4110", web)
        listen = f"127.0.0.1:{self.port}"
        if name == "nginx":
            text = text.replace("listen 443 ssl", f"listen {listen} ssl")
            places = "".join(
                f"{kind}_temp_path {folder}/{kind};\n"
                for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            )
            text = f"pid {folder}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{places}{text}}}\n"
            command = [program, "-e", "stderr", "-p", str(folder), "-g", "daemon off;", "-c"]
        elif name == "haproxy":
            text = text.replace("bind :443", f"bind {listen}")
            command = [program, "-W", "-db", "-f"]
        else:
            text = "{\nadmin off\nauto_https off\n}\n" + text.replace(
                "tools.example.com", f"https://{listen}"
            )
            command = [program, "run", "--adapter", "caddyfile", "--config"]
        self.command = [*command, str(folder / "config")]
        (folder / "config").write_text(text)
        self.url = f"https://{listen}/terminals/"
        logs.show_when_failing(self)
        self.start()

    def start(self) -> None:
        with (self.folder / f"{self.name}.log").open("ab") as log:
            env = {"PATH": PATH, "HOME": str(self.folder)}
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, env=env)
        until(self._answers, f"{self.name} listening")

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.logs()
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0

    def logs(self) -> dict[str, str]:
        return logs.in_folder(self.folder, "*.log")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def close(self) -> None:
        logs.forget(self)
        self.stop()


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    stack = Stack(trusted_proxies=["127.0.0.1/32"])
    stack.start_generation("g1", weight=100)
    stack.start_web("g1")
    yield stack
    stack.close()


@pytest.fixture(params=PROXIES)
def proxy(request, stack, tmp_path) -> Iterator[Proxy]:
    (tmp_path / "tls").mkdir()
    web = f"127.0.0.1:{stack.status()['listeners']['web']}"
    proxy = Proxy(request.param, tmp_path, Authority(tmp_path / "tls"), web)
    yield proxy
    proxy.close()


@pytest.mark.slow("a provider beside a proxy, and a session manager that is replaced")
def test_a_provider_sends_people_back_to_the_proxy(stack, tmp_path_factory, tmp_path):
    (tmp_path / "tls").mkdir()
    web = f"127.0.0.1:{stack.status()['listeners']['web']}"
    proxy = Proxy("nginx", tmp_path, Authority(tmp_path / "tls"), web)
    provider = Provider(tmp_path_factory.mktemp("provider"), [proxy.url], {"ada": {}})
    before = dict(stack.settings)
    stack.settings["oidc"] = {
        "issuer": provider.issuer,
        "client_id": "public",
        "public_urls": [proxy.url],
        "default_role": "user",
    }
    try:
        stack.replace_manager()
        until(lambda: stack.generation("g1").get("web"), "the web process back")
        person = Person(proxy.url, ca=str(tmp_path / "tls" / "ca.pem"))
        assert person.sign_in("ada") == ""
        assert person.who()["user"] == "oidc:ada"
        assert len(person.cookies) == 3
        for cookie in person.cookies:
            assert cookie.startswith("__Host-") and "; Secure" in cookie and "Path=/;" in cookie
        # At its own port the page is at no address that the provider knows.
        plain = Person(f"http://{web}/terminals/")
        assert plain.ask("POST", "api/oidc", params={"page": plain.page}).status_code == 409
    finally:
        stack.settings = before
        stack.replace_manager()
        proxy.close()
        provider.close()


def test_one_rule_is_enough(stack, proxy):
    someone = Visitor(proxy.url, ca=str(proxy.folder / "tls" / "ca.pem"))
    status, page = someone.ask("GET", "")
    assert status == 200
    # What the page loads lies beside it.
    icon = re.search(rb'rel="icon" href="([^"]+)"', page)[1].decode()
    assert someone.ask("GET", icon)[0] == 200
    assert someone.sign_in(TOKEN)["role"] == "operator"
    assert someone.cookie.key.startswith("__Host-")
    assert someone.cookie["secure"]
    wire = someone.terminal()
    wire.type(0, b"echo through-$((40 + 2))\n")
    assert wire.shown(b"through-42")
    assert someone.ask("PATCH", f"api/sessions/{wire.session}", {"title": "mine"})[0] == 200
    # A page of another origin gets no terminal by the cookie, wherever the proxy stands.
    other = someone.terminal(origin="https://127.0.0.1:1")
    assert other.welcome["code"] == "unauthorized"
    # Whoever comes through it has an address of their own, and goes back to the shell when it was restarted.
    resume = {"output": 0, "epoch": wire.attached["epoch"]}
    proxy.stop()
    wire.closed()
    proxy.start()
    assert someone.terminal(session=wire.session, resume=resume).attached["status"] == "resumed"


@pytest.mark.slow("waits out what proxies allow a silent connection")
def test_a_long_silence_is_no_end(stack, proxy):
    """The proxy's minute, made short: what the services send by themselves keeps the connection."""
    config = proxy.folder / "config"
    config.write_text(re.sub(r"\b60s\b", "3s", config.read_text()))
    assert proxy.name == "caddy" or "3s" in config.read_text(), "Caddy has no such limit"
    proxy.stop()
    proxy.start()
    stack.settings["heartbeat_seconds"] = 1.0
    stack.replace_manager()
    until(lambda: stack.generation("g1").get("web") and stack.generation("g1").get("workers"), "everybody")
    someone = Visitor(proxy.url, ca=str(proxy.folder / "tls" / "ca.pem"))
    someone.sign_in(TOKEN)
    wire = someone.terminal()
    end = time.monotonic() + 7
    while time.monotonic() < end:
        wire.take(0.5)
    wire.type(0, b"echo still-$((40 + 2))\n")
    assert wire.shown(b"still-42")
