"""The doctor on a healthy host, and after each thing was broken once."""

from __future__ import annotations

import json
import subprocess

from tests.support.stack import TERMINALS, until


def ask(stack, *options: str) -> tuple[int, dict[str, dict]]:
    config, token = stack.root / "manager.json", stack.root / "token"
    command = [*TERMINALS, "doctor", "--config", str(config), "--token-file", str(token), "--output", "json"]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert not done.stderr, done.stderr
    return done.returncode, {finding["subject"]: finding for finding in json.loads(done.stdout)}


def test_a_healthy_host_has_nothing_wrong(stack):
    (stack.root / "token").chmod(0o600)
    code, findings = ask(stack)
    assert code == 0
    assert findings["generation g1"]["verdict"] == "ok"
    assert findings["profile claude"]["text"] == "no-such-assistant is not to be found"
    assert "wrong" not in {finding["verdict"] for finding in findings.values()}


def test_every_finding_has_a_remedy(stack):
    (stack.root / "token").chmod(0o644)
    stack.kill("worker-g1")
    until(lambda: not stack.generation("g1")["workers"], "the worker's end noticed")
    code, findings = ask(stack)
    assert code == 1
    assert findings["token file"]["verdict"] == "wrong"
    assert findings["generation g1"]["text"] == "weight 100, but no worker"
    stack.kill("manager")
    code, findings = ask(stack)
    assert code == 1
    assert findings["session manager"]["verdict"] == "wrong"
    for finding in findings.values():
        assert bool(finding["remedy"]) == (finding["verdict"] != "ok"), finding


def test_too_many_sessions_for_the_limits_and_a_broken_file(stack):
    config = stack.root / "manager.json"
    config.write_text(json.dumps({**stack.settings, "max_sessions": 10_000_000}))
    _, findings = ask(stack)
    assert findings["open files"]["verdict"] == "wrong"
    assert findings["disk"]["verdict"] == "warning"
    config.write_text("{")
    code, findings = ask(stack)
    assert (code, list(findings)) == (1, ["configuration"])


def test_logs_as_json_have_no_secrets(stack):
    command = [*TERMINALS, "--log-format", "json", "worker", "--socket", stack.socket, "--generation", "g2"]
    worker = subprocess.Popen(
        [*command, "--build", "b2", "--token-file", str(stack.root / "token")], stderr=subprocess.PIPE
    )
    try:
        assert worker.stderr is not None
        record = json.loads(worker.stderr.readline())
    finally:
        worker.terminate()
        rest = worker.communicate(timeout=10)[1]
    assert record["level"] == "info"
    assert record["logger"] == "terminals.worker"
    assert "g2" in record["message"]
    assert b"test-token" not in rest
