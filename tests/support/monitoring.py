"""Debian's Prometheus and Alertmanager with the files of ``compose/monitoring``, and what they look at."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.docker import COMPOSE
from tests.support.ports import free_ports
from tests.support.stack import until

FOLDER = COMPOSE / "monitoring"
URL_FILE = (0, 26)
"""The first Alertmanager whose webhooks know ``url_file``; Debian 12's is older."""


def program(name: str) -> str:
    """Where a program is; the test is skipped where it is not."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed; scripts/test-requirements.sh brings it")
    return found


def run(*command: str, cwd: Path) -> str:
    """Run a program that has to succeed."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def change(path: Path, edit: Callable[[Any], None]) -> None:
    """Edit a YAML file as data."""
    data = yaml.safe_load(path.read_text())
    edit(data)
    path.write_text(yaml.safe_dump(data, sort_keys=False))


@contextlib.contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """An HTTP server of loopback, in a thread; gives its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Exporter:
    """A program whose metrics are what a test says."""

    def __init__(self) -> None:
        self.text = ""
        self.scrapes = 0
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = exporter.text.encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(body)
                exporter.scrapes += 1

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.handler = Handler

    def show(self, *lines: str) -> None:
        """Have Prometheus see these samples and no others."""
        self.text = "".join(f"{line}\n" for line in lines)
        seen = self.scrapes
        # The scrape after the next one has begun after the change, and the one before it is stored.
        until(lambda: self.scrapes >= seen + 3, "three scrapes")


class Receiver:
    """What a webhook was told: the alerts, in order."""

    def __init__(self) -> None:
        self.alerts: list[dict[str, Any]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.alerts += [{**alert, "receiver": told["receiver"]} for alert in told["alerts"]]
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.handler = Handler

    def told(self, name: str, status: str) -> dict[str, Any] | None:
        return next(
            (
                alert
                for alert in self.alerts
                if (alert["labels"]["alertname"], alert["status"]) == (name, status)
            ),
            None,
        )


class Monitoring:
    """The two programs, in a folder with a quick copy of the configuration."""

    def __init__(self, folder: Path, *, web: str, token: str, exporter: str, webhook: str) -> None:
        self._programs = program("prometheus"), program("prometheus-alertmanager")
        self.folder = folder / "monitoring"
        shutil.copytree(FOLDER, self.folder, ignore=shutil.ignore_patterns("tokens", "notify"))
        port, alerts = free_ports(2)
        self.url, self._alerts = f"http://127.0.0.1:{port}", f"127.0.0.1:{alerts}"
        for name, content in (("tokens/dev", token), ("notify/webhook", f"http://{webhook}/")):
            path = self.folder / name
            path.parent.mkdir()
            path.write_text(content + "\n")
            path.chmod(0o600)
        for name in ("staging", "production"):
            (self.folder / "tokens" / name).write_text("nobody\n")
            (self.folder / "targets" / f"{name}.yml").write_text("[]\n")
        change(self.folder / "targets" / "dev.yml", lambda targets: targets[0].update(targets=[web]))
        change(self.folder / "prometheus.yml", lambda config: self._quick(config, exporter))
        change(self.folder / "rules.yml", self._impatient)
        change(self.folder / "alertmanager.yml", self._at_once)
        self._processes: list[subprocess.Popen[bytes]] = []

    def _quick(self, config: Any, exporter: str) -> None:
        config["global"] = dict.fromkeys(
            ("scrape_interval", "scrape_timeout", "evaluation_interval"), "500ms"
        )
        config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [self._alerts]
        config["scrape_configs"].append(
            {
                "job_name": "exporter",
                "scrape_interval": "200ms",
                "scrape_timeout": "200ms",
                "static_configs": [{"targets": [exporter]}],
            }
        )

    @staticmethod
    def _impatient(rules: Any) -> None:
        for group in rules["groups"]:
            for rule in group["rules"]:
                if "for" in rule:
                    rule["for"] = "1s"

    def _at_once(self, config: Any) -> None:
        for route in (config["route"], *config["route"]["routes"]):
            route |= {"group_wait": "0s", "group_interval": "1s"}
        if alertmanager_version() < URL_FILE:
            url_in_place_of_file(config, self.folder)

    def start(self) -> None:
        prometheus, alertmanager = self._programs
        self._spawn(
            alertmanager, "--config.file=alertmanager.yml", f"--storage.path={self.folder / 'alerts'}",
            f"--web.listen-address={self._alerts}", "--cluster.listen-address=",
        )  # fmt: skip
        self._spawn(
            prometheus, "--config.file=prometheus.yml", f"--storage.tsdb.path={self.folder / 'tsdb'}",
            f"--web.listen-address={self.url.removeprefix('http://')}",
        )  # fmt: skip
        until(lambda: self._answers(f"http://{self._alerts}/-/ready"), "Alertmanager")
        until(lambda: self._answers(f"{self.url}/-/ready"), "Prometheus")

    def _answers(self, url: str) -> bool:
        for process in self._processes:
            if process.poll() is not None:
                log = self.folder / f"{Path(process.args[0]).name}.log"
                raise AssertionError(f"it has ended: {log.read_text()[-2000:]}")
        return answers(url)

    def _spawn(self, *command: str) -> None:
        with (self.folder / f"{Path(command[0]).name}.log").open("wb") as log:
            self._processes.append(subprocess.Popen([*command], cwd=self.folder, stdout=log, stderr=log))

    def close(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(30)


def answers(url: str) -> bool:
    """Whether there is a good answer."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def alertmanager_version() -> tuple[int, ...]:
    """The version of the program that is installed."""
    told = run(program("prometheus-alertmanager"), "--version", cwd=FOLDER)
    match = re.search(r"version (\d+)\.(\d+)", told)
    assert match, told
    return tuple(map(int, match.groups()))


def url_in_place_of_file(config: Any, folder: Path) -> None:
    """For an Alertmanager that is too old for the file."""
    for receiver in config["receivers"]:
        for hook in receiver["webhook_configs"]:
            hook["url"] = (folder / hook.pop("url_file")).read_text().strip()
