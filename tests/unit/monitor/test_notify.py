"""Telling people: by real receivers, once each, and never by a receiver's leave."""

from __future__ import annotations

import http.server
import json
import logging
import threading
import time
from collections.abc import Iterator

import pytest
from aiosmtpd.controller import Controller
from terminals.monitor.alerts import Alerts
from terminals.monitor.config import Receiver
from terminals.monitor.notify import TRIES, Notifier, send

from tests.support.ports import free_ports
from tests.support.stack import until

ALERT = {
    "rule": "system-terminal-down",
    "severity": "critical",
    "host": "here",
    "profile": "system",
    "generation": "g1",
    "since": 1_700_000_000.0,
    "until": None,
    "value": 0.0,
    "threshold": 0.0,
    "text": "system: the check failed: not attached within 20 s",
    "notified": [],
}
OVER = {**ALERT, "until": 1_700_000_120.0, "notified": ["ops"]}


class Webhook:
    """A real HTTP receiver; ``hold`` keeps its answers back, ``status`` is what it answers."""

    def __init__(self) -> None:
        self.got: list[dict] = []
        self.status = 200
        self.free = threading.Event()
        self.free.set()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.free.wait(60)
                outer.got.append(json.loads(body))
                self.send_response(outer.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"json://127.0.0.1:{self.server.server_port}/secret-path"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.free.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    hook = Webhook()
    yield hook
    hook.close()


def settle(notifier: Notifier) -> list:
    """What the messages that are under way come to."""
    told: list = []
    until(lambda: not any(thread.is_alive() for thread in notifier._threads), "the messages sent")
    told += notifier.told(now=time.monotonic())
    return told


def test_webhook_is_told_once_and_told_when_it_is_over(webhook):
    notifier = Notifier((Receiver("ops", "warning", webhook.url),), "production here")
    notifier.update(Alerts(active=(ALERT,), raised=(ALERT,)), now=0)
    assert settle(notifier) == [(("system-terminal-down", "system", None, ALERT["since"]), "ops")]
    known = {**ALERT, "notified": ["ops"]}
    notifier.update(Alerts(active=(known,)), now=60)
    assert settle(notifier) == []
    notifier.update(Alerts(history=(OVER,), resolved=(OVER,)), now=120)
    settle(notifier)
    first, second = webhook.got
    assert first["title"] == "critical: system-terminal-down on production here"
    assert "not attached within 20 s" in first["message"]
    assert second["title"] == "resolved: system-terminal-down on production here"
    assert "over after 120 s" in second["message"]


def test_less_than_what_somebody_wants_to_hear_is_not_told(webhook):
    notifier = Notifier((Receiver("ops", "critical", webhook.url),), "here")
    mild = {**ALERT, "severity": "warning"}
    notifier.update(Alerts(active=(mild,)), now=0)
    assert settle(notifier) == []
    assert webhook.got == []


def test_whoever_was_not_told_that_it_began_is_not_told_that_it_ended(webhook):
    notifier = Notifier((Receiver("ops", "info", webhook.url),), "here")
    over = {**OVER, "notified": []}
    notifier.update(Alerts(history=(over,), resolved=(over,)), now=0)
    settle(notifier)
    assert webhook.got == []


def test_failing_receiver_is_tried_again_but_not_for_ever_and_its_url_is_never_told(webhook, caplog):
    caplog.set_level(logging.DEBUG)
    webhook.status = 500
    notifier = Notifier((Receiver("ops", "info", webhook.url),), "here")
    for now in range(TRIES + 3):
        notifier.update(Alerts(active=(ALERT,)), now=now)
        assert settle(notifier) == []
    assert len(webhook.got) == TRIES
    assert "ops was not told of system-terminal-down" in caplog.text
    assert "secret-path" not in caplog.text


def test_receiver_that_never_answers_holds_nobody_up(webhook):
    webhook.free.clear()
    notifier = Notifier((Receiver("ops", "info", webhook.url),), "here")
    started = time.monotonic()
    notifier.update(Alerts(active=(ALERT,)), now=0)
    assert notifier.told(now=1) == []
    held = time.monotonic() - started
    assert any(thread.is_alive() for thread in notifier._threads)
    webhook.free.set()
    settle(notifier)
    assert held < time.monotonic() - started


def test_url_in_a_file_is_for_its_owner_only(webhook, tmp_path):
    path = tmp_path / "ops"
    path.write_text(webhook.url + "\n")
    path.chmod(0o644)
    receiver = Receiver("ops", "info", url_file=path)
    assert send(receiver, "t", "b", "info", False) == f"{path} is open to others; chmod go= {path}"
    path.chmod(0o600)
    assert send(receiver, "t", "b", "info", False) == ""
    path.unlink()
    assert "No such file" in send(receiver, "t", "b", "info", False)
    assert "none that Apprise knows" in send(Receiver("ops", "info", "nonsense"), "t", "b", "info", False)


def test_mail_is_received_by_a_mail_server():
    got = []

    class Box:
        async def handle_DATA(self, server, session, envelope) -> str:
            got.append(envelope)
            return "250 OK"

    (port,) = free_ports(1)
    controller = Controller(Box(), hostname="127.0.0.1", port=port)
    controller.start()
    try:
        url = f"mailto://127.0.0.1:{port}/?from=monitor@example.com&to=ops@example.com"
        reason = send(Receiver("ops", "info", url), "critical: down on here", "since noon", "critical", False)
    finally:
        controller.stop()
    assert reason == ""
    assert got[0].rcpt_tos == ["ops@example.com"]
    assert b"critical: down on here" in got[0].content


def test_apprise_is_not_loaded_by_a_monitor_that_has_nothing_to_say():
    import subprocess
    import sys

    code = "import terminals.monitor.service, sys; sys.exit('apprise' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
