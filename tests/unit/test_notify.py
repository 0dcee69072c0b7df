"""Telling people never stops a rollout, and never gives an address away."""

from __future__ import annotations

from pathlib import Path

from rollout.config import Notify
from rollout.notify import tell
from tests.support.webhook import Webhook


def told(receivers, severity="critical"):
    outcome = tell(receivers, list(receivers), title="A title", body="- a figure: 1", severity=severity)
    return {entry.to: (entry.ok, entry.error) for entry in outcome}


def test_a_webhook_gets_title_and_body():
    with Webhook() as webhook:
        assert told({"team": Notify(url=f"json://{webhook.address}/")}) == {"team": (True, "")}
    (message,) = webhook.received
    assert message["title"] == "A title"
    assert "a figure: 1" in message["message"]
    assert message["type"] == "failure"


def test_one_who_cannot_be_told_keeps_nobody_else_from_it(tmp_path: Path):
    secret = tmp_path / "url"
    with Webhook() as webhook, Webhook(status=500) as broken:
        secret.write_text(f"json://user:hunter2@{broken.address}/\n")
        secret.chmod(0o600)
        open_to_all = tmp_path / "open"
        open_to_all.write_text("json://x/")
        open_to_all.chmod(0o644)
        found = told(
            {
                "team": Notify(url=f"json://{webhook.address}/"),
                "broken": Notify(url_file=secret),
                "open": Notify(url_file=open_to_all),
                "missing": Notify(url_file=tmp_path / "nothing"),
                "nonsense": Notify(url="nonsense"),
            }
        )
    assert found["team"] == (True, "")
    assert found["broken"] == (False, "the receiver did not take it")
    assert "chmod 600" in found["open"][1]
    assert "No such file" in found["missing"][1]
    assert found["nonsense"] == (False, "its address is none that Apprise knows")
    assert "hunter2" not in str(found)


def test_who_wants_only_the_worst_is_left_alone():
    with Webhook() as webhook:
        receivers = {"pager": Notify(url=f"json://{webhook.address}/", severity="critical")}
        assert told(receivers, "info") == {}
        assert told(receivers, "critical") == {"pager": (True, "")}
    assert len(webhook.received) == 1


def test_a_plugin_that_breaks_gives_no_address_away(monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("POST https://hooks.example/hunter2 failed")

    monkeypatch.setattr("rollout.notify.deliver", broken)
    assert told({"team": Notify(url="json://user:hunter2@localhost/")}) == {
        "team": (False, "its plugin broke: RuntimeError")
    }
