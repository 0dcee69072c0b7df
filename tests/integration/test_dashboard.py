"""``rollout dashboard`` as a process: who may look, who may act, and what its orders are."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.stack import PATIENCE, runs, until

OURS = {"X-Rollout": "page", "Content-Type": "application/json"}


class Served:
    """The dashboard of a project where nothing is deployed."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        rollout = [sys.executable, "-m", "rollout"]
        subprocess.run([*rollout, "init", "--quick"], cwd=folder, check=True, capture_output=True)
        self.process = subprocess.Popen(
            [*rollout, "dashboard", "--port", "0", "--no-browser", *arguments],
            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.link = self.process.stdout.readline().strip()
        found = re.fullmatch(r"http://(.+):(\d+)/#key=([\w-]+)", self.link)
        assert found is not None, self.link
        self.port, self.key = int(found[2]), found[3]
        self.cookie = ""

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """Status and body of an answer."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        cookie = {"Cookie": self.cookie} if self.cookie else {}
        link.request(method, path, None if body is None else json.dumps(body), {**cookie, **headers})
        answer = link.getresponse()
        if given := answer.headers["Set-Cookie"]:
            self.cookie = given.partition(";")[0]
            self.given = given
        text = answer.read().decode()
        link.close()
        return answer.status, json.loads(text) if text[:1] == "{" else text

    def sign_in(self) -> None:
        assert self.ask("POST", "/sign-in", {"key": self.key}, **OURS)[0] == 200

    def sections(self, *names: str) -> dict[str, str]:
        """What is sent of the page's parts, until these were."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        link.request("GET", "/events", headers={"Cookie": self.cookie} if self.cookie else {})
        stream, found = link.getresponse(), {}
        assert stream.headers["Content-Type"] == "text/event-stream"
        while not set(names) <= found.keys():
            line = stream.fp.readline().decode()
            assert line, "the stream has ended"
            if line.startswith("data: "):
                data = json.loads(line.removeprefix("data: "))
                found[data.get("name", "visitor")] = data.get("html", data.get("may"))
        link.close()
        return found

    def close(self) -> None:
        self.process.send_signal(signal.SIGINT)
        _, said = self.process.communicate(timeout=60)
        assert (self.process.returncode, said) == (0, ""), "Ctrl-C is no error"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(tmp_path_factory.mktemp("dashboard"))
    yield served
    served.close()


@pytest.fixture
def served(shared: Served) -> Served:
    """As somebody who has just come finds it."""
    shared.cookie = ""
    return shared


def test_whoever_sits_here_may_look_and_with_the_key_act(served):
    assert "<title>rollout: dev, staging, production</title>" in served.ask("GET", "/")[1]
    shown = served.sections("environments", "history", "visitor")
    assert shown["visitor"] is False
    assert "Nothing is deployed." in shown["environments"]
    order = {"action": "promote", "environment": "staging", "confirmed": "staging"}
    assert served.ask("POST", "/orders", order, **OURS)[0] == 401
    assert served.ask("POST", "/sign-in", {"key": "wrong"}, **OURS)[0] == 401
    assert served.ask("POST", "/sign-in", [], **OURS)[0] == 401
    served.sign_in()
    assert "HttpOnly" in served.given and "SameSite=Strict" in served.given
    assert served.key not in served.given
    assert served.sections("visitor")["visitor"] is True


def test_an_order_is_a_command_whose_end_and_words_are_shown(served):
    served.sign_in()
    order = {"action": "promote", "environment": "staging", "confirmed": "staging"}
    for wrong in (
        {**order, "confirmed": "dev"},
        {**order, "action": "teardown"},
        {**order, "environment": "nowhere", "confirmed": "nowhere"},
        {},
    ):
        assert served.ask("POST", "/orders", wrong, **OURS)[0] == 400, wrong
    status, given = served.ask("POST", "/orders", order, **OURS)
    assert status == 200
    until(lambda: not runs(given["pid"]), "the command's end")
    said = until(
        lambda: "ended with" in (text := served.sections("orders")["orders"]) and text, "its end shown"
    )
    assert "rollout promote staging" in said
    assert re.search(r"ended with \d+", said)
    assert "nothing is deployed to dev" in said or "rollout:" in said
    log = Path(given["log"])
    assert log.parent.stat().st_mode & 0o777 == 0o700
    assert log.read_text().strip()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Rollout": "page", "Origin": "http://evil.example"},
        {"X-Rollout": "page", "Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
    ],
)
def test_no_other_page_orders_anything(served, headers):
    before = len(list((served.folder / ".rollout" / "dashboard").glob("orders/*")))
    served.sign_in()
    order = {"action": "promote", "environment": "staging", "confirmed": "staging"}
    assert served.ask("POST", "/orders", order, **headers)[0] == 403
    assert served.ask("POST", "/sign-in", {"key": served.key}, **headers)[0] == 403
    orders = served.folder / ".rollout" / "dashboard" / "orders"
    assert len(list(orders.glob("*"))) == before


def test_a_name_that_was_pointed_here_is_not_let_in(served):
    for name in ("evil.example", f"evil.example:{served.port}", f"localhost.evil.example:{served.port}"):
        assert served.ask("GET", "/events", Host=name)[0] == 421, name
    for name in ("localhost", f"localhost:{served.port}", f"[::1]:{served.port}"):
        assert served.ask("GET", "/", Host=name)[0] == 200, name


@pytest.mark.parametrize(
    "path",
    [
        "/static/..%2fserver.py",
        "/static/server.py",
        "/report/dev/x",
        "/report/no/1",
        "/report/dev/99",
        "/incident/dev/1",
        "/incident/..%2f..%2f/1",
        "/nothing",
    ],
)
def test_there_is_nothing_else(served, path):
    assert served.ask("GET", path)[0] == 404


def test_from_another_machine_nothing_is_seen_without_the_key(tmp_path):
    served = Served(tmp_path, "--host", "0.0.0.0", "--name", "desk.example")
    try:
        for path in ("/events", "/report/dev/1", "/incident/dev/1", "/nothing"):
            assert served.ask("GET", path)[0] == 401
        assert "dev" not in served.ask("GET", "/static/dashboard.js")[1]
        served.sign_in()
        assert served.sections("environments")["environments"]
        assert served.ask("GET", "/", Host="desk.example")[0] == 200
    finally:
        served.close()


def test_a_proxy_at_this_machine_makes_nobody_sit_here(served, tmp_path):
    for headers in (
        {"X-Forwarded-For": "198.51.100.1"},
        {"Forwarded": "for=198.51.100.1"},
        {"Via": "1.1 proxy"},
    ):
        assert served.ask("GET", "/events", **headers)[0] == 401
    (folder := tmp_path / "named").mkdir()
    named = Served(folder, "--name", "desk.example")
    try:
        assert named.ask("GET", "/events")[0] == 401
    finally:
        named.close()


def test_a_port_that_is_taken_is_one_line(served):
    done = subprocess.run(
        [sys.executable, "-m", "rollout", "dashboard", "--port", str(served.port), "--no-browser"],
        cwd=served.folder, capture_output=True, text=True, timeout=60, env=dict(os.environ),
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "choose another with --host or --port" in done.stderr
